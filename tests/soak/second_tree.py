"""A second tree whose source has a fault in every other round of a soak; the first tree must not be affected."""

import random
from pathlib import Path

from replicator.demo.trees import difference, fingerprint
from tests.support.workload import Workload

STEPS = 40
"""Number of workload operations between two faults."""

HUGE = 2 << 40
"""Size in bytes of a sparse file; hashing it takes longer than a round."""


class SecondTree:
    """Changes its own source; as a fault renames it away, replaces it, or creates a huge file in it.

    Args:
        source: the source directory; created here.
        copies: the frontends' copies, as paths for this process.
        seed: seed of workload and choices.

    Attributes:
        has_fault: True from `cause_fault` to `mend`.
        counts: number of faults by kind.
    """

    def __init__(self, source: Path, copies: list[Path], seed: int) -> None:
        self.source = source
        self._copies = copies
        self._random = random.Random(seed)
        self._aside = source.with_name(f"{source.name}-aside")
        self._kinds = [self._away, self._replaced, self._huge]
        self._kept: dict[Path, set[str]] = {}
        self._stray = ""
        self.has_fault = False
        self.counts: dict[str, int] = {}
        source.mkdir()
        (source / "keeps").write_text("a tree that is never empty")
        self._workload = Workload(source, seed)
        self.work()

    def work(self) -> None:
        """Run STEPS operations of the workload."""
        for _ in range(STEPS):
            self._workload.step()

    def cause_fault(self) -> None:
        """Begin a fault; the kinds alternate."""
        names = set(fingerprint(self.source))
        self._kept = {copy: names & set(fingerprint(copy)) for copy in self._copies}
        kind = self._kinds[sum(self.counts.values()) % len(self._kinds)]
        name = f"second tree {kind.__name__.strip('_')}"
        self.counts[name] = self.counts.get(name, 0) + 1
        self.has_fault = True
        kind()

    def mend(self) -> list[str]:
        """End the fault; return the violations that the frontends showed."""
        wrong = []
        for copy, kept in self._kept.items():
            there = set(fingerprint(copy))
            if missing := kept - there:
                wrong.append(f"{copy}: deleted while the source had a fault: {sorted(missing)[:5]}")
            if self._stray and self._stray in there:
                wrong.append(
                    f"{copy}: holds a file of the directory that was in the source's place"
                )
        if self._aside.exists():
            if self.source.exists():
                (self.source / self._stray).unlink()
                self.source.rmdir()
            self._aside.rename(self.source)
        (self.source / "huge").unlink(missing_ok=True)
        self._stray = ""
        self.has_fault = False
        self.work()
        return wrong

    def differences(self) -> dict[str, list[str]]:
        """Return the paths at which each copy differs from the source."""
        return {
            str(copy): found for copy in self._copies if (found := difference(self.source, copy))
        }

    def _away(self):
        self.source.rename(self._aside)

    def _replaced(self):
        self._away()
        self.source.mkdir()
        self._stray = f"stray-{self._random.randrange(10**6)}"
        (self.source / self._stray).write_text("of another volume")

    def _huge(self):
        with (self.source / "huge").open("wb") as file:
            file.truncate(HUGE)
