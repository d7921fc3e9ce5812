"""`python -m tests.support.flips ROOT STAGE SEED STEPS PAUSE`: rename and replace a few names as fast as possible.

Runs in its own process, so that it is not slowed down by the daemon's interpreter: the races that it provokes last microseconds,
such as between a rename and the lstat(2) that follows. `STAGE` is a directory outside of the tree; files are moved to it and back.
Content is changed only below `ROOT`, because inotify reports no change through a hard link outside of the tree.
"""

import os
import random
import shutil
import sys
import time
from contextlib import suppress

from tests.support.uploader import exchange

NAMES = ("a", "b", "c")
SIZES = (0, 10, 3000, 40_000)
PAUSES = (0, 0, 0.0002, 0.002)
"""Maximum pauses in seconds between two steps."""


class Flips:
    """Performs random steps; an impossible step is skipped.

    Args:
        root: the tree.
        stage: a directory outside of the tree, on the same file system.
        seed: the same seed on the same directories gives the same steps.
    """

    def __init__(self, root: str, stage: str, seed: int) -> None:
        self._root = root
        self._stage = stage
        self._rng = random.Random(seed)
        move = (self._exchange, self._rename)
        change = (self._write, self._append, self._save, self._directory, self._symlink, self._link, self._touch, self._chmod, self._remove)  # fmt: skip
        self._steps = [(step, self._anywhere) for step in 2 * move] + [
            (step, self._inside) for step in change
        ]

    def step(self) -> None:
        """Perform one random operation on one or two names."""
        act, where = self._rng.choice(self._steps)
        with suppress(OSError):
            act(where(), where())

    def _inside(self):
        return os.path.join(self._root, *self._rng.choices(NAMES, k=self._rng.choice([1, 1, 2, 2, 3])))  # fmt: skip

    def _anywhere(self):
        path = self._inside()
        return path if self._rng.random() < 0.75 else path.replace(self._root, self._stage, 1)

    def _content(self):
        return self._rng.randbytes(self._rng.choice(SIZES))

    # --- Operations. Each gets two names; some use only the first. ---

    def _exchange(self, one, other):
        exchange(one, other)

    def _rename(self, source, target):
        os.rename(source, target)

    def _write(self, path, _):
        with open(path, "wb") as file:
            file.write(self._content())

    def _append(self, path, _):
        with open(path, "ab") as file:
            file.write(b"more")

    def _save(self, path, _):
        with open(path + ".swp", "wb") as file:
            file.write(self._content())
        os.rename(path + ".swp", path)

    def _directory(self, path, _):
        with suppress(OSError):
            self._remove(path, "")
        os.mkdir(path)
        for name in self._rng.sample(NAMES, 2):
            self._write(os.path.join(path, name), "")

    def _symlink(self, path, _):
        os.symlink(self._rng.choice(["a", "../b", ".", "nowhere"]), path)

    def _link(self, path, other):
        if not os.path.islink(
            path
        ):  # replicator does not follow time changes through hard links of symlinks
            os.link(path, other)

    def _touch(self, path, _):
        os.utime(path, follow_symlinks=False)

    def _chmod(self, path, _):
        if not os.path.islink(path):
            os.chmod(path, self._rng.choice([0o755, 0o700]))

    def _remove(self, path, _):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def main() -> None:
    """Run with the command line's arguments."""
    root, stage = sys.argv[1:3]
    seed, steps, pause = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
    flips, rng = Flips(root, stage, seed), random.Random(seed)
    for _ in range(steps):
        flips.step()
        if pause:
            time.sleep(rng.random() * pause)


if __name__ == "__main__":
    main()
