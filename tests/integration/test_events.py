"""The events of a running backend: what was delivered, and how frontends and trees fare."""

import asyncio
import shutil
from functools import partial

import pytest

from tests.support.backend import Backend
from tests.support.waiting import wait_for


@pytest.fixture
def events():
    return []


@pytest.fixture
def backend(tmp_path, events):
    with Backend(tmp_path) as backend:
        backend.soon(backend.app.events.subscribe, events.append)
        watching = backend.call(_start(backend))
        backend.wait_until_equal()
        yield backend
        backend.soon(watching.cancel)


async def _start(backend):
    return asyncio.get_running_loop().create_task(backend.app.requests.history.run())


def names(events, **fields):
    return [e.name for e in events if all(getattr(e, k) == v for k, v in fields.items())]


def delivered(events):
    return [event.path for event in events if event.name == "delivered"]


def test_a_delivered_path_is_on_every_frontend(backend, events):
    for number in range(50):
        name = f"f{number}"
        (backend.source / name).write_text(name)
        is_delivered = partial(lambda path: path in delivered(events), name.encode())
        wait_for(is_delivered, backend.status, pause=0.001)
        assert [(backend.site(host) / name).read_text() for host in backend.hosts] == [name] * 2
    (backend.source / "f0").unlink()
    wait_for(lambda: [e for e in events if e.path == b"f0" and e.is_delete], backend.status)
    assert not any((backend.site(host) / "f0").exists() for host in backend.hosts)


def test_a_renamed_directory_is_delivered_with_its_new_name(backend, events):
    (backend.source / "old").mkdir()
    (backend.source / "old" / "f").write_text("f")
    backend.wait_until_equal()
    (backend.source / "old").rename(backend.source / "new")
    wait_for(lambda: [e for e in events if (e.path, e.target) == (b"old", b"new")], backend.status)
    assert (backend.site("two") / "new" / "f").exists()


def test_frontends_that_come_and_go(backend, events):
    wait_for(lambda: names(events, frontend="two") == ["frontend-live"], lambda: events)
    backend.connector.refused.add("two")
    backend.connector.kill("two")
    wait_for(lambda: names(events, frontend="two")[1:] == ["frontend-lost"], lambda: events)
    (backend.source / "while-away").write_text("x")
    wait_for(lambda: b"while-away" in delivered(events), lambda: events)
    backend.connector.refused.clear()
    wait_for(lambda: names(events, frontend="two")[2:] == ["frontend-live"], lambda: events)


def test_a_source_that_is_gone_and_returns(backend, events, tmp_path):
    root = bytes(backend.source)
    backend.source.rename(tmp_path / "elsewhere")
    wait_for(lambda: names(events, tree=root) == ["tree-halted"], lambda: events)
    (tmp_path / "elsewhere").rename(backend.source)
    wait_for(lambda: names(events, tree=root) == ["tree-halted", "tree-resumed"], lambda: events)


def test_held_deletions(backend, events):
    (backend.source / "d").mkdir()
    for number in range(300):
        (backend.source / "d" / str(number)).write_text("x")
    backend.wait_until_equal()
    shutil.rmtree(backend.source / "d")
    wait_for(lambda: "deletions-held" in names(events), lambda: events, 30)
    assert backend.ask(command="resume")
    wait_for(lambda: "tree-resumed" in names(events), lambda: events)
