"""`pause` and `unpause`: nothing is sent meanwhile, nothing is lost, and nothing looks well."""

import pytest

from replicator.core.lifecycle import State
from replicator.errors import ControlError
from replicator.ports import Address, Candidate
from replicator.wire.messages import Batch, ListTree
from tests.support.frontends import at
from tests.support.served import Served
from tests.support.source_state import fake_tree
from tests.support.waiting import eventually, turns

SOURCE = "/source"


class Pausable(Served):
    """A service of which frontends and the tree can be paused, and what it saves."""

    def __init__(self, pool):
        super().__init__(pool)
        self.saved = []
        self.context.paused.save = lambda paused: self.saved.append(paused.copy())

    async def ask(self, command, name=None, **more):
        named = {"name": name, "host": name, "by": "alice"} if name else {}
        return await super().ask(command, **named | more)

    async def join(self, *hosts, live=True):
        self.service.set_members([Candidate(Address(host)) for host in hosts], drop=True)
        for host in hosts if live else ():
            await self.turned(self.replica(host), State.LIVE)

    def replica(self, host):
        return self.service.fleet.find(Address(host))

    async def put(self, path, content=b"content"):
        """Write a file to the source, and wait until it was published."""
        self.source.write(path, content)
        self.pipeline.recheck(path)
        await turns(3)  # `recheck` is for other threads, and takes effect in the next turn
        await eventually(lambda: not self.pipeline.pending, "the check")

    async def arrived(self, host, *paths):
        """Wait until a frontend has these paths and has confirmed them."""

        def has_all():
            confirmed = not any(at(path) in self.replica(host).dirty for path in paths)
            return confirmed and self.disks[host].keys() >= set(paths)

        await eventually(has_all, self.disks[host].keys)

    async def row(self, host):
        status = await self.requests.status()
        return status, next(row for row in status["frontends"] if row["host"] == host)


@pytest.fixture
async def served():
    async with Pausable.running() as made:
        yield made


async def test_a_paused_frontend_gets_nothing_and_afterwards_everything(served):
    await served.join("a", "b")
    await served.put(b"before")
    await served.arrived("a", b"before")
    await served.ask("pause", "a")
    sent = len(served.agent("a").heard)
    await served.put(b"f")
    del served.source.nodes[b"before"]
    served.pipeline.recheck(b"before")
    await eventually(lambda: b"before" not in served.disks["b"], "the deletion")
    await served.arrived("b", b"f")
    assert served.disks["a"].keys() == {b"before"}
    assert len(served.agent("a").heard) == sent
    status, row = await served.row("a")
    assert (status["ok"], row["state"], row["dirty"], row["connected"]) == (
        False,
        "paused",
        2,
        True,
    )
    assert row["paused"] == {"since": row["paused"]["since"], "by": "alice", "until": None}
    assert "by alice: `replicator unpause a`" in row["last_error"]
    await served.ask("unpause", "a")
    await eventually(lambda: served.disks["a"].keys() == {b"f"}, lambda: served.disks["a"])
    await served.turned(served.replica("a"), State.LIVE)
    await eventually(lambda: served.replica("a").converged, "the end")
    status, row = await served.row("a")
    assert (status["ok"], row["state"], row["paused"], row["last_error"]) == (
        True,
        "live",
        None,
        "",
    )
    assert served.agent("a").of(ListTree)[1:] == [], "no comparison was needed"


async def test_of_a_paused_tree_no_frontend_gets_anything(served):
    await served.join("a", "b")
    row = await served.ask("pause", "source")
    assert row["what"] == SOURCE
    await served.put(b"f")
    await turns(20)
    assert served.disks["a"] == served.disks["b"] == {}
    status = await served.requests.status()
    (tree,) = status["trees"]
    assert (status["ok"], tree["state"], tree["paused"]["by"]) == (False, "paused", "alice")
    assert any("`replicator unpause /source`" in problem for problem in tree["problems"])
    assert [row["dirty"] for row in status["frontends"]] == [1, 1]
    await served.ask("unpause", SOURCE, path=SOURCE)
    await served.arrived("a", b"f")
    await served.arrived("b", b"f")


