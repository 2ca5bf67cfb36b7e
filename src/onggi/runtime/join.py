"""Exec: enter a running container's namespaces and run one more process there."""

from onggi.runtime.init import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def spawn(plan: "list[Any]", files: "dict[str, int]") -> Child:
    """Like `init.spawn`, for a plan of `plan.plan_exec`. `files` must name `pidfd` (the container's init) as well."""
    raise NotImplementedError
