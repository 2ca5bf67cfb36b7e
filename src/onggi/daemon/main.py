"""The daemon's main program: read the configuration, take the lock, open the engine, serve until told to stop.

SIGTERM and SIGINT stop it; containers go on (see Settings.live_restore). SIGHUP is answered by a line in the log.
"""

import asyncio
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from onggi.daemon import doctor, listen
from onggi.daemon.options import Configuration, read
from onggi.errors import Conflict, InvalidParameter, OnggiError, System

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.engine.settings import Settings

log = logging.getLogger("onggi.daemon")
_YOUNG = 10_000
_LOGGING = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR", "fatal": "CRITICAL"}


@contextmanager
def only_one(root: Path) -> "Iterator[None]":
    """Hold the lock of a data root. The kernel lets go of it when we die. Raises Conflict where another has it."""
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    with (root / "engine.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Conflict(
                f"another engine (pid {file.read().strip() or 'unknown'}) works in {root}; stop it or give this one a "
                "--data-root, --exec-root and --bridge-name of its own"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _prepare_process() -> None:
    """Descriptors enough for thousands of containers; no terminal's signals; no secrets by a core file."""
    # Threads that mostly wait for the kernel (state, namespaces, rules) want the interpreter back after each call; with
    # the usual 5 ms they queue behind a busy loop. Fifty starts at once: 1000 → 800 ms on a loaded two-core machine.
    sys.setswitchinterval(0.0005)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0o022)


def _settle_memory() -> None:
    """What is there now stays for ever: the collector need not walk it again (25 ms each time). New objects it looks at
    less often, for most of a request's go by their reference counts."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)


def _report(ready_fd: int | None, text: str) -> None:
    """Tell whoever started us: "ready", or the sentence why not. Also systemd, if it asked (sd_notify(3))."""
    if ready_fd is not None:
        os.write(ready_fd, text.encode() + b"\n")
        os.close(ready_fd)
    address = os.environ.get("NOTIFY_SOCKET", "")
    if text == "ready" and address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(b"READY=1")


class _Hooks(NamedTuple):
    """What takes webhooks: ready before the engine is, so that what is wrong with it is a refusal to start."""

    socket: socket.socket
    secrets: list[str]


def _webhook_listener(settings: "Settings") -> _Hooks | None:
    from onggi.engine.auto_update.webhook import read_secrets

    if not settings.auto_update_listen:
        return None
    secrets = read_secrets(Path(settings.auto_update_secret_file))
    return _Hooks(listen.tcp(settings.auto_update_listen), secrets)


async def _serve(configuration: Configuration) -> None:
    from aiohttp import web

    from onggi.api.app import make_app
    from onggi.api.server import ApiRunner
    from onggi.engine.auto_update.webhook import Webhook
    from onggi.engine.engine import Engine

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: log.info("SIGHUP: the configuration is read at start only"))
    context = listen.tls_context(configuration.tls) if configuration.tls else None
    hooks = _webhook_listener(configuration.settings)
    opened = listen.listeners(configuration.hosts, configuration.group)
    paths = listen.names(opened)
    try:
        async with Engine(configuration.settings) as engine:
            runner = ApiRunner(make_app(engine))
            await runner.setup()
            webhooks = None
            try:
                if hooks is not None:
                    webhooks = web.AppRunner(Webhook(hooks.secrets, engine.auto_update.heard).app(), access_log=None)
                    await webhooks.setup()
                    await web.SockSite(webhooks, hooks.socket, backlog=listen.BACKLOG).start()
                    log.info("webhooks of registries are taken on %s", configuration.settings.auto_update_listen)
                for listener in opened:
                    secure = context if listener.family != socket.AF_UNIX else None
                    if secure is None and listener.family != socket.AF_UNIX:
                        log.warning("the API is served in the clear on %s: whoever reaches it is root here; "
                                    "use --tlsverify", listener.getsockname())  # fmt: skip
                    await web.SockSite(runner, listener, ssl_context=secure, backlog=listen.BACKLOG).start()
                _settle_memory()
                log.info("the API is served on %s", ", ".join(configuration.hosts))
                _report(configuration.ready_fd, "ready")
                await stop.wait()
                log.info("stopping")
            finally:
                if webhooks is not None:
                    await webhooks.cleanup()
                await runner.cleanup()
    finally:
        listen.close(opened, paths)


def main(arguments: Sequence[str]) -> int:
    """Run the engine in the foreground. Returns the exit status: 0 after a stop by signal, 1 for a refusal."""
    ready_fd: int | None = None
    try:
        configuration = read(arguments)
        ready_fd = configuration.ready_fd
        if configuration.validate:
            print("configuration OK")
            return 0
        if sys.platform != "linux":
            raise InvalidParameter("the engine needs Linux; use -H or DOCKER_HOST to reach one elsewhere")
        if os.geteuid() != 0:
            raise InvalidParameter("the engine needs root: start it with sudo, or reach one elsewhere with -H")
        for finding in doctor.lacking():
            raise System(f"the engine can't work here: {finding.subject}: {finding.text} (`onggi doctor` shows all)")
        logging.basicConfig(
            level=_LOGGING[configuration.log_level], stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
        )
        _prepare_process()
        with only_one(configuration.settings.data_root):
            configuration.settings.exec_root.mkdir(mode=0o711, parents=True, exist_ok=True)
            configuration.pidfile.parent.mkdir(parents=True, exist_ok=True)
            configuration.pidfile.write_text(f"{os.getpid()}\n")
            try:
                asyncio.run(_serve(configuration))
            finally:
                configuration.pidfile.unlink(missing_ok=True)
    except OnggiError as error:
        print(f"onggi daemon: {error}", file=sys.stderr)
        _report(ready_fd, str(error))
        return 1
    except OSError as error:
        refusal = System(f"the engine could not start: {error.strerror or error} ({error.filename or 'no path'})")
        print(f"onggi daemon: {refusal}", file=sys.stderr)
        _report(ready_fd, str(refusal))
        return 1
    return 0
