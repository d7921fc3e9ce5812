"""A believable uploads directory: seeded, so that two runs are alike."""

from __future__ import annotations

import random
from pathlib import Path

_WORDS = (
    "order",
    "invoice",
    "product",
    "summer",
    "winter",
    "sale",
    "blog",
    "banner",
    "logo",
    "team",
    "press",
    "about",
)
_JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")


class Site:
    """Makes and changes the files of an uploads directory.

    Args:
        root: the directory; made if missing.
        seed: of all that is random here.
    """

    def __init__(self, root: Path, seed: int = 42) -> None:
        self.root = root
        self._random = random.Random(seed)  # noqa: S311  # data, not secrets
        self._count = 0
        root.mkdir(parents=True, exist_ok=True)

    def fill(self, files: int) -> int:
        """Create `files` images and documents in dated directories; return the bytes written."""
        return sum(len(self.upload().read_bytes()) for _ in range(files))

    def upload(self, size: int | None = None) -> Path:
        """Create one file as an upload does, and return its path once it is closed."""
        self._count += 1
        year, month = self._random.randint(2019, 2026), self._random.randint(1, 12)
        directory = self.root / f"{year}" / f"{month:02}"
        directory.mkdir(parents=True, exist_ok=True)
        name = "-".join(self._random.choices(_WORDS, k=2))
        if self._random.random() < 0.8:
            path = directory / f"{name}-{self._count}.jpg"
            # Photos of a shop: most are thumbnails, a few are large (log-normal, median 12 KB).
            length = size or min(1_500_000, int(self._random.lognormvariate(9.4, 1.0)))
            content = _JPEG + self._random.randbytes(length)
        else:
            path = directory / f"{name}-{self._count}.html"
            length = size or self._random.randint(500, 40_000)
            content = " ".join(self._random.choices(_WORDS, k=length // 6)).encode()
        path.write_bytes(content)
        return path

    def big_file(self, size: int) -> Path:
        """Create one large file, such as a catalogue in PDF."""
        path = self.root / "catalogue.pdf"
        path.write_bytes(self._random.randbytes(size))
        return path

    def insert_in_the_middle(self, path: Path, text: bytes) -> None:
        """Rewrite a file with a few bytes more in its middle, as an editor does."""
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + text + content[middle:])

    def append(self, path: Path, size: int) -> None:
        """Append to a file."""
        with path.open("ab") as file:
            file.write(self._random.randbytes(size))

    def some(self, count: int) -> list[Path]:
        """Return some existing files, in no particular order."""
        files = sorted(path for path in self.root.rglob("*") if path.is_file())
        return self._random.sample(files, count)
