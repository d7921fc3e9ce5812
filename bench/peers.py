"""The others, as they are installed here."""

from __future__ import annotations

import functools
import shutil
import subprocess

COMMANDS = {"rdiff": "rdiff", "rsync": "rsync"}
"""By contestant, the program that it needs."""


def missing(contestant: str) -> str:
    """Return why a contestant cannot take part; empty if it can."""
    program = COMMANDS.get(contestant)
    if program is None or shutil.which(program):
        return ""
    return f"{program} is not installed (apt-get install {program})"


@functools.cache
def version(contestant: str) -> str:
    """Return the first line of what a peer says of itself."""
    program = COMMANDS.get(contestant)
    if program is None or missing(contestant):
        return ""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def call(*command: object) -> None:
    """Run a peer; raises CalledProcessError if it fails."""
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