async def test_a_rename_during_a_pause_arrives_afterwards(served):
    await served.put(b"d/f")
    await served.put(b"d/g")
    await served.join("a")
    await served.ask("pause", "a")
    nodes = served.source.nodes
    for path in [path for path in nodes if path == b"d" or path.startswith(b"d/")]:
        nodes[b"e" + path[1:]] = nodes.pop(path)
    for path in (b"d", b"d/f", b"d/g", b"e", b"e/f", b"e/g"):
        served.pipeline.recheck(path)
    await turns(3)  # see `put`
    await eventually(lambda: not served.pipeline.pending, "the checks")
    assert b"d/f" in served.disks["a"]
    await served.ask("unpause", "a")
    await eventually(
        lambda: served.disks["a"].keys() == {b"e", b"e/f", b"e/g"}, served.disks["a"].keys
    )


async def test_a_frontend_that_joins_or_reconnects_while_it_is_paused_is_not_compared(served):
    await served.put(b"f")
    await served.join("a")
    await served.ask("pause", "a")
    served.agent("a").hang_up()
    await eventually(lambda: len(served.agents["a"]) == 2, "the next connection")
    await served.turned(served.replica("a"), State.QUEUED)
    await turns(20)
    assert served.agent("a").of(ListTree) == []
    assert served.context.bootstrap_queue.inside == 0, "it holds no place"
    assert (await served.row("a"))[1]["state"] == "paused"
    with pytest.raises(ControlError, match="by alice"):
        [row async for row in served.requests.bootstrap(Address("a"))]
    await served.join("a", "b", live=False)
    await served.turned(served.replica("b"), State.LIVE)
    assert b"f" in served.disks["b"]
    await served.ask("unpause", "a")
    await served.turned(served.replica("a"), State.LIVE)


async def test_a_frontend_that_joins_while_a_tree_is_paused_does_not_serve(served):
    await served.put(b"f")
    await served.ask("pause", "source")
    await served.join("a", live=False)
    await served.turned(served.replica("a"), State.QUEUED)
    await turns(20)
    replica = served.replica("a")
    assert (served.disks["a"], replica.serves, replica.is_bootstrapped) == ({}, False, False)
    _, row = await served.row("a")
    assert (row["state"], row["paused"]) == ("paused", None)
    assert "/source is paused" in row["last_error"]
    await served.ask("unpause", "source")
    await served.turned(replica, State.LIVE)
    await served.arrived("a", b"f")


async def test_a_comparison_that_is_running_is_ended_and_made_again(served):
    await served.put(b"f")
    served.prepare = lambda agent: agent.mute.add(ListTree)
    await served.join("a", live=False)
    await eventually(lambda: "a" in served.agents and served.agent("a").of(ListTree), "the listing")
    await served.ask("pause", "a")
    await eventually(lambda: not served.context.bootstrap_queue.inside, "the place to be released")
    replica = served.replica("a")
    assert (replica.state, replica.serves) == (State.QUEUED, False)
    served.agent("a").mute.clear()
    await served.ask("unpause", "a")
    await served.turned(replica, State.LIVE)
    await served.arrived("a", b"f")


async def test_wait_names_a_paused_frontend_at_once_if_it_lacks_something(served):
    await served.join("a", "b")
    await served.put(b"f")
    await served.arrived("a", b"f")
    await served.ask("pause", "a")
    assert (await served.wait())["ok"], "it has confirmed everything"
    await served.put(b"g")
    await served.arrived("b", b"g")
    outcome = await served.wait((SOURCE, "g"))
    assert not outcome["ok"]
    assert outcome["seconds"] < 10
    (paused,) = [one for one in outcome["waits_for"] if one["who"] != SOURCE]
    assert paused["who"] == "a"
    assert "by alice" in paused["why"]
    assert (await served.wait(host="b"))["ok"]
    await served.ask("pause", "source")
    outcome = await served.wait()
    assert outcome["waits_for"][0]["who"] == SOURCE
    assert "paused since" in outcome["waits_for"][0]["why"]


async def test_delivered_does_not_wait_for_a_paused_frontend(served):
    events = []
    served.context.events.subscribe(lambda event: events.append((event.name, event.path)))
    await served.join("a", "b")
    await served.ask("pause", "a")
    await served.put(b"f")
    await served.arrived("b", b"f")
    await eventually(lambda: ("delivered", b"f") in events, lambda: events)


async def test_a_repair_is_refused_and_reading_is_not(served):
    await served.put(b"f")
    await served.join("a")
    await served.ask("pause", "a")
    (report,) = [row async for row in served.requests.verify(Address("a"), repair=True)]
    assert "paused since" in report["error"]
    (report,) = [row async for row in served.requests.verify(Address("a"), repair=False)]
    assert (report["error"], report["differing"]) == ("", 0)


