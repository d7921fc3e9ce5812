"""One daemon for each state directory: serve until told to stop, or do a single thing without a daemon."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import structlog

from replicator import early
from replicator.app.backend import App
from replicator.config import Config
from replicator.control import server as control
from replicator.control import socket_path
from replicator.core.pace import Backoff
from replicator.engine.owner import keep_running
from replicator.errors import ConfigError, ReplicatorError, StateLocked
from replicator.ports import Connector
from replicator.telemetry.systemd import Notifier

log = structlog.get_logger()

STATE_CHECK = 1.0
"""Seconds between two looks whether the state directory is still there."""


@contextmanager
def state_lock(directory: Path) -> Iterator[int]:
    """Own a state directory, made if missing, for as long as the context lasts; yield the locked file.

    Raises:
        StateLocked: another process owns it.
        ConfigError: it cannot be made or written.
    """
    try:
        _make_private(directory)
        fd = os.open(
            directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except OSError as error:
        raise ConfigError("state.directory", f"{directory}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(OSError):  # a full disk: the lock holds without a name in it
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield fd
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        raise StateLocked(
            f"{directory}: another replicator (pid {owner or 'unknown'}) owns this state"
        ) from None
    finally:
        os.close(fd)


def _make_private(directory: Path) -> None:
    """Make a state directory, or see that nobody else can put files into the one that is there.

    It is not mended: the path may be a slip, and /tmp must not get the modes of a state directory.

    Raises:
        OSError: it cannot be made or seen.
        ConfigError: others may write there.
    """
    mask = os.umask(0o077)  # for parents that are missing, too
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    finally:
        os.umask(mask)
    status = directory.stat()
    if status.st_uid not in (0, os.geteuid()):
        wrong, fix = f"belongs to user {status.st_uid}", f"chown {os.geteuid()} {directory}"
    elif status.st_mode & 0o022:
        wrong, fix = f"has mode {status.st_mode & 0o7777:04o}", f"chmod 700 {directory}"
    else:
        return
    raise ConfigError(
        "state.directory",
        f"{directory} {wrong}, so others could talk to the daemon or replace its catalog: `{fix}`",
    )


async def serve(
    config: Config, load: Callable[[], Config], *, connector: Connector | None = None
) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP loads the configuration anew.

    Raises:
        ReplicatorError: it could not start, or had to end.
    """
    loop = asyncio.get_running_loop()
    notifier = Notifier(os.environ)
    with state_lock(Path(config.state.directory)) as lock:
        app = App(config, connector=connector)
        try:
            await app.set_trees(config)
            app.set_discovery(config)
            reloads: set[asyncio.Task[None]] = set()

            def reload() -> None:
                task = loop.create_task(_reload(app, load, notifier))
                reloads.add(task)
                task.add_done_callback(reloads.discard)

            def stop() -> None:
                notifier.stopping()
                app.service.stop()

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)
            loop.add_signal_handler(signal.SIGHUP, reload)
            async with control.serve(socket_path(config.state.directory), app.requests.handle):
                log.info("serving", trees=[t.source for t in config.tree], pid=os.getpid())
                notifier.ready(app.service.summary())
                if early.take_reload():
                    reload()
                beside = [
                    loop.create_task(one)
                    for one in (_heartbeat(app, notifier), _retire(app), _watch_state(app, lock))
                ]
                try:
                    await app.service.run()
                finally:
                    for task in beside:
                        task.cancel()
            log.info("stopped")
        finally:
            app.close()


async def _heartbeat(app: App, notifier: Notifier) -> None:
    """Tell the service manager, if there is one, that all is well and what is done, until cancelled."""
    if notifier.has_manager:
        beat = partial(notifier.keep, app.service.summary)
        pauses = Backoff(1.0, 10.0, random.random)
        await keep_running(beat, "heartbeat", failed=lambda _reason: None, pauses=pauses)


async def _watch_state(app: App, lock: int) -> None:
    """End the daemon when its state directory is removed or replaced: a second daemon would find no lock in a new one."""
    directory, owned = Path(app.config.state.directory), os.fstat(lock)
    while True:
        if _is_lost(directory / "lock", owned):
            break
        await asyncio.sleep(STATE_CHECK)
    app.service.fail(
        f"The state directory {directory} was removed or replaced while the daemon ran."
        " Restart the daemon: it makes a new one, and reads the sources once."
    )


def _is_lost(lock: Path, owned: os.stat_result) -> bool:
    try:
        return not os.path.samestat(lock.stat(follow_symlinks=False), owned)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # it cannot be told now
        return False


async def _retire(app: App) -> None:
    """Forget what the catalog holds of trees that are no longer configured, until cancelled."""
    pauses = Backoff(60.0, 3600.0, random.random)
    await keep_running(
        app.retired.run, "catalog of former trees", failed=lambda _reason: None, pauses=pauses
    )


async def _reload(app: App, load: Callable[[], Config], notifier: Notifier) -> None:
    """Load the configuration and follow it; nothing here waits, so that reloads come one after the other."""
    notifier.reloading()
    try:
        await app.reload(load())
        log.info("reloaded")
    except ReplicatorError as error:
        log.error("not reloaded", reason=str(error))  # noqa: TRY400  # no bug of ours
    except Exception as error:
        log.exception("not reloaded", reason=f"internal error: {error!r}")
    finally:
        notifier.ready(app.service.summary())


@asynccontextmanager
async def alone(config: Config, *, compare: bool = True) -> AsyncIterator[App]:
    """A backend without a daemon: the trees are surveyed once and not watched, and nobody is connected yet.

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
                yield app
            finally:
                app.service.stop()
                await runner
        finally:
            app.close()
