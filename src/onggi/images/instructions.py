"""The Dockerfile instructions that `docker import -c` and `docker commit -c` take, applied to an image's defaults.

CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. (Dockerfile reference;
moby builder/dockerfile/dispatchers.go)
"""

import posixpath
import re
from collections.abc import Callable, Sequence

import msgspec

from onggi.errors import InvalidParameter
from onggi.oci.image import Healthcheck, ImageContainerConfig

_SHELL = ["/bin/sh", "-c"]
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_UNITS_NS = {"ns": 1, "us": 1000, "µs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_words_of = msgspec.json.Decoder(list[str])
Config = ImageContainerConfig


def apply(config: Config, changes: Sequence[str]) -> Config:
    """`config` after all of them. Raises InvalidParameter with Docker's sentence."""
    for change in changes:
        for line in change.replace("\\\n", "").split("\n"):
            if line.strip() and not line.lstrip().startswith("#"):
                config = _apply(config, line.strip())
    return config


def _apply(config: Config, line: str) -> Config:
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    instruction = _INSTRUCTIONS.get(name.upper())
    if instruction is None:
        raise InvalidParameter(f"{name.upper()} is not a valid change command")
    return instruction(config, rest)


def _replaced(config: Config, **members: object) -> Config:
    return msgspec.structs.replace(config, **members)


def _json_words(rest: str) -> list[str] | None:
    """The exec form: a JSON list of strings; None for anything else, which is the shell form."""
    if not rest.startswith("["):
        return None
    try:
        return _words_of.decode(rest)
    except (msgspec.DecodeError, RecursionError):
        return None


def _command(config: Config, rest: str) -> list[str]:
    words = _json_words(rest)
    return words if words is not None else [*(config.shell_words or _SHELL), *([rest] if rest else [])]


def _words(rest: str) -> list[str]:
    """Words as a shell splits them, quotes and backslashes taken off. Raises InvalidParameter."""
    if "".join(_WORD.sub("", rest).split()):
        raise InvalidParameter("unexpected end of statement while looking for matching quote")
    return _WORD.findall(rest)


def _unquoted(word: str) -> str:
    out, at = [], 0
    while at < len(word):
        character = word[at]
        if character in "\"'":
            end = at + 1
            while word[end] != character:
                end += 2 if word[end] == "\\" and character == '"' else 1
            inner = word[at + 1 : end]
            out.append(_ESCAPED.sub(r"\1", inner) if character == '"' else inner)
            at = end + 1
        elif character == "\\":
            out.append(word[at + 1 : at + 2])
            at += 2
        else:
            out.append(character)
            at += 1
    return "".join(out)


def _pairs(name: str, rest: str) -> list[tuple[str, str]]:
    """`key=value key="other value"`, or the old form `key the rest is the value`."""
    if not rest:
        raise InvalidParameter(f"{name} must have two arguments")
    words = _words(rest)
    if "=" not in words[0]:
        key, _, value = rest.partition(" ")
        if not value:
            raise InvalidParameter(f"{name} must have two arguments")
        return [(key, _unquoted(value.strip()) if value.strip()[:1] in "\"'" else value.strip())]
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidParameter(f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value')
        if not key:
            raise InvalidParameter(f"{name} names can not be blank")
        pairs.append((_unquoted(key), _unquoted(value)))
    return pairs


def _cmd(config: Config, rest: str) -> Config:
    return _replaced(config, cmd=_command(config, rest))


def _entrypoint(config: Config, rest: str) -> Config:
    return _replaced(config, entrypoint=_command(config, rest) if rest else None)


def _env(config: Config, rest: str) -> Config:
    values = {entry.partition("=")[0]: entry for entry in config.env or ()}
    for key, value in _pairs("ENV", rest):
        values[key] = f"{key}={value}"
    return _replaced(config, env=list(values.values()))


def _label(config: Config, rest: str) -> Config:
    return _replaced(config, labels=(config.labels or {}) | dict(_pairs("LABEL", rest)))


def _expose(config: Config, rest: str) -> Config:
    if not rest:
        raise InvalidParameter("EXPOSE requires at least one argument")
    ports = dict(config.exposed_ports or {})
    for word in rest.split():
        match = _PORT.fullmatch(word)
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else 0
        if match is None or not 1 <= first <= last <= 65535:
            raise InvalidParameter(f"invalid containerPort: {word}")
        ports |= {f"{port}/{(match[3] or 'tcp').lower()}": {} for port in range(first, last + 1)}
    return _replaced(config, exposed_ports=ports)


def _volume(config: Config, rest: str) -> Config:
    words = _json_words(rest)
    if words is None:
        words = [_unquoted(word) for word in _words(rest)]
    if not words:
        raise InvalidParameter("VOLUME requires at least one argument")
    if not all(word.strip() for word in words):
        raise InvalidParameter("VOLUME specified can not be an empty string")
    return _replaced(config, volumes=(config.volumes or {}) | {word.strip(): {} for word in words})


def _nanoseconds(text: str) -> int:
    """A duration as Go writes it, such as `1m30s`; one millisecond at least, or none. Raises InvalidParameter."""
    found = list(_DURATION.finditer(text))
    if text != "0" and "".join(match[0] for match in found) != text:
        raise InvalidParameter(f'time: invalid duration "{text}"')
    total = int(sum(float(match[1]) * _UNITS_NS[match[2]] for match in found))
    if 0 < total < 10**6:
        raise InvalidParameter("Interval and timeout in a health check must be one millisecond at least")
    return total


def _one(name: str, rest: str) -> str:
    if not rest or len(rest.split()) != 1:
        raise InvalidParameter(f"{name} requires exactly one argument")
    return _unquoted(rest)


def _user(config: Config, rest: str) -> Config:
    return _replaced(config, user=_one("USER", rest))


def _stop_signal(config: Config, rest: str) -> Config:
    return _replaced(config, stop_signal=_one("STOPSIGNAL", rest))


def _working_directory(config: Config, rest: str) -> Config:
    if not rest:
        raise InvalidParameter("WORKDIR requires exactly one argument")
    path = posixpath.join("/", config.working_dir, _unquoted(rest))
    return _replaced(config, working_dir=posixpath.normpath(path))


def _on_build(config: Config, rest: str) -> Config:
    name = rest.partition(" ")[0].upper()
    if not name:
        raise InvalidParameter("ONBUILD requires at least one argument")
    if name == "ONBUILD":
        raise InvalidParameter("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if name in ("FROM", "MAINTAINER"):
        raise InvalidParameter(f"{name} isn't allowed as an ONBUILD trigger")
    return _replaced(config, on_build=[*(config.on_build or ()), rest])


def _healthcheck(config: Config, rest: str) -> Config:
    options: dict[str, str] = {}
    while rest.startswith("--"):
        option, _, rest = rest.partition(" ")
        rest = rest.strip()
        key, _, value = option[2:].partition("=")
        if key not in ("interval", "timeout", "start-period", "start-interval", "retries"):
            raise InvalidParameter(f"unknown flag: {key}")
        options[key] = value
    kind, _, command = rest.partition(" ")
    command = command.strip()
    if kind.upper() == "NONE":
        if command:
            raise InvalidParameter("HEALTHCHECK NONE takes no arguments")
        return _replaced(config, healthcheck=Healthcheck(test=["NONE"]))
    if kind.upper() != "CMD":
        raise InvalidParameter(f"Unknown type {kind.upper()!r} in HEALTHCHECK (try CMD)")
    words = _json_words(command)
    if not command or words == []:
        raise InvalidParameter("Missing command after HEALTHCHECK CMD")
    retries = options.get("retries", "0")
    if not (retries.isascii() and retries.isdigit() and len(retries) < 10):
        raise InvalidParameter(f"invalid value for --retries: {retries}")
    check = Healthcheck(
        test=["CMD", *words] if words is not None else ["CMD-SHELL", command],
        interval=_nanoseconds(options.get("interval", "0")),
        timeout=_nanoseconds(options.get("timeout", "0")),
        start_period=_nanoseconds(options.get("start-period", "0")),
        start_interval=_nanoseconds(options.get("start-interval", "0")),
        retries=int(retries),
    )
    return _replaced(config, healthcheck=check)


_INSTRUCTIONS: dict[str, Callable[[Config, str], Config]] = {
    "CMD": _cmd, "ENTRYPOINT": _entrypoint, "ENV": _env, "EXPOSE": _expose, "HEALTHCHECK": _healthcheck,
    "LABEL": _label, "ONBUILD": _on_build, "STOPSIGNAL": _stop_signal, "USER": _user, "VOLUME": _volume,
    "WORKDIR": _working_directory,
}  # fmt: skip
