"""The stamp file of a frontend: replaced after each batch that changed something, and never part of the tree."""

import os
import threading
import time

import pytest

from tests.support.backend import Backend
from tests.support.waiting import wait_for


@pytest.fixture(params=[".replicator/stamp", "deep/er/stamp", "stamp"])
def stamped(request, tmp_path):
    with Backend(tmp_path, tree={"stamp_file": request.param}) as backend:
        (backend.source / "first").write_text("x")
        stamps = [backend.site(host) / request.param for host in backend.hosts]
        wait_for(lambda: all(stamp.exists() for stamp in stamps), backend.explain_status)
        wait_for(backend.quiet, backend.explain_status)
        yield backend, stamps


def read(stamps):
    return [int(stamp.read_text()) for stamp in stamps]


def confirmed(backend):
    return backend.ask(command="wait", timeout=30)[-1]["ok"]


def test_it_is_newer_after_every_change_and_then_the_change_is_there(stamped):
    backend, stamps = stamped
    for number in range(10):
        before = read(stamps)
        change = (
            lambda n: (backend.source / "f").write_text(str(n)),
            lambda n: (backend.source / f"d{n}").mkdir(),
            lambda n: (backend.source / "f").unlink(missing_ok=True),
        )[number % 3]
        change(number)
        assert confirmed(backend)
        assert all(new > old for new, old in zip(read(stamps), before, strict=True))
    before = read(stamps)
    assert confirmed(backend)
    assert read(stamps) == before


def test_a_program_that_waits_for_it_sees_the_change(stamped):
    backend, stamps = stamped
    seen, stop = [], threading.Event()

    def follow():
        last = os.stat(stamps[0]).st_ino, stamps[0].read_text()
        while not stop.is_set():
            now = os.stat(stamps[0]).st_ino, stamps[0].read_text()
            if now != last:
                last = now
                seen.append({path.name for path in backend.site("one").iterdir()})
            time.sleep(0.001)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        for number in range(5):
            (backend.source / f"upload-{number}").write_text("x")
            wait_for(lambda n=number: seen and f"upload-{n}" in seen[-1], backend.explain_status)
    finally:
        stop.set()
        thread.join()


def test_it_is_neither_removed_nor_replicated_nor_verified(stamped):
    backend, stamps = stamped
    written = read(stamps)
    name = stamps[0].relative_to(backend.site("one"))
    (backend.source / name).parent.mkdir(parents=True, exist_ok=True)
    (backend.source / name).write_text("from the source")
    assert confirmed(backend)
    assert all(int(stamp.read_text()) >= old for stamp, old in zip(stamps, written, strict=True))
    backend.connector.kill("one")
    wait_for(lambda: backend.row("one")["logins"] > 1 and backend.quiet(), backend.explain_status)
    reports = backend.ask(command="verify")
    assert [(report["differing"], report["error"]) for report in reports] == [(0, "")] * 2
    assert stamps[0].exists()
