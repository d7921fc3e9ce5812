"""Programs of hooks: real ones that fail, hang, fork, flood or do not listen."""

import errno
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from replicator.hooks.process import LINES, HookFailed, run
from tests.support.waiting import eventually

GRANDCHILD = "sleep 600 & echo $!; "
"""A program of the shell, because Python may take a second to start on a busy machine."""


LEAVES_THE_GROUP = """
import os, time
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    print(os.getpid(), flush=True)
    os.write(writing, b"x")
    time.sleep(120)
os.read(reading, 1)
"""


def python(script, *arguments):
    return [sys.executable, "-c", script, *arguments]


def shell(script):
    return ["/bin/sh", "-c", script]


async def outcome(command, data=b"{}\n", seconds=30.0):
    lines = []
    try:
        await run(command, data, seconds, lines.append)
    except HookFailed as error:
        return lines, str(error)
    return lines, ""


def exists(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_the_event_is_on_standard_input_and_the_output_is_passed_on():
    script = "import sys; print(sys.stdin.read().strip()); print('wrong', file=sys.stderr)"
    assert await outcome(python(script), b'{"event": 1}\n') == (['{"event": 1}', "wrong"], "")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; sys.exit(3)", "it failed with exit status 3"),
        ("import os; os.kill(os.getpid(), 9)", "it failed with signal 9"),
    ],
)
async def test_a_failure_has_the_exit_status_or_the_signal(script, reason):
    assert (await outcome(python(script)))[1] == reason


async def test_a_program_that_does_not_exist_is_a_failure():
    assert (await outcome(["/does/not/exist"]))[
        1
    ] == "it cannot be started: No such file or directory"


async def test_one_that_does_not_read_gets_a_large_input_all_the_same():
    assert await outcome(["/bin/true"], b"x" * (4 << 20)) == ([], "")


async def test_one_that_hangs_is_ended_with_its_children():
    began = time.monotonic()
    lines, reason = await outcome(shell(GRANDCHILD + "wait"), seconds=2.0)
    assert reason == "it was ended after 2 s (`timeout`)"
    assert time.monotonic() - began < 60
    await eventually(lambda: not exists(int(lines[0])), "its child to end")


async def test_one_that_ignores_sigterm_is_killed():
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    began = time.monotonic()
    assert "ended after" in (await outcome(python(script), seconds=1.0))[1]
    assert time.monotonic() - began < 60


async def test_what_it_leaves_running_in_its_group_is_ended():
    lines, reason = await outcome(shell(GRANDCHILD))
    assert reason == ""
    await eventually(lambda: not exists(int(lines[0])), "its child to end")


async def test_a_child_that_has_left_the_group_and_keeps_the_output_open_is_not_waited_for():
    began = time.monotonic()
    lines, reason = await outcome(python(LEAVES_THE_GROUP))
    assert reason == ""
    assert time.monotonic() - began < 60
    os.kill(int(lines[0]), 9)


async def test_a_flood_of_output_is_read_and_its_beginning_passed_on():
    script = "for n in range(200_000): print(n, 'x' * 100)\nprint('y' * 10_000_000)"
    lines, reason = await outcome(python(script))
    assert (len(lines), reason) == (LINES, "")


async def test_output_cannot_control_a_terminal_or_forge_a_field():
    script = r"import os; os.write(1, b'\x1b[2J\xff event=sent\r\n')"
    lines, _ = await outcome(python(script))
    assert lines == [r"\x1b[2J\xff event=sent\r"]


async def test_long_lines_are_cut():
    (line,), _ = await outcome(python("print('x' * 100_000)"))
    assert set(line) == {"x"}
    assert len(line) == 1000


def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def descriptors():
    """Return what this process has open; pipes have names that are never used again."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one of `listdir` itself
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found


async def test_descriptors_are_closed_if_no_pipe_can_be_made(monkeypatch):
    before = descriptors()

    def refuse():
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pipe", refuse)
    _, reason = await outcome(["/bin/true"])
    assert reason == "it cannot be started: Too many open files"
    assert descriptors() <= before


async def test_a_program_that_no_thread_can_wait_for_is_ended(monkeypatch):
    before = descriptors()
    started = []

    def refuse(_):
        started.extend(children())
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    _, reason = await outcome(["/bin/sleep", "600"])
    assert "no thread can be started" in reason
    assert started
    assert not set(started) & set(children())
    assert descriptors() <= before
