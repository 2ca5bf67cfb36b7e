"""Paths of endpoints, the engine's and the registry's: `{name}` is one segment, `{name*}` any number of them."""

import re


def compile_path(path: str) -> re.Pattern[str]:
    # At most one unbounded part a path, so that matching stays linear.
    parts = re.split(r"(\{\w+\*?\})", path)
    return re.compile(
        "".join(
            re.escape(part)
            if not part.startswith("{")
            else f"(?P<{part[1:-2]}>.+)"
            if part.endswith("*}")
            else f"(?P<{part[1:-1]}>[^/]+)"
            for part in parts
        ),
        re.DOTALL,
    )
