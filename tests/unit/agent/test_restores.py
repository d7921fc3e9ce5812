"""The main loop of an agent ends a restore that does not advance, and no other."""

import os
import socket
import threading
import time

import pytest

from replicator.agent import restores
from replicator.agent.restore import fetch, job
from replicator.agent.restores import Restores
from replicator.wire.messages import NeedUrls, Restore, Restored, Urls
from tests.support.bases import MadeBase
from tests.support.http_store import HttpStore
from tests.support.restoring import Pausing
from tests.support.stores import store_at
from tests.support.waiting import wait_for

WITHIN = 30


class Agent:
    """The main loop of an agent with one restore, and the backend that answers its requests for URLs."""

    def __init__(self, base, http, target):
        self.base, self.http = base, http
        self.store = store_at(target)
        self.restores = Restores(b"session")
        self.begin(1, self.store)

    def begin(self, tree, store):
        url = self.http.url(self.base.manifest.hex())
        request = Restore(tree, self.base.manifest, self.base.size, url, 1000)
        self.restores.begin(request, store, durable=False)

    def reports(self):
        """Do the work that is due; return the reports."""
        said = self.restores.work()
        for message in said:
            if isinstance(message, NeedUrls):
                urls = [(n, self.http.url(self.base.digest(n).hex())) for n in message.packs]
                self.restores.receive(Urls(message.tree, tuple(urls)))
        return [message for message in said if isinstance(message, Restored)]

    def until(self, condition):
        """Work until a report meets a condition; return it."""
        deadline = time.monotonic() + WITHIN
        while time.monotonic() < deadline:
            for report in self.reports():
                if condition(report):
                    return report
            time.sleep(0.005)
        return pytest.fail("there was no such report")


@pytest.fixture
def http():
    with HttpStore() as http:
        yield http


@pytest.fixture
def base(tmp_path, http):
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(4 * fetch.BUFFER))
    base = MadeBase(source)
    http.objects.update(base.objects)
    return base


@pytest.fixture
def agent(tmp_path, http, base, monkeypatch):
    monkeypatch.setattr(restores, "REPORT", 0.0)
    (tmp_path / "target").mkdir()
    started = []

    def start():
        started.append(Agent(base, http, tmp_path / "target"))
        return started[-1]

    yield start
    for each in started:
        each.restores.close()
        each.store.tree.close()


def test_a_name_server_that_does_not_answer_ends_a_restore_early(agent, monkeypatch):
    monkeypatch.setattr(restores, "UNANSWERED", 0.2)
    go = threading.Event()

    def hangs(*_, **__):
        go.wait(60)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    try:
        report = agent().until(lambda report: report.end)
    finally:
        go.set()
    assert report.error == "the store does not answer"
    assert report.files == 0


def test_a_large_file_that_arrives_slowly_is_progress(agent, base, http, tmp_path, monkeypatch):
    """Each piece of the file arrives within the limit, all of them do not."""
    monkeypatch.setattr(restores, "STALLED", 1.2)  # the last of nine pieces comes after 2 s
    sent = []

    def slow(connection, answer):
        for at in range(0, len(answer), fetch.BUFFER // 2):
            sent.append(at)  # first: the restore may end as soon as the last piece is sent
            connection.sendall(answer[at : at + fetch.BUFFER // 2])
            time.sleep(0.25)  # the time that passes is what is tested
        return True

    http.always[base.packs[0].digest.hex()] = slow
    report = agent().until(lambda report: report.end)
    assert (report.files, report.error) == (1, "")
    assert len(sent) == 9


def test_a_restore_that_does_not_advance_is_ended(agent, base, http, monkeypatch):
    monkeypatch.setattr(restores, "STALLED", 0.2)
    go = threading.Event()

    def holds(connection, _):
        go.wait(60)

    http.always[base.packs[0].digest.hex()] = holds
    try:
        report = agent().until(lambda report: report.end)
    finally:
        go.set()
    assert report.error == "there is no progress"


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_second_process_is_started_only_while_no_other_restore_runs(
    agent, base, http, tmp_path, monkeypatch
):
    """The threads of another restore may hold locks, whose copies would never be released."""
    monkeypatch.setattr(job, "MANY", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    forks, fork = [], os.fork
    monkeypatch.setattr(os, "fork", lambda: forks.append(None) or fork())
    pause = Pausing()
    http.faults[base.packs[0].digest.hex()] = [pause]
    (tmp_path / "second").mkdir()
    store = store_at(tmp_path / "second")
    first = agent()

    def is_requested():
        first.reports()
        return pause.requested.is_set()

    wait_for(is_requested, "the pack")
    before = len(forks)
    first.begin(2, store)
    assert first.until(lambda report: report.tree == 2 and report.end).files == 1
    assert len(forks) == before
    pause.released.set()
    assert first.until(lambda report: report.end).files == 1
    first.begin(2, store)
    first.until(lambda report: report.tree == 2 and report.end)
    assert len(forks) == before + 1
    store.tree.close()
