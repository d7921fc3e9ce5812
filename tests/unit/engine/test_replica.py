"""Replica: a failure ends only the connection, and paths that were dirty before it are dirty after it."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from replicator.core.lifecycle import State
from replicator.core.pace import TokenBucket
from replicator.engine.frontend.sender import Sender
from replicator.wire.messages import Batch, Hello, ListTree
from tests.support.frontends import at
from tests.support.stage import NEVER
from tests.support.waiting import eventually


async def test_a_failure_is_reported_and_retried_after_growing_delays(stage):
    asked = []

    def delay(attempts):
        asked.append((attempts, stage.replica.state, stage.replica.last_error))
        return 0.001 if attempts < 4 else NEVER

    stage.context.retry = SimpleNamespace(delay=delay)
    stage.prepare = lambda agent: setattr(agent, "problem", "No such file or directory")
    stage.start()
    await eventually(lambda: len(asked) == 4, "four attempts")

    assert [attempts for attempts, *_ in asked] == [1, 2, 3, 4]
    assert {state for _, state, _ in asked} == {State.RETRYING}
    assert asked[0][2] == "the target '/site' cannot be used: No such file or directory"
    assert all(agent.closed for agent in stage.agents["a"])

    # A request ends the pause, and a success ends the count.
    stage.prepare = lambda _agent: None
    stage.replica.resync()
    await stage.live()
    assert (stage.replica.attempts, stage.replica.last_error) == (0, "")


async def test_an_agent_without_a_hello_times_out(stage):
    stage.context.connect_timeout = 0.05
    stage.retry(NEVER)
    stage.prepare = lambda agent: agent.mute.add(Hello)
    stage.start()
    await stage.turned(stage.replica, State.RETRYING)

    assert stage.replica.last_error == "the agent did not answer in time"
    assert stage.now.closed


async def test_an_agent_that_hangs_during_a_comparison_times_out(stage):
    stage.context.op_timeout = 0.1
    stage.retry(NEVER)
    stage.prepare = lambda agent: agent.mute.add(ListTree)
    stage.start()
    await eventually(lambda: stage.agents and stage.listings(), "the comparison")
    stage.now.open.clear()  # its channel takes nothing any more
    await stage.turned(stage.replica, State.RETRYING)

    assert "for 0.1 seconds" in stage.replica.last_error


async def test_the_end_of_a_connection_closes_its_sender(stage, monkeypatch):
    closed, close = [], Sender.close
    monkeypatch.setattr(Sender, "close", lambda sender: (closed.append(1), close(sender)))
    stage.retry(NEVER)
    await stage.live()
    assert not closed
    stage.now.refusals[b"f"] = ("root_gone", "")
    stage.replica.offer(stage.write(b"f", b"content"))
    await stage.turned(stage.replica, State.RETRYING)
    assert closed


async def test_a_target_that_was_removed_is_a_failure_with_that_reason(stage):
    stage.retry(NEVER)
    await stage.live()
    stage.now.refusals[b"f"] = ("root_gone", "")
    stage.replica.offer(stage.write(b"f", b"content"))
    await stage.turned(stage.replica, State.RETRYING)

    assert "target directory was removed" in stage.replica.last_error
    assert at(b"f") in stage.replica.dirty


async def test_an_internal_error_ends_the_connection_of_one_frontend_only(stage):
    def scan(*_):
        raise ZeroDivisionError("a bug of ours")

    stage.retry(NEVER)
    stage.catalog.scan, scan = scan, stage.catalog.scan
    stage.start()
    await stage.turned(stage.replica, State.RETRYING)
    assert "internal error: ZeroDivisionError" in stage.replica.last_error
    assert stage.context.bootstrap_queue.inside == 0

    stage.catalog.scan = scan
    stage.replica.resync()
    await stage.live()


async def test_changes_that_were_in_flight_or_missed_are_sent_before_the_comparison(
    stage,
):
    await stage.live()
    stage.now.mute.add(Batch)
    stage.replica.offer(stage.write(b"lost", b"content"))
    await eventually(lambda: stage.now.changes(b"lost"), "the change")
    stage.context.bootstrap_queue.resize(0)
    stage.connector.refused.add("a")
    stage.now.hang_up()
    await stage.turned(stage.replica, State.RETRYING)
    stage.replica.offer(stage.write(b"missed", b"content"))
    stage.connector.refused.clear()
    await stage.turned(stage.replica, State.QUEUED)
    await eventually(lambda: len(stage.disk) == 2, "the pending paths")

    assert stage.disk.keys() == {b"lost", b"missed"}
    assert stage.replica.state is State.QUEUED
    assert stage.listings() == 0


@pytest.mark.parametrize("how", ["a new connection", "bootstrap HOST"])
async def test_a_refused_path_is_tried_at_once_after_a_reconnect_and_on_request(stage, how):
    stage.retry(NEVER)
    await stage.live()
    stage.now.refusals[b"f"] = ("denied", "no")
    stage.replica.offer(stage.write(b"f", b"content"))
    await eventually(stage.replica.dirty.has_refusals, "the refusal")
    stage.now.refusals.clear()
    if how == "a new connection":
        stage.now.hang_up()
        await stage.turned(stage.replica, State.RETRYING)
        stage.replica.resync()
    else:
        stage.replica.resync(front=True)
    await eventually(lambda: stage.replica.converged, "the path")
    assert b"f" in stage.disk


async def test_the_content_of_a_change_that_was_lost_in_flight_is_sent(stage):
    stage.write(b"f", b"old")
    before = stage.catalog.records[b"f"].entry
    await stage.live()
    stage.now.mute.add(Batch)
    stage.source.write(b"f", b"new")  # of the same size, and with the time put back, as cp -p does
    node = stage.source.nodes[b"f"]
    stage.source.nodes[b"f"] = replace(node, time=before.mtime_ns)
    stage.replica.offer(stage.scan(b"f"))
    await eventually(lambda: stage.now.changes(b"f")[1:], "the change")
    stage.now.hang_up()
    await eventually(lambda: len(stage.agents["a"]) == 2, "another connection")
    await eventually(lambda: stage.replica.converged, "the pending paths")

    assert b"new" in stage.now.payloads


async def test_only_a_bootstrap_is_throttled(stage):
    stage.context.bucket = TokenBucket(1000.0)
    stage.write(b"f", bytes(400))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await stage.live()
    assert loop.time() - began > 0.3

    stage.context.bucket = TokenBucket(0.001)
    stage.replica.repair([at(b"f")])
    await eventually(lambda: stage.replica.converged, "the file")


async def test_refusals_are_counted_by_reason_and_comparisons_by_their_duration(stage):
    stage.write(b"f", b"content")
    stage.write(b"g", b"content")
    stage.prepare = lambda agent: agent.refusals.update({b"g": ("denied", "EACCES: g")})
    stage.retry(NEVER)
    await stage.live()
    assert stage.replica.refusals == {"denied": 1}
    bootstraps = stage.context.bootstraps.describe()
    assert bootstraps["count"] == 1
    assert 0 < bootstraps["seconds"] < 60
