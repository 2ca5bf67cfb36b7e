"""The registry's program: `onggi registry serve` and the commands that look after its data on this machine."""

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from onggi.errors import Conflict, OnggiError, System
from onggi.registry import administration, allocator, backup, fsck, garbage_command, options
from onggi.registry.replication import commands as replication
from onggi.registry.scanning import commands as scanning
from onggi.registry.settings import Settings

log = logging.getLogger("onggi.registry")
Command = Callable[[argparse.Namespace], int]


@contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold the lock of a root. The kernel lets go of it when we die. Raises Conflict where another has it."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root / "registry.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Conflict(
                f"another registry (pid {file.read().strip() or 'unknown'}) works in {root}: stop it, or use --root"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _report(ready_fd: int | None, text: str) -> None:
    """Tell whoever started us: "ready" and the address, or the sentence why not. Also systemd (sd_notify(3))."""
    if ready_fd is not None:
        os.write(ready_fd, text.encode() + b"\n")
        os.close(ready_fd)
    address = os.environ.get("NOTIFY_SOCKET", "")
    if text.startswith("ready") and address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(b"READY=1")


async def _serve(settings: Settings, ready_fd: int | None) -> None:
    from aiohttp import web

    from onggi.registry import first_start, server
    from onggi.registry.app import make_app
    from onggi.registry.features import install
    from onggi.registry.service import Service

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    certificates = server.Certificates(settings.tls) if settings.tls is not None else None
    loop.add_signal_handler(
        signal.SIGHUP, certificates.reload if certificates is not None else lambda: log.info("SIGHUP: nothing to read")
    )
    opened = server.listener(settings)
    with opened:
        service = Service(settings)
        routes = install(service)
        async with service:
            base = settings.url or _base(settings, opened)
            await first_start.prepare(service, base)
            runner = server.Runner(make_app(service, routes))
            await runner.setup()
            try:
                context = certificates.context if certificates is not None else None
                await web.SockSite(runner, opened, ssl_context=context, backlog=server.BACKLOG).start()
                log.info("the registry is served on %s", base)
                _report(ready_fd, f"ready {_base(settings, opened)}")
                async with asyncio.TaskGroup() as group:
                    watch = group.create_task(certificates.watch()) if certificates is not None else None
                    await stop.wait()
                    log.info("stopping")
                    if watch is not None:
                        watch.cancel()
            finally:
                await runner.cleanup()


def _base(settings: Settings, opened: socket.socket) -> str:
    host, port = opened.getsockname()[:2]
    scheme = "https" if settings.tls is not None else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _serve_command(given: argparse.Namespace) -> int:
    allocator.settle()
    try:
        settings = options.settings_of(given)
        # The log is lines of a level and a text; those of requests are JSON, and so are told apart by their "{".
        logging.basicConfig(
            level=given.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
        )
        os.umask(0o077)
        with only_one(settings.root):
            asyncio.run(_serve(settings, given.ready_fd))
    except (OnggiError, OSError) as error:
        refusal = error if isinstance(error, OnggiError) else System(f"the registry could not start: {error}")
        _report(given.ready_fd, str(refusal))
        raise refusal from error
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="onggi registry", description="A private registry for images.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the registry")
    options.add_serve(serve)
    serve.set_defaults(run=_serve_command)
    administration.add_user(commands)
    administration.add_project(commands)
    scanning.add(commands)
    replication.add(commands)
    garbage_command.add(commands)
    fsck.add(commands)
    backup.add(commands)
    return parser


def main(words: Sequence[str]) -> int:
    """The process's exit status."""
    given = _parser().parse_args(list(words))
    run: Command = given.run
    try:
        return run(given)
    except (OnggiError, OSError) as error:
        print(f"onggi registry: {error}", file=sys.stderr)
        return 1
