"""`python -m tests.fuzz [TARGET...] --seconds N`: run each target in its own process with a coverage-guided fuzzer.

Prints for each target the number of executions and the new files of its corpus. Exits 1 if a target failed; the input is in
`findings` then.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS

PATIENCE = 10
"""Time limit in seconds for one input."""

MEMORY = 1024
"""Memory limit of a process in MiB. Memory grows with the corpus; it exceeds this only if a target leaks."""

SCRATCH = Path("/dev/shm")
"""Preferred place for temporary files: twice as fast as a disk."""

SHOWN_LINES = 30
"""Number of lines to print from the end of a failed fuzzer's output."""


@dataclass(frozen=True)
class Outcome:
    """Result of running one target.

    Attributes:
        executions: number of inputs that were tried.
        new: names of new corpus files.
        finding: the end of the fuzzer's output if the target failed; otherwise empty.
    """

    executions: int
    new: list[str]
    finding: str


def explore(target, seconds):
    """Run one target for some seconds, and add inputs with new coverage to its corpus."""
    corpus.FINDINGS.mkdir(exist_ok=True)
    (corpus.CORPUS / target.name).mkdir(parents=True, exist_ok=True)
    place = SCRATCH if SCRATCH.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=place) as scratch:
        new, seeds, temporary = (Path(scratch) / name for name in ("new", "seeds", "tmp"))
        for directory in (new, seeds, temporary):
            directory.mkdir()
        for number, seed in enumerate(target.seeds):
            (seeds / str(number)).write_bytes(seed)
        known = [new, corpus.CORPUS / target.name, seeds]
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.engine", target.name, *map(str, known)),
                f"-max_total_time={seconds}",
                f"-max_len={target.limit}",
                f"-timeout={PATIENCE}",
                f"-rss_limit_mb={MEMORY}",
                f"-artifact_prefix={corpus.FINDINGS}/{target.name}-",
                "-print_final_stats=1",
            ],
            env=os.environ | {"TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output = ended.stdout.decode("utf-8", "backslashreplace")
        count = re.search(r"stat::number_of_executed_units:\s*(\d+)", output)
        kept = corpus.keep(target, [path.read_bytes() for path in new.iterdir()])
    words = "\n".join(output.splitlines()[-SHOWN_LINES:]) if ended.returncode else ""
    return Outcome(int(count[1]) if count else 0, kept, words)


def main():
    """Run the targets that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    chosen = parser.parse_args()
    if unknown := set(chosen.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: `pip install --group fuzz`")
    found = 0
    for name in chosen.targets or TARGETS:
        outcome = explore(TARGETS[name], chosen.seconds)
        print(
            f"{name:12} {outcome.executions:9,} executions, {outcome.executions // chosen.seconds:6,} each second;"
            f" {len(outcome.new)} new in the corpus",
            flush=True,
        )
        for file in outcome.new:
            print(f"  {file}")
        if outcome.finding:
            found += 1
            print(outcome.finding, flush=True)
    print(f"\n{found} findings" + (f", in {corpus.FINDINGS}" if found else ""))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
