"""`top`: the processes of a container, as the host's ps shows them. ps runs outside, by absolute path, without a shell."""

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onggi.engine.lifecycle import Verb, require
from onggi.errors import InvalidParameter, System, Unavailable

if TYPE_CHECKING:
    from onggi.engine.container import Container
    from onggi.runtime.runtime import Runtime

DEFAULT_ARGUMENTS = "-ef"
_PLACES = ("/usr/bin/ps", "/bin/ps")
_DEADLINE_S = 30.0
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
# Renaming another column to PID would show any process of the host as one of the container's (moby: validatePSArgs).
_RENAMED_PID = re.compile(r"\s*([^\s=,]*)=\s*(PID[^\s]*)", re.ASCII)
_SPACES = re.compile(r"[\t\n\v\f\r ]+")


async def top(runtime: "Runtime", container: "Container", arguments: str) -> Mapping[str, Any]:
    """`{"Processes": [[…], …], "Titles": […]}` for ps options such as `-ef` or `-o pid,cmd`."""
    require(container, Verb.TOP)
    arguments = arguments or DEFAULT_ARGUMENTS
    if "\0" in arguments:
        raise InvalidParameter("ps arguments: NUL is not allowed")
    for column, title in _RENAMED_PID.findall(arguments):
        if column.lower() != "pid":
            raise InvalidParameter(f'specifying "{column}={title}" is not allowed')
    pids = await runtime.pids(container.id)
    words = arguments.split(" ")
    chosen = ["-q", ",".join(map(str, pids))]
    code, output, refusal = await _ps([*words, *chosen])
    if code != 0:  # some options, such as f, do not go with -q
        code, output, refusal = await _ps(words)
    if code != 0:
        first = refusal.split(b"\n", 1)[0].decode("utf-8", "replace")
        raise System(f"ps: {first}" if first else f"ps: exit status {code}")
    titles, processes = parse(output.decode("utf-8", "replace"), {str(pid) for pid in pids})
    return {"Processes": processes, "Titles": titles}


async def _ps(arguments: Sequence[str]) -> tuple[int, bytes, bytes]:
    program = next((place for place in _PLACES if Path(place).exists()), None)
    if program is None:
        raise Unavailable("top needs the ps program on the host: install procps")
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_ENVIRONMENT,
        cwd="/",
    )
    try:
        async with asyncio.timeout(_DEADLINE_S):
            output, refusal = await process.communicate()
    except TimeoutError as error:
        raise System(f"ps: no answer within {_DEADLINE_S:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output, refusal


def parse(output: str, pids: Collection[str]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Titles, and the lines whose PID is one of `pids` (with the threads below them, shown by "-")."""
    lines = output.split("\n")
    titles = _SPACES.split(lines[0].strip())
    if "PID" not in titles:
        raise System("Couldn't find PID field in ps output")
    column = titles.index("PID")
    processes: list[Sequence[str]] = []
    ours = False
    for line in lines[1:]:
        fields = _SPACES.split(line.strip(), maxsplit=len(titles) - 1)
        if len(fields) <= column:
            continue
        if fields[column] != "-":
            ours = fields[column] in pids
        if ours:
            processes.append(fields)
    return titles, processes
