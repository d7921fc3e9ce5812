"""What the backend may not read is reported, delays no other path, is not deleted on the frontends, and arrives once it is readable.

The tests may run as root, to which modes do not apply: so the kernel's refusal comes from a hook on os.open.
"""

import errno
import os

import pytest

from replicator.core import rechecks
from tests.support.backend import Backend
from tests.support.uploader import upload
from tests.support.waiting import wait_for

FILES = 150
"""More than the delete guard lets pass."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(rechecks, "RETRY", 0.2)


@pytest.fixture
def refused(monkeypatch):
    """A dict of names to errnos; while a name is in it, whatever is called so below a root cannot be opened."""
    real, names = os.open, {}

    def guarded(path, flags, *rest, **more):
        if "dir_fd" in more and path in names:
            raise OSError(names[path], os.strerror(names[path]))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", guarded)
    return names


def unreadable(backend):
    return backend.status()["trees"][0]["unreadable"]


def pictures(backend):
    return [len(list((backend.site(host) / "locked").iterdir())) for host in backend.hosts]


def test_an_unreadable_file_is_reported_and_arrives_once_it_is_readable(tmp_path, refused):
    with Backend(tmp_path) as backend:
        (backend.source / "known").write_text("old")
        backend.wait_until_equal()
        refused |= {b"known": errno.EACCES, b"new": errno.EACCES}
        (backend.source / "known").write_text("changed")
        (backend.source / "new").write_text("new")
        wait_for(lambda: unreadable(backend) == ["known", "new"], backend.status)
        assert upload(backend, "other") < 10
        for host in backend.hosts:
            wait_for(lambda h=host: backend.row(h)["dirty"] == 2, backend.status)
            assert "Permission denied" in backend.row(host)["last_error"]
            assert (backend.site(host) / "known").read_text() == "old"
            assert not (backend.site(host) / "new").exists()
        refused.clear()
        backend.wait_until_equal()
        assert unreadable(backend) == []
        assert [backend.row(host)["logins"] for host in backend.hosts] == [1, 1]
        assert backend.row("one")["last_error"] == ""


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_below_a_directory_that_cannot_be_listed_nothing_is_deleted_and_the_rest_flows(
    tmp_path, refused, error
):
    locked = tmp_path / "source" / "locked"
    locked.mkdir(parents=True)
    for number in range(FILES):
        (locked / f"{number}.jpg").write_text(f"picture {number}")
    (tmp_path / "source" / "goes").write_text("x")
    with Backend(tmp_path, tree={"delete_guard": 1}) as backend:
        backend.wait_until_equal()
    (tmp_path / "source" / "goes").unlink()
    refused[b"locked"] = error
    # A walk of everything, and a comparison with each frontend.
    with Backend(tmp_path, tree={"delete_guard": 1}) as backend:
        wait_for(lambda: unreadable(backend) == ["locked"], backend.status)
        wait_for(
            lambda: not any((backend.site(h) / "goes").exists() for h in backend.hosts),
            "a delete elsewhere",
        )
        assert upload(backend, "other") < 10
        (locked / "1.jpg").write_text("changed meanwhile")
        (locked / "2.jpg").unlink()
        backend.ask(command="verify", repair=True)
        assert upload(backend, "another") < 10
        assert pictures(backend) == [FILES, FILES]
        assert backend.status()["trees"][0]["state"] == "watching"
        refused.clear()
        backend.wait_until_equal()
        assert pictures(backend) == [FILES - 1, FILES - 1]
        assert unreadable(backend) == []
