"""Runs on a frontend, and reports when files are there. Python 3.9, standard library only.

One JSON request on a line in, one JSON answer on a line out; times are nanoseconds of the monotonic clock, which all
processes under one kernel share. It waits with inotify, so that it costs next to nothing while nothing happens.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import select
import shutil
import struct
import sys
import threading
import time

CLOSE_WRITE, MOVED_TO, CREATE, OVERFLOW = 0x8, 0x80, 0x100, 0x4000
HEADER = struct.Struct("iIII")
PAUSE = 0.02
"""Seconds between two counts of a tree."""

SPARE = 20
"""Additional pause, as a multiple of the time that the last count took: counting must not slow down what is measured."""

RECENT = 0.1
"""Seconds: directories that have changed this shortly before they were listed are listed again. The kernel stamps changes with the
time of its last tick, at most 10 ms ago."""


class Late(Exception):
    """Raised when the expected files or events do not appear in time."""


class Watch:
    """The events of one directory; one that does not exist yet is waited for."""

    def __init__(self, directory: str, deadline: float) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_CLOEXEC)
        flags = CLOSE_WRITE | MOVED_TO | CREATE
        while libc.inotify_add_watch(self._fd, os.fsencode(directory), flags) < 0:
            if time.monotonic() > deadline:
                raise Late(directory)
            time.sleep(0.001)

    def names(self, deadline: float) -> list[str] | None:
        """Wait for events; return the names that they are about, or None if some were lost."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._fd], [], [], left)[0]:
            raise Late("no event")
        data, at, found = os.read(self._fd, 1 << 18), 0, []
        while at < len(data):
            _, mask, _, length = HEADER.unpack_from(data, at)
            if mask & OVERFLOW:
                return None
            at += HEADER.size + length
            found.append(os.fsdecode(data[at - length : at].rstrip(b"\0")))
        return found


def has_size(path: str, size: int) -> bool:
    """Whether a file is there, as large as it shall be."""
    try:
        return os.stat(path).st_size == size
    except OSError:
        return False


class Record:
    """When each new file of a directory was first seen whole: kept by a thread."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._grown = threading.Condition()

    def begin(self, directory: str, size: int, timeout: float) -> None:
        """Record files of a size that are not there yet, from now on; what was recorded before is forgotten."""
        self._times = {}
        before = set(os.listdir(directory)) if os.path.isdir(directory) else set()
        watch = (
            Watch(directory, time.monotonic() + 1) if before or os.path.isdir(directory) else None
        )
        args = (self._times, directory, size, time.monotonic() + timeout, before, watch)
        threading.Thread(target=self._watch, args=args, daemon=True).start()

    def _watch(
        self,
        times: dict[str, int],
        directory: str,
        size: int,
        deadline: float,
        before: set[str],
        watch: Watch | None,
    ) -> None:
        names: list[str] | None = None
        try:
            watch = watch or Watch(directory, deadline)
            while True:
                for name in os.listdir(directory) if names is None else names:
                    new = name not in times and name not in before and not name.startswith(".")
                    if new and has_size(os.path.join(directory, name), size):
                        with self._grown:
                            times[name] = time.monotonic_ns()
                            self._grown.notify_all()
                names = watch.names(deadline)
        except Late:
            return

    def seen(self, count: int, timeout: float) -> dict[str, int]:
        """Return the times when there are so many."""
        with self._grown:
            if not self._grown.wait_for(lambda: len(self._times) >= count, timeout):
                raise Late(f"{len(self._times)} of {count}")
            return dict(self._times)


def until(path: str, size: int, timeout: float) -> int:
    """Return when a file had a size."""
    deadline = time.monotonic() + timeout
    watch = Watch(os.path.dirname(path), deadline)
    while not has_size(path, size):
        watch.names(deadline)
    return time.monotonic_ns()


def visible(root: str) -> list[str]:
    """Return the paths of all files that a visitor may ask for, sorted."""
    found = []
    for directory, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(directory, name) for name in names if not name.startswith(".")]
    return sorted(found)


class Counter:
    """Counts the files that a visitor may ask for, again and again, at the cost of one stat for each directory.

    A directory is listed again only if names in it have changed. Its change time tells: unlike its modification time, no program
    can set that back.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int, list[str]]] = {}

    def count(self, directory: str) -> int:
        """Return the number of files in a directory and below it."""
        try:
            files, folders = self._listed(directory)
        except OSError:  # it was removed or renamed in this moment
            return 0
        return files + sum(map(self.count, folders))

    def _listed(self, directory: str) -> tuple[int, list[str]]:
        changed = os.stat(directory).st_ctime_ns
        before, files, folders = self._known.get(directory, (-1, 0, []))
        if changed == before:
            return files, folders
        now = time.time_ns()
        with os.scandir(directory) as entries:
            seen = [entry for entry in entries if not entry.name.startswith(".")]
        folders = [entry.path for entry in seen if entry.is_dir(follow_symlinks=False)]
        is_settled = changed < now - RECENT * 1e9
        self._known[directory] = changed if is_settled else -1, len(seen) - len(folders), folders
        return len(seen) - len(folders), folders


def tree(root: str, count: int, timeout: float) -> int:
    """Return when there were so many files."""
    deadline = time.monotonic() + timeout
    counter = Counter()
    while True:
        begun, seen = time.monotonic(), time.monotonic_ns()
        found = counter.count(root)
        if found >= count:
            return seen
        if begun > deadline:
            raise Late(f"{found} of {count} files")
        time.sleep(PAUSE + SPARE * (time.monotonic() - begun))


def digest(root: str) -> str:
    """Return the SHA-256 over all names and contents."""
    whole = hashlib.sha256()
    for path in visible(root):
        with open(path, "rb") as file:
            content = hashlib.sha256()
            while chunk := file.read(1 << 20):
                content.update(chunk)
        whole.update(os.fsencode(os.path.relpath(path, root)) + b"\0" + content.digest())
    return whole.hexdigest()


def make(path: str) -> None:
    """Make a directory."""
    os.makedirs(path, exist_ok=True)


def remove(path: str) -> None:
    """Remove a directory with all that is in it."""
    shutil.rmtree(path, ignore_errors=True)


RECORD = Record()


def clear(path: str, prefix: str) -> None:
    """Remove the directories in a directory whose names begin so."""
    for name in os.listdir(path):
        if name.startswith(prefix):
            shutil.rmtree(os.path.join(path, name), ignore_errors=True)


REQUESTS = {
    "record": RECORD.begin,
    "seen": RECORD.seen,
    **{act.__name__: act for act in (until, tree, digest, make, remove, clear)},
}


def main() -> None:
    """Answer requests until standard input ends."""
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"answer": REQUESTS[name](*arguments)}
        except (Late, OSError) as error:
            answer = {"error": f"{name} {arguments}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
