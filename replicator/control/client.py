"""The command line's side of the control socket; blocking."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from replicator.control import END
from replicator.errors import ControlError

_CUT = "the daemon ended before its answer was complete (or is of an older version: restart it)"


def ask(
    path: Path, request: dict[str, Any], *, timeout: float | None = 30.0
) -> Iterator[dict[str, Any]]:
    """Send a request to the daemon and yield its answer, line by line.

    Only an answer that ends with END is complete: half the reports of `verify` must not look like a success.

    Args:
        path: of the socket.
        request: has a `command`.
        timeout: seconds to wait for each line; None: for ever.

    Raises:
        FileNotFoundError, ConnectionRefusedError: no daemon runs on this state directory.
        ControlError: the daemon refused, hangs, or went away.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
        except BlockingIOError:  # its queue is full
            raise ControlError("the daemon accepts no connection: it hangs") from None
        with connection.makefile("rb") as lines:
            try:
                # A daemon that has too many connections answers and closes before it has read the request.
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.sendall(json.dumps(request).encode() + b"\n")
                for line in lines:
                    answer = json.loads(line)
                    if answer == END:
                        return
                    if not isinstance(answer, dict):
                        raise ControlError("the daemon gave an answer that is none")
                    if "error" in answer and len(answer) == 1:
                        raise ControlError(answer["error"])
                    yield answer
            except TimeoutError:
                raise ControlError(f"the daemon has not answered for {timeout:g} seconds") from None
            except (ConnectionError, ValueError, RecursionError):
                raise ControlError(_CUT) from None
            raise ControlError(_CUT)
