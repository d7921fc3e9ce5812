"""Run a restore in this process, against a store on loopback."""

import os
import stat
import threading

from replicator.agent.restore.job import Job
from replicator.agent.restore.live_changes import LiveChanges
from replicator.agent.restore.shared_lock import SharedLock
from replicator.wire.restoring import Restore
from tests.support.bases import MadeBase
from tests.support.stores import store_at


def base_of(source, http, **more):
    base = MadeBase(source, pack_size=25_000, **more)
    http.objects.update(base.objects)
    return base


class Run:
    """A restore, and the backend that answers its requests for URLs.

    Attributes:
        processes: how many work on it.
        answers: number of URLs of packs that the backend sends.
    """

    processes = 1

    def __init__(self, base, http, target, *, urls=None, most=1_000_000, store=None, hosts=None, **asked):  # fmt: skip
        self.base, self.http = base, http
        self.url = urls or (lambda pack: http.url(base.digest(pack).hex()))
        self.woken = threading.Event()
        self.live = LiveChanges(SharedLock())
        self.store = store or store_at(target)
        fields = {"manifest": base.manifest, "size": base.size, "url": self.url(-1), **asked}
        request = Restore(1, most=most, **fields)
        self.job = Job(
            request, self.store, session=b"r", live=self.live, wake=self.woken.set, hosts=hosts
        )
        self.asked = []
        self.answers = 1_000_000

    def __enter__(self):
        self.start()
        return self

    def start(self):
        self.job.start(lambda: self.processes == 2)

    def __exit__(self, *_):
        self.report = self.end()

    def end(self):
        """Answer requests until the restore has ended; return its report."""
        while not self.job.is_finished:
            assert self.woken.wait(60)
            self.woken.clear()
            wanted = self.job.urls.wanted()
            self.asked += wanted
            answered = wanted[: self.answers]
            self.answers -= len(answered)
            self.job.urls.receive([(pack, self.url(pack)) for pack in answered])
        self.job.join(60)
        self.store.tree.close()
        return self.job.report()


def restore(base, http, target, **more):
    run = Run(base, http, target, **more)
    with run:
        pass
    return run.report


def picture(root):
    """Return type, mode, time and content of everything below a directory."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        link = os.readlink(path) if path.is_symlink() else ""
        mode = 0 if link else status.st_mode
        found[os.fsencode(path.relative_to(root))] = (mode, status.st_mtime_ns, content, link)
    return found


def files_of(root):
    return {name: row for name, row in picture(root).items() if stat.S_ISREG(row[0])}


def temporaries(root):
    return list(root.rglob(".replicator-*"))


def assert_part_of(target, source):
    """Check that every file of a target is one of the source, with the same attributes, and that no temporary is left."""
    assert files_of(target).items() <= files_of(source).items()
    assert not temporaries(target)


class Pausing:
    """A fault that holds the answer to a request back until it is released."""

    def __init__(self):
        self.requested, self.released = threading.Event(), threading.Event()

    def __call__(self, connection, answer):
        self.requested.set()
        assert self.released.wait(60)
        connection.sendall(answer)
        return True
