"""Small file systems of their own (tmpfs), to be filled, made read-only and taken away; only root can mount them."""

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

from replicator.model import is_temporary
from tests.support.tools import missing


class Disk:
    """A tmpfs that is mounted at a directory."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def remount(self, options: str) -> None:
        """Change its options, such as `size=64m`, `ro` or `rw`."""
        _run("mount", "-o", f"remount,{options}", str(self.where))

    def detach(self) -> None:
        """Take it away although it is in use, as `umount -l` and a lost volume do."""
        _run("umount", "-l", str(self.where))

    @property
    def free(self) -> int:
        """Bytes that are free."""
        status = os.statvfs(self.where)
        return status.f_bavail * status.f_frsize

    def temporaries(self) -> list[str]:
        """Return the names of our temporaries that lie on it."""
        return [
            name
            for _, _, names in os.walk(self.where)
            for name in names
            if is_temporary(os.fsencode(name))
        ]


@contextmanager
def disk(where: Path, options: str = "size=16m"):
    """Mount a tmpfs at `where` and yield it; whatever is mounted there at the end is unmounted.

    Skips the test (fails it in CI) without the right to mount, of which a container may have none even as root.
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
