"""One daemon for each state directory: serve until told to stop, or do a single thing without a daemon."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import structlog

from replicator.app.backend import App
from replicator.config import Config
from replicator.control import server as control
from replicator.control import socket_path
from replicator.engine.service import Service
from replicator.errors import ConfigError, ReplicatorError, StateLocked
from replicator.ports import Connector

log = structlog.get_logger()


@contextmanager
def state_lock(directory: Path) -> Iterator[None]:
    """Own a state directory, made if missing, for as long as the context lasts.

    Raises:
        StateLocked: another process owns it.
        ConfigError: it cannot be made or written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError("state.directory", f"{directory}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        raise StateLocked(
            f"{directory}: another replicator (pid {owner or 'unknown'}) owns this state"
        ) from None
    finally:
        os.close(fd)


async def serve(
    config: Config, load: Callable[[], Config], *, connector: Connector | None = None
) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP loads the configuration anew.

    Raises:
        ReplicatorError: it could not start, or had to end.
    """
    loop = asyncio.get_running_loop()
    with state_lock(Path(config.state.directory)):
        app = App(config, connector=connector)
        try:
            await app.set_trees(config)
            app.set_discovery(config)
            reloads: set[asyncio.Task[None]] = set()

            def reload() -> None:
                task = loop.create_task(_reload(app, load))
                reloads.add(task)
                task.add_done_callback(reloads.discard)

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, app.service.stop)
            loop.add_signal_handler(signal.SIGHUP, reload)
            async with control.serve(socket_path(config.state.directory), app.service.handle):
                log.info("serving", trees=[t.source for t in config.tree], pid=os.getpid())
                await app.service.run()
            log.info("stopped")
        finally:
            app.close()


async def _reload(app: App, load: Callable[[], Config]) -> None:
    try:
        await app.reload(load())
        log.info("reloaded")
    except ReplicatorError as error:
        log.error("not reloaded", reason=str(error))  # noqa: TRY400  # no bug of ours


@asynccontextmanager
async def alone(config: Config, *, compare: bool = True) -> AsyncIterator[Service]:
    """A service without a daemon: the trees are surveyed once and not watched, and nobody is connected yet.

    Raises:
        StateLocked: a daemon runs after all.
        ReplicatorError: a source is in doubt.
    """
    with state_lock(Path(config.state.directory)):
        app = App(config, compare=compare)
        try:
            await app.set_trees(config, watch=False)
            await app.service.survey_all()
            runner = asyncio.get_running_loop().create_task(app.service.run())
            try:
                yield app.service
            finally:
                app.service.stop()
                await runner
        finally:
            app.close()
