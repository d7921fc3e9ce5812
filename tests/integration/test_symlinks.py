"""`tree.symlinks`: what is not replicated is neither sent nor left from before; and what a pinned agent does not make."""

import os

import pytest

from replicator.wire import changes
from replicator.wire.changes import MakeDirectory, MakeSymlink, Move
from replicator.wire.messages import Batch
from tests.support.backend import Backend
from tests.support.looking import below
from tests.support.pinned import Agent
from tests.support.waiting import wait_for

LINKS = {"in": "f", "d/e/up": "../../f", "out": "/etc/passwd", "d/out": "../../config.php"}


def fill(source):
    (source / "d/e").mkdir(parents=True)
    (source / "f").write_text("content")
    for path, link in LINKS.items():
        (source / path).symlink_to(link)


def links_at(site):
    return {str(p.relative_to(site)) for p in below(site) if p.is_symlink()}


@pytest.mark.parametrize(("policy", "kept"), [("inside", {"in", "d/e/up"}), ("none", set())])
def test_what_is_not_admitted_is_not_sent_and_goes_from_where_it_was_before(
    tmp_path, policy, kept, capsys
):
    with Backend(tmp_path) as backend:
        fill(backend.source)
        backend.wait_until_equal()
        assert links_at(backend.site("one")) == set(LINKS)
    with Backend(tmp_path, tree={"symlinks": policy}) as backend:
        wait_for(lambda: backend.quiet() and links_at(backend.site("one")) == kept, backend.explain)
        (backend.source / "new").symlink_to("../x")
        (backend.source / "later").write_text("later")
        (backend.source / "f").unlink()
        (backend.source / "f").symlink_to("/etc/shadow")
        site = backend.site("two")
        wait_for(
            lambda: (site / "later").exists() and not os.path.lexists(site / "f"), backend.explain
        )
        assert links_at(site) == kept
        wait_for(lambda: backend.status()["ok"], backend.explain)
    output = capsys.readouterr().out
    for path in ("out", "d/out", "new"):
        assert f"path={path} " in output


def test_a_rename_does_not_carry_a_symlink_to_where_it_leads_out(tmp_path):
    with Backend(tmp_path, tree={"symlinks": "inside"}) as backend:
        fill(backend.source)
        (backend.source / "d/e/g").write_text("g")
        wait_for((backend.site("one") / "d/e/up").is_symlink, backend.explain)
        (backend.source / "d/e").rename(backend.source / "e")
        site = backend.site("one")
        wait_for(
            lambda: (site / "e/g").exists() and not (site / "d/e").exists() and backend.quiet(),
            backend.explain,
        )
        assert links_at(site) == {"in"}


def test_a_pinned_agent_makes_only_what_it_may(tmp_path):
    (tmp_path / "site/d").mkdir(parents=True)
    with Agent(tmp_path, arguments=["--symlinks", "inside"]) as agent:
        agent.open()
        batch = [
            MakeSymlink(1, 1, b"d/in", 5, b"../f"),
            MakeSymlink(2, 1, b"out", 5, b"../f"),
            MakeSymlink(3, 1, b"abs", 5, b"/etc/passwd"),
            Move(4, 1, b"d/in", b"in"),
            MakeDirectory(5, 1, b"e", 0o755, 5),
            Move(6, 1, b"d/in", b"e/in"),
        ]
        agent.send(Batch(tuple(batch)))
        refused = changes.PATH_REFUSED
        assert agent.answers(*range(1, 7)) == {
            1: "",
            2: refused,
            3: refused,
            4: refused,
            5: "",
            6: "",
        }
    assert links_at(tmp_path / "site") == {"e/in"}
