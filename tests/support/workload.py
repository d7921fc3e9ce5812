"""A random workload: file operations that users and programs do on a site, drawn from a seed.

It only changes a directory, and does not depend on replicator. It keeps the size of the tree within bounds, so that it can run for
hours.
"""

import os
import random
import shutil
from pathlib import Path

WATCHED = "watched"
"""Directory below the root that the workload never changes: see tests/support/reader.py."""

MOST_FILES = 300
MOST_DIRECTORIES = 60
DEEPEST = 6

STEPS = {
    "write_small": 20, "write_large": 2, "save_by_rename": 8, "append": 8, "edit": 8, "truncate": 3, "rename_file": 6,
    "rename_directory": 3, "delete_file": 6, "delete_directory": 1, "make_directory": 6, "symlink": 3, "chmod": 4,
    "touch": 4, "hard_link": 2,
}  # fmt: skip
"""Operations with their weights."""


class Workload:
    """Random file operations below a directory.

    Args:
        root: an existing directory. Its files take part, except those in `watched/`.
        seed: the same seed on the same tree gives the same operations.
        large: size in bytes of the largest file that is written.

    Attributes:
        steps: number of operations done.
        kinds: number of operations by kind.
        linked: inode numbers of files that got a second name.
    """

    def __init__(self, root: Path, seed: int, *, large: int = 3 << 20) -> None:
        self.root = root
        self.steps = 0
        self.kinds = dict.fromkeys(STEPS, 0)
        self.linked: set[int] = set()
        self._large = large
        self._rng = random.Random(seed)
        self._directories = [root]
        self._files: list[Path] = []
        self._links: list[Path] = []
        self._survey()

    def step(self) -> str:
        """Do one operation; return its description, one line."""
        while True:
            kind = self._rng.choices(list(STEPS), list(STEPS.values()))[0]
            if len(self._files) > MOST_FILES:
                kind = "delete_file"
            if len(self._directories) > MOST_DIRECTORIES:
                kind = "delete_directory"
            detail = getattr(self, f"_{kind}")()
            if detail:
                self.steps += 1
                self.kinds[kind] += 1
                return f"{kind} {detail}"

    def forget_replaced(self):
        """Drop the numbers in `linked` that no file has any more: they may be given to other files."""
        self.linked &= {path.lstat().st_ino for path in self._files}

    # --- Operations. Each returns a description, or None if there was no file or directory for it. ---

    def _write_small(self):
        path = self._some_file() if self._rng.random() < 0.4 else self._new_name("file", ".txt")
        return self._write(path, self._rng.choice([0, 1, 100, 5000, 20_000]))

    def _write_large(self):
        path = self._some_file() if self._rng.random() < 0.5 else self._new_name("large", ".bin")
        return self._write(path, self._rng.randint(self._large // 3, self._large))

    def _write(self, path, size):
        if path is None:
            return None
        path.write_bytes(self._rng.randbytes(size))
        self._add(path)
        return f"{self._name(path)} ({size} bytes)"

    def _save_by_rename(self):
        path = self._some_file() or self._new_name("saved", ".html")
        if path is None:
            return None
        draft = path.with_name(f".{path.name[:200]}.swp")
        draft.write_bytes(self._rng.randbytes(self._rng.randint(1, 30_000)))
        draft.replace(path)
        self._add(path)
        return self._name(path)

    def _append(self):
        path = self._some_file()
        if path is None or path.stat().st_size > 2 * self._large:
            return None
        with path.open("ab") as file:
            file.write(self._rng.randbytes(self._rng.randint(1, 3000)))
        return self._name(path)

    def _edit(self):
        path = self._some_file()
        if path is None or not path.stat().st_size:
            return None
        with path.open("r+b") as file:
            file.seek(self._rng.randrange(path.stat().st_size))
            file.write(self._rng.randbytes(self._rng.randint(1, 500)))
        return self._name(path)

    def _truncate(self):
        path = self._some_file()
        if path is None:
            return None
        size = self._rng.randint(0, path.stat().st_size)
        os.truncate(path, size)
        return f"{self._name(path)} to {size}"

    def _rename_file(self):
        path = self._some_file()
        target = self._some_file() if self._rng.random() < 0.2 else self._new_name("moved", ".txt")
        if path is None or target is None or (target.exists() and target.samefile(path)):
            return None  # rename(2) does nothing if both names are hard links of the same file
        path.rename(target)
        self._files.remove(path)
        self._add(target)
        return f"{self._name(path)} -> {self._name(target)}"

    def _rename_directory(self):
        path, target = self._some_directory(), self._new_name("dir", "")
        if path is None or target is None or target.is_relative_to(path):
            return None
        path.rename(target)
        for known in (self._files, self._links, self._directories):
            known[:] = [
                target / p.relative_to(path) if p.is_relative_to(path) else p for p in known
            ]
        return f"{self._name(path)} -> {self._name(target)}"

    def _delete_file(self):
        path = self._some(self._files + self._links)
        if path is None:
            return None
        path.unlink()
        (self._files if path in self._files else self._links).remove(path)
        return self._name(path)

    def _delete_directory(self):
        path = self._some_directory()
        if path is None:
            return None
        shutil.rmtree(path)
        for known in (self._files, self._links, self._directories):
            known[:] = [p for p in known if not p.is_relative_to(path)]
        return self._name(path)

    def _make_directory(self):
        path = self._new_name("dir", "")
        if path is None or len(path.relative_to(self.root).parts) > DEEPEST:
            return None
        path.mkdir()
        self._directories.append(path)
        return self._name(path)

    def _symlink(self):
        path = self._new_name("link", "")
        if path is None:
            return None
        path.symlink_to(self._rng.choice(["nowhere", ".", "../above", f"target-{self.steps}"]))
        self._links.append(path)
        return self._name(path)

    def _chmod(self):
        path = self._some(self._files + self._directories[1:])
        if path is None:
            return None
        mode = self._rng.choice([0o755, 0o700, 0o775] if path.is_dir() else [0o644, 0o600, 0o755])
        path.chmod(mode)
        return f"{self._name(path)} {mode:o}"

    def _touch(self):
        path = self._some_file()
        if path is None:
            return None
        when = self._rng.randint(0, 2_000_000_000_000_000_000)
        os.utime(path, ns=(when, when))
        return f"{self._name(path)} {when}"

    def _hard_link(self):
        path, target = self._some_file(), self._new_name("twin", ".txt")
        if path is None or target is None:
            return None
        target.hardlink_to(path)
        self.linked.add(path.stat().st_ino)
        self._add(target)
        return f"{self._name(path)} = {self._name(target)}"

    # --- Files and directories that exist. ---

    def _survey(self):
        for directory, directories, files in os.walk(self.root):
            if Path(directory) == self.root and WATCHED in directories:
                directories.remove(WATCHED)
            directories.sort()
            for name in sorted(directories + files):
                path = Path(directory, name)
                known = self._links if path.is_symlink() else self._files
                (self._directories if path.is_dir() and not path.is_symlink() else known).append(
                    path
                )

    def _add(self, path):
        if path not in self._files:
            self._files.append(path)

    def _some(self, paths):
        return self._rng.choice(paths) if paths else None

    def _some_file(self):
        return self._some(self._files)

    def _some_directory(self):
        return self._some(self._directories[1:])

    def _new_name(self, stem, ending):
        """Return an unused path; its name may contain blanks, newlines, quotes and the like."""
        middle = self._rng.choice(["", "", "", " with blanks", "-é", "\n", "'\"", "$x"])
        path = (
            self._rng.choice(self._directories)
            / f"{stem}-{self._rng.randrange(10**6)}{middle}{ending}"
        )
        return None if os.path.lexists(path) else path

    def _name(self, path):
        return repr(str(path.relative_to(self.root)))
