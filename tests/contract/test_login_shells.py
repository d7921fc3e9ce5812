"""The command that starts the agent, under the login shells that `.ci/run` installs."""

import subprocess

import pytest

from replicator.transport.bundle import COMMAND, DAMAGED, pack
from tests.support.tools import find, missing

PACKAGES = {
    "sh": "dash", "bash": "bash", "rbash": "bash", "dash": "dash", "tcsh": "tcsh", "csh": "tcsh", "bsd-csh": "csh", "fish": "fish",
    "zsh": "zsh", "ksh": "ksh93u+m", "mksh": "mksh", "yash": "yash",
}  # fmt: skip
"""Shells, and the packages of Debian that have them."""

SHELLS = tuple(PACKAGES)


def run(shell, code, home):
    """Run the command as sshd does for an account with this login shell."""
    path = find(shell) or missing(f"{shell} (apt-get install {PACKAGES[shell]})")
    return subprocess.run(
        [path, "-c", COMMAND],
        input=code,
        capture_output=True,
        timeout=20,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home)},
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_the_code_runs_and_reads_what_follows_it(shell, tmp_path):
    code = pack("import sys; sys.stdout.write(sys.stdin.read()); sys.exit(7)")
    done = run(shell, code + b"and more", tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (b"and more", b"", 7)


@pytest.mark.parametrize("shell", SHELLS)
def test_damaged_code_is_refused(shell, tmp_path):
    code = pack("print('run')")
    done = run(shell, code[:-1] + bytes([code[-1] ^ 1]), tmp_path)
    assert (done.stdout, done.returncode) == (b"", DAMAGED)


@pytest.mark.parametrize("shell", ["tcsh", "csh"])
def test_a_banner_in_the_start_file_comes_before_the_agents_output(shell, tmp_path):
    (tmp_path / ".cshrc").write_text("echo Welcome to the machine!\n")
    done = run(shell, pack("print('agent')"), tmp_path)
    assert done.stdout == b"Welcome to the machine!\nagent\n"
