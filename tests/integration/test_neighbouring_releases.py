"""Neighbouring releases work together: a backend and a pinned agent are never upgraded at the same moment."""

import json
import os
import random
import subprocess
import sys

import pytest

from replicator.agent import boot
from replicator.model import FILE, SYMLINK, Entry, Listed, Unlisted
from replicator.wire import changes, messages
from tests.support.backend import Backend
from tests.support.pinned import Agent
from tests.support.releases import MixedFleet, source_of
from tests.support.waiting import wait_for

DIGEST = b"d" * 32
OLD_DECODERS = """
import json, sys
from importlib.machinery import ModuleSpec
exec(sys.stdin.readline().encode().decode("unicode_escape"))
from replicator.wire import messages
for line in sys.stdin:
    print(type(messages.decode(json.loads(line))).__name__)
"""


def test_a_frontend_with_the_agent_of_the_last_release_is_served_like_the_others(tmp_path):
    with Backend(tmp_path, ["old", "new"], MixedFleet(tmp_path)) as backend:
        large = backend.source / "large"
        large.write_bytes(random.Random(1).randbytes(9 << 20))
        (backend.source / "d").mkdir()
        (backend.source / "d/link").symlink_to("../large")
        backend.wait_until_equal()
        with large.open("r+b") as file:
            file.seek(1 << 20)
            file.write(b"in the middle")
        (backend.source / "d").rename(backend.source / "e")
        (backend.source / "d2").mkdir()
        (backend.source / "e/link").unlink()
        os.chmod(large, 0o600)
        backend.wait_until_equal()
        for host in ("old", "new"):
            assert backend.row(host)["last_error"] == ""
            assert backend.row(host)["bytes_saved"] > 8 << 20


def test_a_ready_file_names_the_boot_where_the_agent_knows_it(tmp_path):
    settings = {"ready_file": ".replicator/ready"}
    with Backend(tmp_path, ["old", "new"], MixedFleet(tmp_path), tree=settings) as backend:
        for host in ("old", "new"):
            ready = backend.site(host) / ".replicator/ready"
            wait_for(ready.exists, "the ready file")
            assert ready.read_text().splitlines()[0] == f"replicator: {host} holds everything"
            assert (f"boot: {boot.current()}\n" in ready.read_text()) == (host == "new")


@pytest.mark.parametrize("content", ["replicator: one holds everything\n", None])
def test_a_ready_file_of_this_boot_stays_through_a_restart_also_of_the_last_release(
    tmp_path, content
):
    settings = {"ready_file": "ready"}
    with Backend(tmp_path, ["one"], tree=settings) as backend:
        ready = backend.site("one") / "ready"
        wait_for(ready.exists, "the ready file")
        written = ready.read_text()
    if content:
        ready.write_text(content)  # as the last release wrote it
    removed = []
    with Backend(tmp_path, ["one"], tree=settings) as backend:
        while not backend.row("one")["ready"] or backend.row("one")["state"] != "live":
            removed += [] if ready.exists() else ["missing"]
        assert not removed
        assert ready.read_text() == written


def test_a_ready_file_of_another_boot_goes_before_the_tree_is_opened(tmp_path):
    ready = tmp_path / "root/site/ready"
    ready.parent.mkdir(parents=True)
    for content, stays in ((f"boot: {boot.current()}\n", True), ("boot: 9\n", False)):
        ready.write_text(content)
        with Agent(tmp_path / "root") as agent:
            assert agent.open(ready=b"ready").error == ""
            assert ready.exists() == stays


def test_a_feature_that_an_old_agent_lacks_is_reported_and_the_rest_is_replicated(tmp_path):
    with Backend(
        tmp_path, ["old", "new"], MixedFleet(tmp_path), tree={"durable": "batch"}
    ) as backend:
        (backend.source / "f").write_text("content")
        wait_for(lambda: not backend.differences(), backend.explain)
        wait_for(lambda: "tree.durable" in backend.row("old")["last_error"], backend.explain)
        assert backend.row("new")["last_error"] == ""


def test_a_stamp_file_that_an_old_agent_cannot_write_is_reported(tmp_path):
    settings = {"stamp_file": ".replicator/stamp"}
    with Backend(tmp_path, ["old", "new"], MixedFleet(tmp_path), tree=settings) as backend:
        (backend.source / "f").write_text("content")
        wait_for((backend.site("new") / ".replicator/stamp").exists, "the stamp file")
        wait_for(lambda: "tree.stamp_file" in backend.row("old")["last_error"], backend.explain)
        assert backend.row("new")["last_error"] == ""
        assert not (backend.site("old") / ".replicator").exists()


def test_the_last_release_decodes_all_messages_of_this_one():
    """What is new travels in fields that an older peer passes over."""
    line = Listed(b"f", Entry(FILE, 0o644, 5, 7, b"", DIGEST), 0, 0)
    link = Listed(b"l", Entry(SYMLINK, 0, 0, 7, b"f"), 0, 0)
    sent = [
        messages.Hello(messages.VERSION, messages.FEATURES, "about", "boot-id"),
        messages.OpenTree(
            1, b"/site", "a:b", False, True, b".replicator/ready", stamp=b".replicator/stamp"
        ),
        messages.Opened(1, 0, 0),
        messages.Batch((changes.PutFile(1, 1, b"f", 0o644, 0, 0, DIGEST),)),
        messages.BeginFile(changes.PutFile(1, 1, b"f", 0o644, 0, 0, DIGEST), True),
        messages.Data(1, [[0, 5]], True),
        messages.ListTree(1, 1, b"", True, 4),
        messages.More(1, 1),
        messages.Listing(1, (line, link), (Unlisted(b"d", "no"),), True),
        messages.Acks((1,), ((2, changes.DENIED, "no"),), 9),
    ]
    modules, _, _ = source_of().partition("\nJAIL")
    importer = source_of().partition("import linecache")[2].partition("try:\n")[0]
    prelude = f"{modules}\nimport linecache{importer}"
    lines = [prelude.encode("unicode_escape").decode()]
    lines += [json.dumps(message.header()) for message in sent]
    done = subprocess.run(
        [sys.executable, "-I", "-c", OLD_DECODERS],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [type(message).__name__ for message in sent], done.stderr


def test_a_feature_is_added_and_never_taken_away():
    """The last release refuses an agent that lacks one of these."""
    assert set(messages.FEATURES) >= {"delta", "digest", "move"} == set(messages.REQUIRED)
    assert messages.VERSION == 1
