"""Shared by several commands: the --config option, the event loop, and requests to the daemon.

Commands import engine, event loop and logging inside functions, so that commands that only ask the daemon start fast.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import click

from replicator.config import Config, parse_address
from replicator.control import client, socket_path
from replicator.errors import ControlError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_CONFIG = "/etc/replicator/replicator.toml"


def config_option(function: F) -> F:
    """Decorate a command with `--config FILE`; the command gets the path as the argument `config`."""
    option = click.option(
        "--config",
        # No check for readability: access(2), which click uses, ignores capabilities such as CAP_DAC_READ_SEARCH.
        type=click.Path(dir_okay=False, readable=False),
        default=DEFAULT_CONFIG,
        envvar="REPLICATOR_CONFIG",
        show_default=True,
        help="The configuration file.",
    )
    return option(function)


def _log(level: str, form: str) -> None:
    from replicator.telemetry import logs

    logs.configure(level, form)


def run(main: Coroutine[Any, Any, T], *, daemon: bool = False) -> T:
    """Run a coroutine on uvloop, or with REPLICATOR_LOOP=asyncio on asyncio's own event loop, for debugging.

    Commands other than the daemon log errors only: they print their results themselves.
    """
    import asyncio

    import uvloop

    if not daemon:
        _log("error", "auto")
    factory = None if os.environ.get("REPLICATOR_LOOP") == "asyncio" else uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)
    finally:
        main.close()  # if no loop could be made, it has not been started


def request_for(host: str) -> dict[str, Any]:
    """Return the fields of a request that name a frontend.

    Raises:
        ConfigError: if `host` is not an address.
    """
    user, name, port = parse_address("HOST", host)
    return {"host": name, "user": user, "port": port}


def ask_daemon(
    config: Config, request: dict[str, Any], *, timeout: float | None = 30.0
) -> Iterator[dict[str, Any]] | None:
    """Return the daemon's answer, one object per line; None if no daemon runs.

    Args:
        config: the settings.
        request: the request.
        timeout: seconds to wait for each part of the answer; None: no limit.

    Raises:
        ControlError: if this user may not connect to the socket.
    """
    socket = socket_path(config.state.directory)
    answer = client.ask(socket, {**_person(), **request}, timeout=timeout)
    try:
        first = next(answer, None)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except PermissionError:
        raise ControlError(
            f"{socket}: permission denied; run this as the user of the daemon, or as a member of control.group (`status`, `wait`)"
        ) from None
    return _chain(first, answer)


def _person() -> dict[str, str]:
    """Return who has called sudo, for the daemon's log: behind sudo, the socket shows only its user."""
    name = os.environ.get("SUDO_USER", "")
    return {"sudo_user": name} if name else {}


def no_daemon(config: Config) -> ControlError:
    """Return the error of a command that needs a running daemon."""
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
    """Format a number of bytes, such as `1.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
