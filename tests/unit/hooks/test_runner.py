"""One hook: what the log and the status report about it."""

import asyncio
import time

import pytest

from replicator.core.hook_queue import DeliveredPaths, LatestStates
from replicator.hooks.runner import Runner
from tests.support.waiting import eventually

SECRET = "https://chat.example.com/hooks/s3cret"


def runner(*command):
    made = Runner("frontend-lost", command, LatestStates(), batch=0.0, seconds=30.0)
    made.queue.add("one", {"event": "frontend-lost"})
    return made


def test_arguments_may_be_secrets_and_are_not_in_the_status():
    row = runner("/bin/true", SECRET).describe()
    assert row["command"] == ["/bin/true"]
    assert SECRET not in str(row)


async def ran(hook):
    task = asyncio.ensure_future(hook.follow())
    hook.wake()
    await eventually(lambda: hook.describe()["last_at"] is not None, hook.describe)
    task.cancel()
    return hook.describe()


@pytest.mark.parametrize(
    ("script", "status", "error"),
    [
        ("exit 0", 0, ""),
        ("exit 4", 4, "it failed with exit status 4"),
        ("kill -9 $$", -9, "it failed with signal 9"),
        ("sleep 60", None, "it was ended after 0.1 s (`timeout`)"),
    ],
)
async def test_the_status_has_how_and_when_the_last_run_ended(script, status, error):
    hook = runner("/bin/sh", "-c", script)
    hook.seconds = 0.1 if script.startswith("sleep") else 30.0
    assert (hook.describe()["last_at"], hook.describe()["last_status"]) == (None, None)
    row = await ran(hook)
    assert abs(row["last_at"] - time.time()) < 60
    assert (row["last_status"], row["last_error"]) == (status, error)
    assert (row["runs"], row["failures"], row["running_seconds"]) == (1, int(bool(error)), None)
    assert row["last_seconds"] > 0


async def test_what_happens_during_a_run_waits_for_a_batch_of_its_own():
    """Otherwise a burst of uploads starts one process after the other, each for the few paths that came during the last one."""
    hook = Runner("delivered", ["/bin/sleep", "0.05"], DeliveredPaths("delivered"), batch=0.3, seconds=30.0)  # fmt: skip
    loop = asyncio.get_running_loop()
    task = loop.create_task(hook.follow())
    began = loop.time()
    count = 0
    while loop.time() - began < 1.0 or not hook.runs:
        count += 1
        hook.queue.add(b"/src", b"%d" % count, b"", time.time(), is_delete=False)
        hook.wake()
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert hook.runs <= (loop.time() - began) / 0.3, f"{hook.runs} runs for {count} paths"


async def test_every_frontend_that_waits_gets_its_run_in_one_batch():
    hook = runner("/bin/true")
    hook.queue.add("two", {"event": "frontend-lost"})
    task = asyncio.ensure_future(hook.follow())
    hook.wake()
    await eventually(lambda: hook.runs == 2, hook.describe)
    assert not hook.queue
    task.cancel()


async def test_a_program_that_cannot_be_started_has_no_exit_status():
    row = await ran(runner("/nonexistent/program"))
    assert row["last_status"] is None
    assert "cannot be started" in row["last_error"]


async def test_the_first_run_has_no_duration_before_it_has_ended():
    hook = runner("/bin/sleep", "60")
    task = asyncio.ensure_future(hook.follow())
    hook.wake()
    await eventually(lambda: hook.describe()["running_seconds"] is not None, hook.describe)
    row = hook.describe()
    assert (row["runs"], row["last_at"], row["last_seconds"]) == (1, None, None)
    task.cancel()
    await asyncio.wait([task])
