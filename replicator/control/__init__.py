"""control: how a command line asks a running daemon. One JSON object a line over a Unix socket (mode 0600; 0660 with `control.group`)."""

from pathlib import Path

END = {"end": True}
"""Last line of a complete answer."""


def socket_path(state_directory: str) -> Path:
    """Return where the daemon with this state directory listens."""
    return Path(state_directory) / "control.sock"
