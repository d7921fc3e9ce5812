"""The process: `serve` runs the daemon, `alone` a single command without one."""

from __future__ import annotations

import asyncio
import grp
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import structlog

from replicator import capabilities, early
from replicator.app.about import AboutDaemon
from replicator.app.backend import App
from replicator.app.state_lock import state_lock, until_lost
from replicator.config import Config
from replicator.control import server as control
from replicator.control import socket_path
from replicator.core.pace import Backoff
from replicator.engine.supervision import keep_running
from replicator.errors import ConfigError, ReplicatorError
from replicator.http.listener import Listener
from replicator.ports import Connector
from replicator.shortage import shortage
from replicator.telemetry import logs
from replicator.telemetry.systemd import Notifier

log = structlog.get_logger()


async def serve(
    config: Config, load: Callable[[], Config], *, connector: Connector | None = None
) -> None:
    """Run the daemon until SIGTERM or SIGINT; reload the configuration on SIGHUP.

    Args:
        config: the settings at the start.
        load: reads the settings again, for a reload.
        connector: connects to frontends; default: SSH.

    Raises:
        ReplicatorError: if the daemon cannot start, or a failure ends it.
    """
    notifier = Notifier(os.environ)
    capabilities.keep_from_children()
    with state_lock(Path(config.state.directory)) as lock:
        app = App(config, connector=connector)
        try:
            about = await _configure(app, config)
            reload = _handle_signals(app, load, notifier, about)
            socket, group = socket_path(config.state.directory), _group(config.control.group)
            async with control.serve(socket, app.requests.handle, group):
                log.info("serving", trees=[t.source for t in config.tree], pid=os.getpid())
                notifier.ready(app.service.summary())
                if early.take_reload():
                    reload()
                with _running(
                    _heartbeat(app, notifier),
                    _retire(app),
                    _watch_state(app, lock),
                    _observe(app),
                    _serve_http(about.http),
                    _verify(app),
                ):
                    await app.service.run()
            log.info("stopped")
        finally:
            await app.hooks.close()
            app.close()


async def _configure(app: App, config: Config) -> AboutDaemon:
    """Apply the first configuration; return what `status` shows of the daemon itself.

    Raises:
        ReplicatorError: if it cannot be used.
    """
    await app.set_trees(config)
    app.set_discovery(config)
    listener = Listener(config.http, app.requests.status)
    about = AboutDaemon(listener, config.http, app.events, app.roots)
    app.requests.about_daemon = about.describe
    app.set_hooks(config)
    app.set_base(config)
    return about


def _handle_signals(
    app: App, load: Callable[[], Config], notifier: Notifier, about: AboutDaemon
) -> Callable[[], None]:
    """Stop the service on SIGTERM and SIGINT, and reload the configuration on SIGHUP; return what begins a reload."""
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(_reload(app, load, notifier, about))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    def stop() -> None:
        notifier.stopping()
        app.service.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    return reload


@contextmanager
def _running(*background: Coroutine[None, None, None]) -> Iterator[None]:
    """Run coroutines as tasks until the context ends."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(one) for one in background]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


def _group(name: str) -> int | None:
    """Return the numeric id of a group; None for an empty name.

    Raises:
        ConfigError: if the group is unknown.
    """
    if not name or (name.isascii() and name.isdigit()):
        return int(name) if name else None
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError, OSError):
        raise ConfigError("control.group", f"there is no group {name!r} on this machine") from None


async def _heartbeat(app: App, notifier: Notifier) -> None:
    """Send watchdog heartbeats and status texts to the service manager, if there is one, until cancelled."""
    if notifier.has_manager:
        beat = partial(notifier.keep, app.service.summary)
        pauses = Backoff(1.0, 10.0, random.random)
        await keep_running(beat, "heartbeat", failed=lambda _reason: None, pauses=pauses)


async def _watch_state(app: App, lock: int) -> None:
    """End the daemon if its state directory is removed or replaced: its lock would not stop a second daemon any more."""
    directory = Path(app.config.state.directory)
    await until_lost(directory, lock)
    app.service.fail(
        f"The state directory {directory} was removed or replaced while the daemon ran."
        " Restart the daemon: it makes a new one, and reads every source again."
    )


async def _retire(app: App) -> None:
    """Delete the catalog rows of trees that are no longer configured, until cancelled."""
    pauses = Backoff(60.0, 3600.0, random.random)
    await keep_running(
        app.retired.run, "catalog of former trees", failed=lambda _reason: None, pauses=pauses
    )


async def _observe(app: App) -> None:
    """Sample the states of frontends and trees, until cancelled."""
    pauses = Backoff(1.0, 60.0, random.random)
    await keep_running(
        app.requests.history.run, "events", failed=lambda _reason: None, pauses=pauses
    )


async def _verify(app: App) -> None:
    """Verify all frontends at the configured times, until cancelled."""
    pauses = Backoff(60.0, 3600.0, random.random)
    await keep_running(app.verification.run, "verification", app.verification.failed, pauses)


async def _serve_http(http: Listener) -> None:
    """Answer HTTP requests until cancelled, if the settings say where."""
    pauses = Backoff(1.0, 60.0, random.random)
    await keep_running(http.run, "http", http.failed, pauses)


async def _reload(
    app: App, load: Callable[[], Config], notifier: Notifier, about: AboutDaemon
) -> None:
    """Load and apply the configuration. Nothing here suspends, so that reloads run one after the other."""
    notifier.reloading()
    try:
        config = load()
        await app.reload(config)
        logs.configure(config.log.level, config.log.format)
        about.configured(config.http)
        log.info("reloaded")
    except ReplicatorError as error:
        about.refused(str(error))
        log.error("not reloaded", reason=str(error))  # noqa: TRY400  # expected, so without a traceback
    except Exception as error:
        lacking = shortage(error)
        reason = lacking or f"internal error: {error!r}"
        about.refused(reason)
        log.exception("not reloaded", reason=reason, exc_info=None if lacking else error)
    finally:
        notifier.ready(app.service.summary())


@asynccontextmanager
async def alone(config: Config, *, compare: bool = True) -> AsyncIterator[App]:
    """Run a backend in this process without a daemon; the trees are scanned once, and not watched.

    Yields the App when the scan is done; no frontend is connected yet.

    Args:
        config: the settings.
        compare: see engine.context.Context.

    Raises:
        StateLocked: if a daemon runs on the state directory.
        ReplicatorError: if a source is missing, or looks empty or replaced.
    """
    with state_lock(Path(config.state.directory)):
        app = App(config, compare=compare)
        try:
            await app.set_trees(config, watch=False)
            await app.service.scan_all()
            runner = asyncio.get_running_loop().create_task(app.service.run())
            try:
                yield app
            finally:
                app.service.stop()
                await runner
        finally:
            app.close()
