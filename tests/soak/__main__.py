"""`python -m tests.soak --minutes 10`: run `replicator serve` with three real OpenSSH servers under a workload and faults.

Each round: a seeded workload changes the tree, readers read files on the frontends, and faults occur. Then workload and faults
pause, and the copies must become equal to the source without leftover temporaries. In every other round a second tree has a fault
of its own, which must not affect the first. Prints a line for each round and a summary; exits 1 on any violation.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

from replicator.model import TEMPORARY_PREFIX
from tests.soak.faults import Faults
from tests.soak.meter import growth, measure
from tests.soak.second_tree import SecondTree
from tests.support import PROJECT
from tests.support.daemon import Backend, Fleet
from tests.support.reader import Reader, publish
from tests.support.waiting import wait_for
from tests.support.workload import Workload

ADDRESSES = ("127.0.4.1", "127.0.4.2", "127.0.4.3")
WATCHED = {"small": 2_000, "medium": 200_000, "large": 6_000_000}
"""Files that are replaced while readers read them, with their sizes in bytes: sent whole, as a delta, in many frames."""

PATIENCE = 120.0
"""Seconds after a round within which all trees must be equal."""

LINGERING = 20.0
"""Seconds within which temporaries must be gone. An agent that was stopped and replaced notices that after at most 10 s."""


class Soak:
    """A backend with its frontends, the workload, the readers and the faults.

    Args:
        directory: an empty directory for everything.
        seed: seed of workload and faults. Timing still differs between runs.
        spare: True to never end the daemon, so that its memory can be followed over the whole run.

    Attributes:
        violations: violated guarantees, one text each.
        checks: how often all trees were found equal.
        scans: how often files that had several names were equal only after a scan of the whole source.
        series: memory and descriptors of the daemon after each round.
    """

    def __init__(self, directory: Path, seed: int, *, spare: bool = False) -> None:
        self._fleet = Fleet(directory)
        servers = [self._fleet.add(f"f{n}", address) for n, address in enumerate(ADDRESSES)]
        home = directory / "b"
        home.mkdir()
        self.backend = Backend(home, self._fleet, servers)
        self.backend.tree = {"delete_guard": 1}  # the workload may delete most of the tree at once
        self.backend.tables = {"log": {"level": "warning"}}
        target = self._fleet.root / "second"
        self.second = SecondTree(
            home / "second",
            [directory / f"world-f{n}" / target.name for n in range(len(ADDRESSES))],
            seed,
        )
        self.backend.more_trees = [{"source": "second", "target": str(target), "delete_guard": 1}]
        self.backend.configure(connect_timeout=5.0, keepalive=1.0, op_timeout=2.0)
        (self.backend.source / "watched").mkdir()
        self._number = 0
        self._publish()
        self.workload = Workload(self.backend.source, seed)
        self._flipping = self.backend.source / "flips", directory / "stage"
        for each in self._flipping:
            each.mkdir()
        self._busy, self._work, self._end = threading.Lock(), threading.Event(), threading.Event()
        self.faults = Faults(self.backend, self._busy, seed, spare=spare)
        self._random = random.Random(seed)
        self.checks = self.scans = 0
        self.series = []
        self._found: list[str] = []
        self.copies = [directory / f"world-f{n}" / home.name for n in range(len(ADDRESSES))]
        self.reader = Reader(
            [copy / "watched" / name for copy in self.copies for name in WATCHED], pause=0.02
        )

    @property
    def violations(self) -> list[str]:
        return [*self._found, *self.faults.complaints, *self.reader.violations]

    def _publish(self):
        self._number += 1
        names = list(WATCHED)
        for name in names if self._number == 1 else [names[self._number % len(names)]]:
            publish(self.backend.source / "watched" / name, self._number, WATCHED[name])

    def _labour(self):
        """Run the workload while `_work` is set, until `_end` is set."""
        while not self._end.is_set():
            if not self._work.wait(0.1):
                continue
            with self._busy:
                try:
                    self.workload.step()
                    if self.workload.steps % 50 == 0:
                        self._publish()
                except Exception as error:  # noqa: BLE001  # nothing would be changed any more
                    self._found.append(f"the workload ended: {error!r}")
                    return
            time.sleep(self._random.uniform(0, 0.01))

    def run(self, seconds: float, write_line=print, each=20.0):
        """Run rounds of about `each` seconds; with `each` 0, one round in which every fault happens once."""
        worker = threading.Thread(target=self._labour)
        worker.start()
        begun = time.monotonic()
        try:
            self.backend.start()
            self._rest(0, write_line)
            self.reader.start()
            number = 0
            while number == 0 or time.monotonic() - begun < seconds:
                number += 1
                if number % 2 and each:
                    self.second.cause_fault()
                self._work.set()
                self._cause_faults(each)
                self._work.clear()
                self._rest(number, write_line)
                if self.second.has_fault:
                    self._found += self.second.mend()
            if self.backend.stop() != 0:
                self._found.append("the daemon exited with an error")
            self._found += growth(self.series)
        except AssertionError as error:
            self._found.append(str(error))
        finally:
            self._end.set()
            worker.join()
            self.reader.stop()
            self.backend.kill()
            self._fleet.close()

    def _left(self):
        return [str(path) for copy in self.copies for path in leftovers(copy)]

    def _cause_faults(self, seconds):
        if not seconds:
            self._flip_during(self.faults.all)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            # Keep the catalog while the second tree's source may be replaced: only the catalog has the identity of the former directory.
            self._flip_during(partial(self.faults.one, keep_catalog=self.second.has_fault))
            time.sleep(self._random.uniform(0, 2))

    def _flip_during(self, action):
        """Run tests.support.flips, which quickly renames and replaces a few names, during the faults."""
        how = map(str, (self._random.randrange(1 << 30), 400, 0.002))
        command = [sys.executable, "-m", "tests.support.flips", *self._flipping, *how]
        with subprocess.Popen(command, cwd=PROJECT) as flips:
            action()
        if flips.returncode:
            self._found.append("tests.support.flips failed")

    def _wait_until_equal(self, halted):
        """Wait until all trees are equal.

        No event names a file that changed through another name which was replaced before it was checked: the next scan of the whole
        source finds it (docs/guarantees.md, Attributes). A verification scans; only files that had several names may need it.
        """
        wait = partial(self.backend.wait_until_equal, seconds=PATIENCE, halted=halted)
        wait(ignored=self._had_several_names)
        if found := self.backend.differences():
            self.scans += 1
            print(f"after a scan for hard links: {found}", flush=True)
            self.backend.run("verify")
            wait()
        self.workload.forget_replaced()

    def _had_several_names(self, path):
        try:
            return (self.backend.source / path).lstat().st_ino in self.workload.linked
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _rest(self, number, write_line):
        """Stop the workload, and wait until all trees are equal; record leftovers and the daemon's memory."""
        begun = time.monotonic()
        halted = {str(self.second.source)} if self.second.has_fault else set()
        with self._busy:
            self._wait_until_equal(halted)
        if not halted and (found := self.second.differences()):
            self._found.append(f"the second tree differs in round {number}: {found}")
        self.checks += 1
        try:
            wait_for(lambda: not self._left(), self._left, LINGERING, pause=0.2)
        except AssertionError:
            self._found.append(f"left over in round {number}: {self._left()[:5]}")
        held = measure(self.backend.daemon.pid)
        self.series.append(held)
        write_line(
            f"round {number}{' (second tree has a fault)' if halted else ''}: equal after {time.monotonic() - begun:.1f} s; {self.workload.steps} operations,"
            f" {sum(self.faults.counts.values())} faults, {self.reader.reads} reads, {len(self.violations)} violations;"
            f" daemon {held.rss} MiB, {held.descriptors} descriptors"
        )


def leftovers(copy: Path) -> list[Path]:
    """Return replicator's temporary files in a frontend's copy."""
    return list(copy.rglob(f"{os.fsdecode(TEMPORARY_PREFIX)}*"))


def main() -> int:
    """Run the soak test with the options of the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument(
        "--one-life",
        action="store_true",
        help="never end the daemon, to follow its memory over the whole run",
    )
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        soak = Soak(Path(directory), chosen.seed, spare=chosen.one_life)
        soak.run(chosen.minutes * 60, write_line=lambda text: print(text, flush=True))
    print(
        f"\nduration: {time.monotonic() - begun:.0f} s, {soak.checks} times equal, {soak.scans} times after a scan for hard links"
    )
    print(f"operations: {soak.workload.steps}; reads of watched files: {soak.reader.reads}")
    counts = soak.faults.counts | soak.second.counts
    for name, count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"  {name}: {count}")
    print("daemon at rest, MiB:", *(held.rss for held in soak.series))
    print("daemon at rest, descriptors:", *(held.descriptors for held in soak.series))
    print(f"violations: {len(soak.violations)}")
    for violation in soak.violations:
        print(f"  {violation}")
    return 1 if soak.violations else 0


if __name__ == "__main__":
    sys.exit(main())
