"""tree.owner is changed: what is on the frontends already gets the new owner as well."""

import os

import pytest

from replicator.config import parse
from tests.support.backend import Backend
from tests.support.looking import statuses
from tests.support.tools import missing
from tests.support.waiting import wait_for

FIRST, SECOND = (33, 33), (34, 35)

ENTRIES = 7
"""What `fill` makes."""


@pytest.fixture(autouse=True)
def _is_root():
    if os.geteuid() != 0:
        missing("root, who can give files away")


def text(owner):
    return "{}:{}".format(*owner)


def fill(source):
    (source / "d" / "e").mkdir(parents=True)
    (source / "d" / "f").write_text("f")
    os.link(source / "d" / "f", source / "d" / "hard")
    (source / "d" / "link").symlink_to("f")
    (source / "large").write_bytes(os.urandom(6 << 20))
    (source / "closed").touch(0o400)


def owners(backend):
    found = statuses(backend.site("one")).values()
    return [(status.st_uid, status.st_gid) for status in found]


def has_owner(backend, owner):
    wait_for(
        lambda: owners(backend) == [owner] * ENTRIES and backend.quiet(), backend.explain_status
    )
    assert backend.differences() == {}


def test_after_a_restart(tmp_path):
    for owner in (FIRST, SECOND):
        with Backend(tmp_path, hosts=("one",), tree={"owner": text(owner)}) as backend:
            if owner is FIRST:
                fill(backend.source)
            backend.wait_until_equal()
            has_owner(backend, owner)


def test_after_a_reload(tmp_path):
    with Backend(tmp_path, hosts=("one",), tree={"owner": text(FIRST)}) as backend:
        fill(backend.source)
        backend.wait_until_equal()
        has_owner(backend, FIRST)
        sent = backend.row("one")["bytes_sent"]
        tree = {"source": str(backend.source), "target": "/site", "owner": text(SECOND)}
        state = {"directory": str(tmp_path / "state")}
        changed = parse({"tree": [tree], "state": state}, base=tmp_path)
        backend.call(backend.app.set_trees(changed))
        has_owner(backend, SECOND)
        assert backend.row("one")["bytes_sent"] < sent + (1 << 20)  # without the content
