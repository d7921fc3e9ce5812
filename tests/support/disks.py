"""Small separate file systems (tmpfs, ext4) that tests fill, make read-only or unmount. Needs root."""

import fcntl
import os
import struct
import subprocess
from contextlib import contextmanager
from pathlib import Path

from replicator.model import is_temporary
from tests.support.tools import find, missing


class Disk:
    """A tmpfs, mounted at a directory."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def remount(self, options: str) -> None:
        """Change its options, such as `size=64m`, `ro` or `rw`."""
        _run("mount", "-o", f"remount,{options}", str(self.where))

    def detach(self) -> None:
        """Unmount it although it is in use (`umount -l`), as when a volume is lost."""
        _run("umount", "-l", str(self.where))

    def unmount(self) -> bool:
        """Unmount it; return False if it is in use."""
        return not _run("umount", str(self.where), check=False)

    @property
    def free(self) -> int:
        """Return the number of free bytes."""
        status = os.statvfs(self.where)
        return status.f_bavail * status.f_frsize

    def temporaries(self) -> list[str]:
        """Return the names of replicator's temporary files on it."""
        return [
            name
            for _, _, names in os.walk(self.where)
            for name in names
            if is_temporary(os.fsencode(name))
        ]


@contextmanager
def disk(where: Path, options: str = "size=16m"):
    """Mount a tmpfs at `where` and yield it; unmount at the end whatever is mounted there.

    Skips the test (fails it in CI) without permission to mount, which even root may lack in a container.
    """
    if os.geteuid() != 0:
        missing("root, who can mount a file system")
    where.mkdir(parents=True, exist_ok=True)
    if _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where), check=False):
        missing("the right to mount a tmpfs (CAP_SYS_ADMIN)")
    made = Disk(where)
    try:
        yield made
    finally:
        while os.path.ismount(where):
            _run("umount", "-l", str(where))


def _run(*command: str, check: bool = True) -> int:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, (command, done.stderr)
    return done.returncode


EXT4_IOC_SHUTDOWN = 0x8004587D
"""_IOR('X', 125, __u32), of fs/ext4/ext4.h."""

NOLOGFLUSH = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: do not flush the journal, as when the power is cut."""


class Volume:
    """An ext4 file system in a file, on a loop device, mounted at a directory."""

    def __init__(self, image: Path, where: Path, options: tuple[str, ...] = ()) -> None:
        self.where = where
        self._image = image
        self._options = options
        self.mount()

    def mount(self, loop: str = "loop") -> None:
        """Mount it, which replays its journal. Dirty pages of an earlier mount are lost."""
        _run("mount", "-o", f"{loop},commit=300", str(self._image), str(self.where))

    def cut_power(self) -> None:
        """Stop all writes at once: data that is not on the disk yet is lost."""
        fd = os.open(self.where, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(fd)

    def make_anew(self) -> None:
        """Replace it with an empty file system that has the same device number."""
        number = os.minor(self.where.stat().st_dev)  # others may have freed a lower one meanwhile
        _run("umount", str(self.where))
        _make_ext4(self._image, self._options)
        self.mount(f"loop=/dev/loop{number}")

    def boot(self) -> None:
        """Unmount it and mount it again. No file on it may be open."""
        _run("umount", str(self.where))
        self.mount()


def _make_ext4(image: Path, options: tuple[str, ...]) -> None:
    make = find("mkfs.ext4") or missing("mkfs.ext4 (apt-get install e2fsprogs)")
    _run(make, "-q", "-F", *options, str(image))


@contextmanager
def volume(directory: Path, size="64M", options: tuple[str, ...] = ()):
    """Yield a Volume, made with these options of mkfs.ext4. Skips the test (fails it in CI) without loop devices or ext4."""
    if os.geteuid() != 0:
        missing("root, who can mount a file system")
    image, where = directory / "image", directory / "volume"
    where.mkdir(parents=True)
    _run("truncate", "-s", size, str(image))
    _make_ext4(image, options)
    probe = ("mount", "-o", "loop", str(image), str(where))
    if _run(*probe, check=False):
        missing("the right to mount ext4 from a loop device")
    _run("umount", str(where))
    made = Volume(image, where, options)
    try:
        yield made
    finally:
        while os.path.ismount(where):
            _run("umount", "-l", str(where))