async def test_the_pause_is_saved_before_it_is_in_effect_and_refused_if_it_cannot_be_saved(served):
    def fail(_):
        raise OSError(28, "No space left on device")

    await served.join("a")
    works, served.context.paused.save = served.context.paused.save, fail
    with pytest.raises(ControlError, match="nothing is changed: No space left"):
        await served.ask("pause", "a")
    assert not served.replica("a").held
    served.context.paused.save = works
    assert not (await served.ask("pause", "a"))["before"]
    again = await served.ask("pause", "a", by="bob", seconds=60)
    assert (again["before"], again["by"]) == (True, "alice")
    assert len(served.saved) == 2
    assert (await served.ask("unpause", "a"))["before"]
    assert not (await served.ask("unpause", "a"))["before"]
    assert not served.saved[-1]


async def test_a_pause_ends_by_itself(served):
    await served.join("a")
    await served.ask("pause", "a", seconds=0.001)
    await served.put(b"f")
    await served.arrived("a", b"f")
    assert not served.replica("a").held


@pytest.mark.parametrize("seconds", [0, -1, True, "1", float("nan"), 1e12])
async def test_a_duration_that_is_none_is_refused(served, seconds):
    await served.join("a")
    with pytest.raises(ControlError, match="seconds must be"):
        await served.ask("pause", "a", seconds=seconds)


@pytest.mark.parametrize("command", ["pause", "unpause", "resume"])
async def test_an_unknown_name_is_refused_with_the_known_ones(served, command):
    await served.join("a", "b")
    with pytest.raises(ControlError) as caught:
        await served.ask(command, "c")
    assert str(caught.value) == (
        "c: no frontend or tree has this name. Frontends: a, b; trees: /source"
    )
    with pytest.raises(ControlError, match="names neither"):
        await served.ask(command, 3)


@pytest.mark.parametrize("command", ["pause", "unpause", "resume"])
async def test_a_name_of_a_frontend_and_a_tree_is_refused_until_it_is_said_which(served, command):
    await served.join("source")
    with pytest.raises(ControlError, match="write the tree as /source, or add --frontend"):
        await served.ask(command, "source")
    await served.ask(command, "source", frontend=True)
    assert served.replica("source").pause is None or command == "pause"
    assert served.tree.pause is None
    await served.ask(command, SOURCE, path=SOURCE, host="")
    assert (served.tree.pause is not None) == (command == "pause")


async def test_a_host_with_several_frontends_must_be_named_with_its_port(served):
    both = [Candidate(Address("a", port=port)) for port in (22, 2222)]
    served.service.set_members(both, drop=True)
    with pytest.raises(ControlError, match="a may be several frontends: a:22, a:2222"):
        await served.ask("pause", "a")
    await served.ask("pause", "a:22", host="a", port=22)
    assert [replica.pause is not None for replica in served.service.fleet] == [True, False]


async def test_a_paused_frontend_that_left_stays_paused_is_shown_and_can_be_unpaused(served):
    await served.join("a", "b")
    await served.ask("pause", "a")
    await served.join("b")
    assert [row["what"] for row in (await served.requests.status())["pauses"]] == ["a"]
    with pytest.raises(ControlError, match="paused since"):
        [row async for row in served.requests.bootstrap(Address("a"))]
    await served.join("a", "b", live=False)
    assert served.replica("a").held
    await served.join("b")
    assert (await served.ask("unpause", "a"))["before"]
    await served.join("a", "b")


async def test_a_tree_that_a_reload_replaces_stays_paused(served):
    await served.join("a")
    await served.ask("pause", "source")
    await served.service.remove_tree(1)
    assert not served.replica("a").held
    assert [row["what"] for row in (await served.requests.status())["pauses"]] == [SOURCE]
    served.service.add_tree(fake_tree(served.source, served.catalog))
    assert served.replica("a").held == {1}


async def test_what_is_in_flight_when_a_pause_begins_is_confirmed(served):
    await served.join("a")
    served.agent("a").mute.add(Batch)
    await served.put(b"f")
    await eventually(lambda: served.agent("a").of(Batch), "the change")
    await served.ask("pause", "a")
    assert len(served.replica("a").dirty) == 1
    agent = served.agent("a")
    agent.mute.clear()
    agent.answer(agent.of(Batch)[-1])
    await eventually(lambda: not served.replica("a").dirty, "the confirmation")
