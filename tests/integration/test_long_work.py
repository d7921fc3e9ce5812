"""Work of an agent that takes long and sends nothing: the agent counts as alive, ends when nobody waits for it, and delays nobody else."""

import os

import pytest

from replicator.wire import messages
from replicator.wire.changes import Link, PutFile, SetAttributes
from replicator.wire.messages import Acks, Batch, BeginFile, Data
from tests.support.backend import Backend, SlowFleet, slow_disk
from tests.support.pinned import DIGEST, TIME, Agent, strays
from tests.support.waiting import wait_for

SIZE = 16 << 20
SLOW = slow_disk(seconds=0.05, sign=0.1)
"""0.8 s for a file of that size."""

VERY_SLOW = slow_disk(seconds=1.0, sign=0.2)
"""16 s: longer than `Agent.end` waits."""

KINDS = ("hashed", "copied", "given attributes", "patched")


@pytest.fixture
def site(tmp_path):
    made = tmp_path / "root/site"
    made.mkdir(parents=True)
    os.truncate(os.open(made / "large", os.O_CREAT | os.O_WRONLY), SIZE)
    os.utime(made / "large", ns=(TIME, TIME))
    os.chmod(made / "large", 0o644)
    return made


def begin(agent, site, kind):
    """Have an agent do what takes long; its change has the number 1."""
    if kind == "hashed":
        agent.send(Batch((SetAttributes(1, 1, b"large", 0o644, SIZE, TIME, 0, DIGEST),)))
    elif kind == "copied":
        agent.send(Batch((Link(1, 1, b"copy", 0o644, SIZE, TIME, b"large", True),)))
    elif kind == "given attributes":
        os.link(site / "large", site.parent / "another name")
        agent.send(Batch((SetAttributes(1, 1, b"large", 0o600, SIZE, TIME, TIME, b""),)))
    else:
        agent.send(BeginFile(PutFile(1, 1, b"large", 0o644, SIZE, TIME, DIGEST), delta=True))
        agent.send(Data(1, [[0, SIZE]], end=True))


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_sends_keepalives_while_a_file_is(tmp_path, site, kind):
    with Agent(tmp_path / "root", prelude=SLOW) as agent:
        assert agent.open().error == ""
        begin(agent, site, kind)
        assert agent.hear()[:2] == ((), ())
        assert agent.answers(1).keys() == {1}


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_whose_backend_disconnects_ends_while_a_file_is(tmp_path, site, kind):
    with Agent(tmp_path / "root", prelude=VERY_SLOW) as agent:
        agent.open()
        begin(agent, site, kind)
        assert isinstance(agent.hear(), Acks)
        assert agent.end() == (0, "")
    assert sorted(os.listdir(site)) == ["large"]
    assert (site / "large").stat().st_mode & 0o777 == 0o644
    assert strays(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_that_was_replaced_ends_while_a_file_is(tmp_path, site, kind):
    """Where the network is cut, its connection does not end, and the backend has started another agent."""
    with Agent(tmp_path / "root", prelude=VERY_SLOW) as old:
        old.open()
        begin(old, site, kind)
        assert isinstance(old.hear(), Acks)
        with Agent(tmp_path / "root") as new:
            new.open()
            new.send(Batch((SetAttributes(1, 1, b"large", 0o640, SIZE, TIME, TIME, b""),)))
            assert new.answers(1) == {1: ""}
            assert old.process.wait(10) == 1
            assert "a newer agent" in old.process.stderr.read().decode()
    assert sorted(os.listdir(site)) == ["large"]


def test_a_backend_of_the_last_release_gets_no_keepalives(tmp_path, site):
    known = tuple(name for name in messages.FEATURES if name != "alive")
    with Agent(tmp_path / "root", prelude=SLOW, features=known) as agent:
        agent.open()
        begin(agent, site, "copied")
        assert agent.hear().done == (1,)


def test_a_frontend_that_works_for_longer_than_the_time_limit_stays_connected(tmp_path):
    fleet = SlowFleet(tmp_path, seconds=0.15, sign=0.2)
    with Backend(tmp_path, ["one"], fleet, ssh={"op_timeout": 3.0}) as backend:
        large = backend.source / "large"
        large.write_bytes(os.urandom(32 << 20))
        backend.wait_until_equal()
        connected = fleet.channels["one"]
        os.link(large, backend.source / "another name")  # 4.8 s for its copy
        backend.wait_until_equal()
        with large.open("r+b") as file:  # and for the patch of each
            file.write(b"x")
        backend.wait_until_equal()
        assert fleet.channels["one"] is connected
        assert backend.row("one")["last_error"] == ""
        wait_for(lambda: backend.row("one")["bytes_saved"] > 31 << 20, backend.explain_status)


@pytest.mark.parametrize("where", ["source", "second"])
def test_an_upload_does_not_wait_for_all_copies_of_a_file_with_many_names(tmp_path, where):
    """40 copies of 3 MiB take 12 s on such a disk; what is sent behind all of them would come after them."""
    trees = [
        {"source": str(tmp_path / name), "target": f"/{name}"} for name in ("source", "second")
    ]
    names = [f"{number:02}" for number in range(41)]
    outside = tmp_path / "outside"
    for directory in (outside, tmp_path / "second"):
        directory.mkdir()
    (outside / names[0]).write_bytes(os.urandom(3 << 20))
    for name in names[1:]:
        os.link(outside / names[0], outside / name)
    fleet = SlowFleet(tmp_path, seconds=0.1, sign=5.0)
    with Backend(tmp_path, ["one"], fleet, trees=trees) as backend:
        wait_for(backend.quiet, backend.explain_status)
        outside.rename(backend.source / "d")
        site = fleet.root("one") / "source/d"

        def copies():
            return sum((site / name).exists() for name in names)

        wait_for(lambda: copies() > 1, backend.explain_status)
        (tmp_path / where / "small").write_text("content")
        wait_for((fleet.root("one") / where / "small").exists, backend.explain_status)
        assert copies() < len(names)
        wait_for(lambda: copies() == len(names) and backend.quiet(), backend.explain_status)
        content = (backend.source / "d/00").read_bytes()
        assert all((site / name).read_bytes() == content for name in names)
        assert backend.row("one")["bytes_sent"] < 4 * len(content)


def test_a_large_file_does_not_wait_for_a_huge_one_of_another_tree(tmp_path):
    """The huge one takes 25 s on such a disk."""
    trees = [
        {"source": str(tmp_path / name), "target": f"/{name}"} for name in ("source", "second")
    ]
    (tmp_path / "second").mkdir()
    fleet = SlowFleet(tmp_path, seconds=0.1, sign=5.0)
    with Backend(tmp_path, ["one"], fleet, trees=trees) as backend:
        wait_for(backend.quiet, backend.explain_status)
        (backend.source / "huge").write_bytes(os.urandom(128 << 20))
        wait_for(lambda: strays(fleet.root("one")), backend.explain_status)
        (tmp_path / "second/large").write_bytes(os.urandom(6 << 20))
        wait_for((fleet.root("one") / "second/large").exists, backend.explain_status)
        assert not (fleet.root("one") / "source/huge").exists()
        (backend.source / "huge").unlink()  # nobody waits for the rest of it
        wait_for(backend.quiet, backend.explain_status)
