"""Somebody who reads all the time, and notices when what is read is not one complete version.

Watched files carry versions that describe themselves: a number, a length and the digest of the body in the first line, and
a mode and a time that follow from the number. So a reader needs to know nothing but the file, and a soak of hours need
keep nothing. A version that is older than one that was read before is a violation too: nothing may go back.
"""

import hashlib
import os
import random
import stat
import threading
from pathlib import Path
from typing import Self

MODE = 0o644

MOST_VIOLATIONS = 100


def publish(path: Path, number: int, size: int) -> None:
    """Write version `number`, with a body of `size` bytes, as editors and uploads do: a draft beside it, then one rename.

    Numbers of a path must rise. Its directory is made if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        file.write(version(number, size))
        os.fchmod(file.fileno(), MODE)
        file.flush()
        os.utime(file.fileno(), ns=(time_of(number), time_of(number)))
    draft.replace(path)


def version(number: int, size: int) -> bytes:
    """Return a complete version."""
    body = random.Random(number).randbytes(size)
    return b"%d %d %s\n" % (number, size, hashlib.sha256(body).hexdigest().encode()) + body


def time_of(number: int) -> int:
    """Return the modification time in nanoseconds that a version has."""
    return 1_600_000_000_000_000_000 + number * 1_000_000_007


def number_in(content: bytes) -> int:
    """Return the number of a complete version.

    Raises:
        ValueError: it is not one; says why.
    """
    head, _, body = content.partition(b"\n")
    try:
        number, length, digest = head.split()
        number, length = int(number), int(length)
    except ValueError:
        raise ValueError(
            f"no header in {len(content)} bytes that begin with {content[:40]!r}"
        ) from None
    if len(body) != length:
        raise ValueError(f"version {number} has {len(body)} bytes instead of {length}")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError(f"version {number} has another content")
    return number


class Reader:
    """Reads files on frontends over and over, in a thread of its own.

    Args:
        paths: what to read; it need not be there yet, but once seen, must stay (see `retire`).
        pause: seconds between two rounds, so that whoever is tested gets to run.

    Attributes:
        reads: complete versions that were read.
        seen: path to the number that was read last.
        violations: what was wrong, one line each, the same thing once; must be empty.
    """

    def __init__(self, paths: list[Path], *, pause: float = 0.002) -> None:
        self.reads = 0
        self.seen: dict[Path, int] = {}
        self.violations: list[str] = []
        self._paths = list(paths)
        self._pause = pause
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> Self:
        """Begin to read."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Read once more, and end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self.look()

    def watch(self, path: Path) -> None:
        """Read one file more from now on."""
        with self._lock:
            self._paths.append(path)

    def retire(self, path: Path) -> None:
        """Read a file no more: it is about to be deleted or renamed at the source."""
        with self._lock:
            self._paths.remove(path)
            self.seen.pop(path, None)

    def look(self) -> None:
        """Read every file once."""
        with self._lock:
            for path in self._paths:
                self._read(path)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    def _run(self):
        try:
            while not self._stopped.wait(self._pause):
                self.look()
        except Exception as error:
            self.violations.append(f"the reader ended: {error!r}")
            raise

    def _read(self, path):
        try:
            with path.open("rb") as file:
                status, content = os.fstat(file.fileno()), file.read()
        except FileNotFoundError:
            if path in self.seen:
                self._complain(f"{path}: missing after version {self.seen[path]}")
            return
        try:
            number = number_in(content)
        except ValueError as error:
            self._complain(f"{path}: after version {self.seen.get(path)}: {error}")
            return
        self._judge(path, number, status)

    def _complain(self, violation):
        if len(self.violations) < MOST_VIOLATIONS and violation not in self.violations:
            self.violations.append(violation)

    def _judge(self, path, number, status):
        self.reads += 1
        before = self.seen.get(path, number)
        if number < before:
            self._complain(f"{path}: back from version {before} to {number}")
        if stat.S_IMODE(status.st_mode) != MODE or status.st_mtime_ns != time_of(number):
            mode = stat.S_IMODE(status.st_mode)
            self._complain(
                f"{path}: version {number} has mode {mode:o} and time {status.st_mtime_ns}"
            )
        self.seen[path] = number
