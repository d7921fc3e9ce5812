"""Small files of the state directory: private, and replaced whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Make a file hold a text, with mode 0600; a reader sees the old text or the new one, also after a power cut.

    Raises:
        OSError: it is as it was.
    """
    temporary = path.with_suffix(".new")
    with suppress(FileNotFoundError):
        temporary.unlink()
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(
            fd
        )  # host keys that were learned must not be forgotten: the next key would be believed
    temporary.replace(path)
