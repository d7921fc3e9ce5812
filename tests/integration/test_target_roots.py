"""A target is a directory, not a name: the owner of its parent on a frontend must not redirect a privileged agent."""

import os

import pytest

from replicator.wire.changes import ROOT_GONE
from replicator.wire.messages import Batch
from tests.support.backend import Backend, LocalFleet
from tests.support.child_agent import LocalConnector
from tests.support.pinned import HELLO, Agent, make_outside, picture, put
from tests.support.tools import missing
from tests.support.waiting import wait_for

OTHER_USER = 12345


class StreamedFleet(LocalFleet):
    """Agents that are bound to no directory, as streamed ones are. They all see the same world, and serve the same target."""

    async def connect(self, address, identity=""):
        channel = await LocalConnector().connect(address)
        self.channels[address.host] = channel
        return channel


@pytest.fixture
def world(tmp_path):
    """The parent of a target, and a directory that its owner has no right to write to."""
    (tmp_path / "www").mkdir()
    make_outside(tmp_path / "secret")
    return tmp_path


def backend(directory, trees=(), **tree):
    site = directory / "www/site"
    trees = trees or [{"source": str(directory / "source"), "target": str(site), **tree}]
    made = Backend(directory, ["one"], StreamedFleet(directory), trees=trees)
    made.site = lambda _host: site
    return made


def give_to_other_user(path):
    if os.geteuid() != 0:
        missing("root, who can give a directory to somebody else")
    os.chown(path, OTHER_USER, OTHER_USER)


def test_the_owner_of_a_targets_parent_cannot_redirect_the_agent(world):
    give_to_other_user(world / "www")
    site = world / "www/site"
    before = picture(world / "secret")
    with backend(world, owner=f"{OTHER_USER}:{OTHER_USER}") as running:
        (running.source / "first").write_text("first")
        running.wait_until_equal()
        site.rename(world / "www/aside")
        site.symlink_to(world / "secret")
        (running.source / "second").write_text("second")
        wait_for(
            lambda: "is not followed" in running.row("one")["last_error"],
            lambda: running.row("one"),
        )
        problem = running.row("one")["last_error"]
        assert f"{world}/www belongs to user {OTHER_USER}" in problem
        assert f"chown root {world}/www" in problem
        assert picture(world / "secret") == before
        site.unlink()
        (world / "www/aside").rename(site)
        running.wait_until_equal()
    assert picture(world / "secret") == before


def holds(running, name):
    wait_for((running.site("one") / name).exists, running.explain_status)


def test_a_target_that_another_user_replaced_is_not_used_before_resume(
    world,
):
    """It may hold what its owner could not change himself, such as a directory of root."""
    give_to_other_user(world / "www")
    site = world / "www/site"
    trees = [
        {"source": str(world / "source"), "target": str(site)},
        {"source": str(world / "second"), "target": str(world / "other")},
    ]
    (world / "second").mkdir()
    with backend(world, trees) as running:
        (running.source / "first").write_text("first")
        holds(running, "first")
        wait_for(running.quiet, running.explain_status)
    site.rename(world / "www/aside")
    site.mkdir()
    (site / "of-root").mkdir()
    with backend(world, trees) as running:
        is_refused(running, world / "www", site)
        (world / "second/file").write_text("the other tree is served")
        wait_for((world / "other/file").exists, running.explain_status)
        running.connector.kill("one")  # nor by the next connection
        wait_for(lambda: running.row("one")["logins"] >= 2, running.explain_status)
        is_refused(running, world / "www", site)
        assert [row["what"] for row in running.ask(command="resume")] == ["one"]
        holds(running, "first")
        wait_for(lambda: not (site / "of-root").exists(), running.explain_status)
        site.rename(world / "www/resumed")
        (world / "www/aside").rename(site)
        is_refused(running, world / "www", site)  # what was confirmed was that one directory
    with backend(world, trees) as running:
        is_refused(running, world / "www", site)
        site.rename(world / "www/aside")
        (world / "www/resumed").rename(site)
        (running.source / "last").write_text("last")
        holds(running, "last")


def is_refused(running, parent, site):
    def is_reported():
        problem = running.row("one")["last_error"]
        return "another directory than before" in problem and f"chown root {parent}" in problem

    before = picture(site)
    wait_for(is_reported, running.explain_status)
    assert picture(site) == before


def test_another_directory_where_only_root_reaches_is_used(world):
    for directory in ("site", "next"):
        (world / "www" / directory).mkdir()
    with backend(world) as running:
        (running.source / "first").write_text("first")
        running.wait_until_equal()
    (world / "www/site").rename(world / "www/aside")
    (world / "www/next").rename(world / "www/site")
    with backend(world) as running:
        running.wait_until_equal()


def test_a_symlink_that_only_root_can_switch_is_followed_to_where_it_points_now(world):
    for release in "12":
        (world / "www" / release).mkdir()
    site = world / "www/site"
    site.symlink_to("1")
    with backend(world) as running:
        (running.source / "file").write_text("content")
        running.wait_until_equal()
        (world / "www/new").symlink_to("2")
        os.replace(world / "www/new", site)
        (running.source / "another").write_text("content")
        running.wait_until_equal()
    assert {path.name for path in (world / "www/2").iterdir()} == {"file", "another"}
    assert [path.name for path in (world / "www/1").iterdir()] == ["file"]


def test_a_pinned_root_that_is_swapped_takes_nothing_more_and_is_not_followed(world):
    give_to_other_user(world / "www")
    root = world / "www/root"
    root.mkdir()
    before = picture(world / "secret")
    with Agent(root) as agent:
        assert agent.open().error == ""
        root.rename(world / "www/aside")
        root.symlink_to(world / "secret")
        agent.send(Batch((put(b"f"),)), HELLO)
        assert agent.answers(1) == {1: ROOT_GONE}
        agent.send(Batch((put(b"f", 2),)), HELLO)
        assert agent.answers(2) == {2: ROOT_GONE}
    with pytest.raises(AssertionError, match="is not followed"):
        Agent(root)
    assert picture(world / "secret") == before


def test_another_directory_in_the_place_of_a_target_ends_the_connection_when_it_is_opened_anew(
    world,
):
    (world / "www/site").mkdir()
    with Agent(world / "www") as agent:
        assert agent.open().error == ""
        (world / "www/site").rename(world / "www/aside")
        (world / "www/site").mkdir()
        assert agent.open() is None
        assert "another directory" in agent.end()[1]


def test_a_pinned_root_behind_a_symlink_that_root_switches_is_the_new_directory_for_the_next_agent(
    world,
):
    for release in "12":
        (world / "www" / release).mkdir()
    root = world / "www/current"
    root.symlink_to("1")
    with Agent(root) as agent:
        assert agent.open(os.fsencode(root / "site")).error == ""
        root.unlink()
        root.symlink_to("2")
        agent.send(Batch((put(b"f"),)), HELLO)
        assert agent.answers(1) == {1: ROOT_GONE}
    with Agent(root) as agent:
        assert agent.open(os.fsencode(world / "www/2/site")).error == ""
        agent.send(Batch((put(b"f"),)), HELLO)
        assert agent.answers(1) == {1: ""}
    assert (world / "www/2/site/f").read_bytes() == HELLO
    assert list((world / "www/1/site").iterdir()) == []
