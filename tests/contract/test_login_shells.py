"""The command that starts the agent, under every login shell that exists here; tcsh has to."""

import subprocess

import pytest

from replicator.transport.bundle import COMMAND, DAMAGED, pack
from tests.support.tools import find, missing

SHELLS = (
    "sh",
    "bash",
    "rbash",
    "dash",
    "tcsh",
    "csh",
    "bsd-csh",
    "fish",
    "zsh",
    "ksh",
    "mksh",
    "yash",
)
NEEDED = ("sh", "bash", "tcsh")


def run(shell, code, home):
    """Run the command as sshd does for an account with this login shell."""
    path = find(shell) or (missing(f"{shell} (apt-get install {shell})") if shell in NEEDED else "")
    if not path:
        pytest.skip(f"{shell} is not installed")
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
