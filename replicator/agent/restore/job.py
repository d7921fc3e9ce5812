"""Restore a tree from its base in an object store: what the target lacks, in several threads, while the main loop goes on.

The manifest says which files the tree had, and where their contents are; its digest came over SSH. Only names that do not exist are
created. Whatever fails is left out: the comparison that follows finds it, and the backend sends it over SSH.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from contextlib import contextmanager
from functools import partial
from typing import Callable, Iterator, Optional, cast

from replicator.agent.durable import sync
from replicator.agent.fencing import Fenced
from replicator.agent.refusals import Refused, shortened_detail
from replicator.agent.restore.additions import Additions
from replicator.agent.restore.fetch import BUFFER, Connection, FetchFailed, Part
from replicator.agent.restore.live_changes import LiveChanges
from replicator.agent.restore.names import Names, count
from replicator.agent.restore.packs import PackReader, Task
from replicator.agent.restore.tally import Enough, Tally
from replicator.agent.restore.urls import UrlBook
from replicator.agent.store import Store
from replicator.errors import ReplicatorError
from replicator.wire import manifest
from replicator.wire.manifest import Named, Pack, Placed
from replicator.wire.restoring import DECLINED, MANIFEST, Restore, Restored

THREADS = 4
"""Connections to the store, each in a thread. One to S3 delivers 50 to 100 MB/s. Only one of them writes files at a time: two wait for
each other in the interpreter at every system call, and need 2.4 to 2.8 s for 20,000 files of 20 KB instead of 2.1 to 2.2."""

MAX_MANIFEST = 128 << 20
"""Bytes of a manifest, which is kept in memory: about 3 million files."""

IN_VAIN = 4
"""Parts of packs in a row that cannot be read, or are damaged, after which a restore ends."""


class Job:
    """A restore in progress.

    Args:
        request: what to restore.
        store: the open tree.
        session: a name for the temporaries, unique on the host.
        live: what live changes change meanwhile.
        wake: called when the main loop has URLs to request, or the restore has ended.
        durable: write everything to the disk before the end.
        hosts: the only hosts that may be contacted; None: any.

    Attributes:
        live: the argument.
        store: the argument.
        urls: the URLs.
        fenced: a newer agent has taken over, so that this one must end; None if not.
        is_finished: nothing more will be done.
    """

    def __init__(
        self,
        request: Restore,
        store: Store,
        *,
        session: bytes,
        live: LiveChanges,
        wake: Callable[[], None],
        durable: bool = False,
        hosts: Optional[frozenset[str]] = None,
    ) -> None:
        self.live = live
        self.store = store
        self.urls = UrlBook(request.url, wake)
        self.fenced: Optional[Fenced] = None
        self.is_finished = False
        self._request = request
        self._wake = wake
        self._durable = durable
        self._stopped = threading.Event()
        self._answered = threading.Event()
        self._contacts = False
        self._in_vain = 0
        self._ended = ""
        self._tallies = [Tally() for _ in range(THREADS + 1)]
        self._turn = threading.Lock()
        self._connections = [
            Connection(self._stopped, self._answered, hosts, self._turn if number else None)
            for number, _ in enumerate(self._tallies)
        ]
        self._stores = [
            Additions(store, b"%s-%d" % (session, number), live)
            for number, _ in enumerate(self._tallies)
        ]
        for each in self._stores:
            each.check_heard = self._check
        self._thread = threading.Thread(target=self._run, name="restore", daemon=True)

    def start(self) -> None:
        """Begin. Raises RuntimeError if no thread can be started."""
        self._thread.start()

    def stop(self, reason: str) -> None:
        """Have all threads end; `reason` is reported unless something has failed."""
        self._ended = self._ended or shortened_detail(reason)
        self._stopped.set()
        self.urls.stop()
        for connection in self._connections:
            connection.interrupt()

    def join(self, seconds: float) -> None:
        """Wait until all threads have ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def report(self) -> Restored:
        """Return what was done so far."""
        tallies = self._tallies
        return Restored(
            self._request.tree,
            sum(each.files for each in tallies),
            sum(each.content for each in tallies),
            sum(each.skipped for each in tallies),
            sum(each.failed for each in tallies),
            next((each.error for each in tallies if each.error), self._ended),
            self.is_finished,
        )

    @property
    def is_unanswered(self) -> bool:
        """True while the store has not answered the first request."""
        return self._contacts and not self._answered.is_set()

    @property
    def advance(self) -> tuple[object, ...]:
        """A value that changes whenever the restore advances, also within a large file or the manifest."""
        return (
            self.report(),
            self._contacts,
            sum(connection.received for connection in self._connections),
        )

    def _check(self) -> None:
        """Raise Enough once the restore was stopped; called before each file, and for each MiB of a large one."""
        if self._stopped.is_set():
            raise Enough("the restore was stopped")
        if self.live.overflowed:
            raise Enough("too many live changes")

    def _run(self) -> None:
        with self._ending():
            self._restore()
        with self._ending():
            for store in self._stores:
                store.close()
        for connection in self._connections:
            connection.close()
        self.is_finished = True
        self._wake()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Stop all threads after an error, and record it."""
        try:
            yield
        except Fenced as fenced:
            self.fenced = fenced
            self.stop("a newer agent has taken over")
        except (FetchFailed, Enough, Refused, ReplicatorError) as error:
            self.stop(str(error))
        except OSError as error:
            self.stop(error.strerror or type(error).__name__)
        except Exception as error:  # noqa: BLE001  # a bug: the comparison does the work all the same
            self.stop(f"internal error: {type(error).__name__}")

    def _restore(self) -> None:
        store = self._stores[0]
        held = count(store.tree, self._request.most)
        if held > self._request.most:
            raise Enough(DECLINED)
        self._contacts = True
        pieces = self._fetch_manifest()
        names = Names(store, self._tallies[0])
        try:
            self._fill(pieces, names, was_empty=not held)
        finally:
            for each in self._stores:
                each.settle()  # before `finish`: it restores times that other threads may have changed
            names.finish(_named(pieces))
        if self._durable:
            sync(store.tree.root_fd)

    def _url(self, pack: int, fresh: bool) -> str:  # noqa: FBT001  # a callback
        return self.urls.get(pack, fresh=fresh)

    def _fetch_manifest(self) -> list[bytes]:
        """Return the manifest in pieces, verified. Raises FetchFailed."""
        left = self._request.size
        if not 0 < left <= MAX_MANIFEST:
            raise FetchFailed(f"the manifest has {left} bytes, at most {MAX_MANIFEST} are possible")
        digest = hashlib.sha256()
        pieces: list[bytes] = []
        url = partial(self._url, MANIFEST)
        with Part(self._connections[0], url, 0, left, left) as part:
            while left:
                self._check()
                pieces.append(bytes(part.take(min(left, BUFFER))))
                digest.update(pieces[-1])
                left -= len(pieces[-1])
        if digest.digest() != self._request.manifest:
            raise FetchFailed("the manifest is damaged: it has another digest")
        return pieces

    def _fill(self, pieces: list[bytes], names: Names, *, was_empty: bool) -> None:
        """Create what the manifest names."""
        packs: list[Pack] = []
        tasks: queue.Queue[Optional[Task]] = queue.Queue(THREADS)
        with self._workers(tasks, was_empty=was_empty):
            for block in manifest.decode(pieces):
                self._check()
                if not isinstance(block, list):
                    continue
                first = block[0]
                if isinstance(first, Pack):
                    packs += cast("list[Pack]", block)
                    self.urls.packs = len(packs)
                elif isinstance(first, Named):
                    names.add(cast("list[Named]", block))
                else:
                    rows = cast("list[Placed]", block)
                    tasks.put(Task(first.pack, packs[first.pack], rows))

    @contextmanager
    def _workers(self, tasks: queue.Queue[Optional[Task]], *, was_empty: bool) -> Iterator[None]:
        """Work on tasks in threads, until the context ends and all are done."""
        threads = [
            threading.Thread(target=self._work, args=(number, tasks, was_empty), daemon=True)
            for number in range(1, THREADS + 1)
        ]
        started = []
        try:
            for thread in threads:
                thread.start()
                started.append(thread)
            yield
        finally:
            for _ in started:
                tasks.put(None)
            for thread in started:
                thread.join()

    def _work(self, number: int, tasks: queue.Queue[Optional[Task]], was_empty: bool) -> None:  # noqa: FBT001  # of a thread
        store, connection = self._stores[number], self._connections[number]
        reader = PackReader(store, connection, self._url, self._tallies[number], self._check)
        while (task := tasks.get()) is not None:
            if not self._stopped.is_set():
                with self._ending(), self._turn:
                    self._judge(reader.restore(task, was_empty=was_empty))

    def _judge(self, good: bool) -> None:  # noqa: FBT001
        """Count packs that cannot be used. Raises Enough after some in a row."""
        self._in_vain = 0 if good else self._in_vain + 1
        if self._in_vain >= IN_VAIN:
            raise Enough("the store fails again and again")


def _named(pieces: list[bytes]) -> Iterator[Named]:
    """Yield the rows without content."""
    for block in manifest.decode(pieces):
        if isinstance(block, list) and isinstance(block[0], Named):
            yield from block
        elif isinstance(block, list) and isinstance(block[0], Placed):
            return
