"""Freed memory stays in the process: the next frame does not fault it in again."""

import platform
import subprocess
import sys

import pytest

from tests.support import PROJECT

CODE = """
import resource, sys
from replicator.agent.memory import keep_freed
if sys.argv[1] == "keep":
    keep_freed()
for turn in range(101):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [bytearray(1 << 20) for _ in range(4)]
    pieces.clear()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    """Return the page faults of a hundred times 4 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, how], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt belongs to glibc")
def test_memory_that_was_freed_is_used_again_without_page_faults():
    assert faults("keep") < 1000 < faults("not")


def test_a_c_library_without_mallopt_is_no_error(monkeypatch):
    from replicator.agent import memory

    monkeypatch.setattr(memory, "ctypes", None)
    memory.keep_freed()
