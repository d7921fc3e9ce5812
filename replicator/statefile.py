"""Small private files in the state directory, replaced atomically."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Replace a file's content atomically, with mode 0600; after a power cut the file holds the old text or the new one.

    Raises:
        OSError: if that fails; the file is unchanged.
    """
    temporary = path.with_suffix(".new")
    with suppress(FileNotFoundError):
        temporary.unlink()
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # Without fsync a power cut could lose learned host keys, and `accept-new` would then trust any key.
        os.fsync(fd)
    temporary.replace(path)
