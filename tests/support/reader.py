"""A reader that checks continuously that watched files are always complete versions.

The content of a watched file describes itself: its first line holds a version number, the length and the digest of the body, and
mode and modification time follow from the number. So a reader can check a file without other knowledge, and without memory that grows
during a soak of hours. An older version than one read before is a violation as well.
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
    """Write version `number` with a body of `size` bytes, as editors do: into a temporary file, which is then renamed.

    The numbers of a path must increase. A missing directory is created.
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
    """Return the content of a version."""
    body = random.Random(number).randbytes(size)
    return b"%d %d %s\n" % (number, size, hashlib.sha256(body).hexdigest().encode()) + body


def time_of(number: int) -> int:
    """Return the modification time of a version in nanoseconds."""
    return 1_600_000_000_000_000_000 + number * 1_000_000_007


def number_in(content: bytes) -> int:
    """Return the number of a version from its content.

    Raises:
        ValueError: if the content is not one complete version; gives the reason.
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
        raise ValueError(f"the body of version {number} does not match its digest")
    return number


class Reader:
    """Reads files on frontends repeatedly, in a thread.

    Args:
        paths: files to read. They may be missing at first, but must not vanish later (see `retire`).
        pause: seconds between two rounds, to leave CPU time for the code under test.

    Attributes:
        reads: number of complete versions that were read.
        seen: the number read last, by path.
        violations: one line for each distinct violation; a test asserts that it is empty.
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
        """Start the thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Read all files once more, and end the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self.read_all()

    def watch(self, path: Path) -> None:
        """Add a file."""
        with self._lock:
            self._paths.append(path)

    def retire(self, path: Path) -> None:
        """Remove a file, before it is deleted or renamed at the source."""
        with self._lock:
            self._paths.remove(path)
            self.seen.pop(path, None)

    def read_all(self) -> None:
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
                self.read_all()
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
