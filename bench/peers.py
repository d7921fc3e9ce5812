"""The programs that replicator is compared with, as installed on this machine."""

from __future__ import annotations

import functools
import shutil
import subprocess

PROGRAMS = {"rdiff": "--version", "rsync": "--version", "lsyncd": "--version", "unison": "-version", "syncthing": "--version"}  # fmt: skip
"""Programs, each with its option that prints the version. A contestant's name is that of a program, optionally with a suffix for
its configuration: `lsyncd-tuned`."""


def missing(contestant: str) -> str:
    """Return why a contestant cannot take part; empty if it can."""
    program = contestant.partition("-")[0]
    if program not in PROGRAMS or shutil.which(program):
        return ""
    return f"{program} is not installed (apt-get install {program})"


@functools.cache
def version(program: str) -> str:
    """Return the first line of what a program says of itself; empty if it is not here."""
    if missing(program):
        return ""
    done = subprocess.run([program, PROGRAMS[program]], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def call(*command: object) -> None:
    """Run a peer; raises CalledProcessError if it fails."""
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
