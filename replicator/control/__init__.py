"""control: how a command line asks a running daemon. One JSON object a line over a Unix socket of mode 0600."""

from pathlib import Path


def socket_path(state_directory: str) -> Path:
    """Return where the daemon with this state directory listens."""
    return Path(state_directory) / "control.sock"
