"""The kernel gives no memory or no threads for a while: nothing ends, and replication continues afterwards."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.engine.ingest import publisher
from replicator.engine.threads import started_pool
from replicator.mounttable import Prober
from replicator.watch.threads import in_daemon_thread
from tests.support.backend import Backend
from tests.support.waiting import turns, wait_for


def no_threads(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")], ids=repr)
def test_a_recorded_but_unpublished_change_arrives_after_memory_ran_out(
    tmp_path, monkeypatch, error
):
    encode = publisher.encode
    failures = []

    def failing(tree, found, **options):
        if any(update.record.path == b"f" for update in found.updates) and not failures:
            failures.append(found)
            raise error
        return encode(tree, found, **options)

    with Backend(tmp_path) as backend:
        (backend.source / "f").write_bytes(b"old")
        backend.wait_until_equal()
        monkeypatch.setattr(publisher, "encode", failing)
        (backend.source / "f").write_bytes(b"new")
        (backend.source / "g").write_bytes(b"g")
        wait_for(lambda: failures, backend.explain)
        backend.wait_until_equal()
        for host in backend.hosts:
            assert (backend.site(host) / "f").read_bytes() == b"new"
            assert backend.row(host)["logins"] == 1


def test_a_daemon_needs_no_new_thread_to_follow_its_tree(tmp_path, monkeypatch):
    with Backend(tmp_path) as backend:
        (backend.source / "f").write_bytes(b"old")
        backend.wait_until_equal()
        with monkeypatch.context() as patched:
            no_threads(patched)
            (backend.source / "f").write_bytes(b"new")
            (backend.source / "d").mkdir()
            (backend.source / "d" / "large").write_bytes(bytes(20 << 20))
            backend.wait_until_equal()


def test_a_mount_is_asked_again_when_no_thread_could_be_started(tmp_path, monkeypatch):
    prober = Prober()
    point = os.fsencode(tmp_path)
    with monkeypatch.context() as patched:
        no_threads(patched)
        with pytest.raises(RuntimeError):
            prober.ask(point)
    prober.ask(point)
    assert prober.answered(point, 30.0)


async def test_a_thread_is_used_again(monkeypatch):
    first = await in_daemon_thread(threading.get_ident)
    while True:
        with monkeypatch.context() as patched:
            no_threads(patched)
            try:
                assert await in_daemon_thread(threading.get_ident)
            except RuntimeError:  # the thread has not come back yet
                await turns()
            else:
                break
    assert first


def test_a_pool_that_is_started_runs_a_call_or_refuses_it(monkeypatch):
    pool: ThreadPoolExecutor = started_pool(3, "some")
    with monkeypatch.context() as patched:
        no_threads(patched)
        calls = [pool.submit(threading.get_ident) for _ in range(20)]
        assert all(call.result(30) for call in calls)
    pool.shutdown()
