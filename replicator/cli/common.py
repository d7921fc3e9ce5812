"""What several commands need: the --config option, a loop, and a word with the daemon.

Commands import the engine, the loop and the log where they use them, for the sake of those who only ask the daemon.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import click

from replicator.config import Config, load, parse_address
from replicator.control import client, socket_path
from replicator.errors import ControlError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_CONFIG = "/etc/replicator/replicator.toml"


def config_option(function: F) -> F:
    """Add `--config FILE`, given to the function as the path `config`."""
    option = click.option(
        "--config",
        # Whether it can be read is known when it is read: access(2) knows nothing of our capabilities.
        type=click.Path(dir_okay=False, readable=False),
        default=DEFAULT_CONFIG,
        envvar="REPLICATOR_CONFIG",
        show_default=True,
        help="The configuration file.",
    )
    return option(function)


def load_config(path: str, *, daemon: bool = False) -> Config:
    """Read the configuration.

    Args:
        path: of the file.
        daemon: from now on log as it says.

    Raises:
        ConfigError: it cannot be used.
    """
    config = load(path)
    if daemon:
        _log(config.log.level, config.log.format)
    return config


def _log(level: str, form: str) -> None:
    from replicator.telemetry import logs

    logs.configure(level, form)


def run(main: Coroutine[Any, Any, T], *, daemon: bool = False) -> T:
    """Run a coroutine on the fast loop, or (REPLICATOR_LOOP=asyncio) on the plain one, for debugging.

    Unless it is the daemon, log only what is a bug of ours: the command itself says what happens.
    """
    import asyncio

    import uvloop

    if not daemon:
        _log("error", "auto")
    factory = None if os.environ.get("REPLICATOR_LOOP") == "asyncio" else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def request_for(host: str) -> dict[str, Any]:
    """Return the request fields that name a frontend.

    Raises:
        ConfigError: if it is no address.
    """
    user, name, port = parse_address("HOST", host)
    return {"host": name, "user": user, "port": port}


def ask_daemon(
    config: Config, request: dict[str, Any], *, patience: float | None = 30.0
) -> Iterator[dict[str, Any]] | None:
    """Return the daemon's answer, line by line; None if no daemon runs.

    Raises:
        ControlError: the socket is there but not for us.
    """
    socket = socket_path(config.state.directory)
    answer = client.ask(socket, request, patience=patience)
    try:
        first = next(answer, None)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except PermissionError:
        raise ControlError(
            f"{socket}: permission denied; run this as the user of the daemon"
        ) from None
    return _chain(first, answer)


def no_daemon(config: Config) -> ControlError:
    """Return what is said when a command needs the daemon."""
    return ControlError(
        f"no daemon runs on {config.state.directory}: start it with `replicator serve`"
    )


def _chain(
    first: dict[str, Any] | None, rest: Iterator[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    if first is not None:
        yield first
        yield from rest


def size_text(count: float) -> str:
    """Return a number of bytes for a person: `1.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
