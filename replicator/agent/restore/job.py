"""Restore a tree from its base in an object store: what the target lacks, in several threads, while the main loop goes on.

The manifest says which files the tree had, and where their contents are; its digest came over SSH. Only names that do not exist are
created. Whatever fails is left out: the comparison that follows finds it, and the backend sends it over SSH.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Callable, Iterable, Iterator, Optional, cast

from replicator.agent.durable import sync
from replicator.agent.fencing import Fenced
from replicator.agent.restore.fetch import BUFFER, FetchFailed, Part
from replicator.agent.restore.live_changes import LiveChanges
from replicator.agent.restore.names import Names, count
from replicator.agent.restore.packs import Task
from replicator.agent.restore.second_process import AgentLink, Claims, SecondProcess
from replicator.agent.restore.tally import Enough, Tally
from replicator.agent.restore.urls import UrlBook
from replicator.agent.restore.workers import Workers
from replicator.agent.store import Store
from replicator.wire import manifest
from replicator.wire.manifest import Block, Named, Pack, Placed
from replicator.wire.restoring import DECLINED, MANIFEST, Restore, Restored

MANY = 4
"""Packs above which a second process is started. It takes 5 ms to start, and a pack of 16 MiB with files of 20 KB 50 ms."""

MAX_MANIFEST = 128 << 20
"""Bytes of a manifest, which is kept in memory: about 3 million files."""


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
        self.is_finished = False
        self._request = request
        self._session = session
        self._hosts = hosts
        self._wake = wake
        self._durable = durable
        self._may_fork: Callable[[], bool] = lambda: False
        self._contacts = False
        self._workers = self._new_workers(session)
        self._workers.on_stop = self._stop_waiting
        self._second: Optional[SecondProcess] = None
        self._thread = threading.Thread(target=self._run, name="restore", daemon=True)

    @property
    def fenced(self) -> Optional[Fenced]:
        """A newer agent has taken over, so that this one must end; None if not."""
        return self._workers.fenced

    def start(self, may_fork: Callable[[], bool]) -> None:
        """Begin.

        Args:
            may_fork: called with the lock of `live` held, if there is much to do; if it returns True, a second process is started.

        Raises:
            RuntimeError: no thread can be started.
        """
        self._may_fork = may_fork
        self._thread.start()

    def stop(self, reason: str) -> None:
        """Have all threads end; `reason` is reported unless something has failed."""
        self._workers.stop(reason)

    def join(self, seconds: float) -> None:
        """Wait until all threads have ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def report(self) -> Restored:
        """Return what was done so far."""
        done = self._tally()
        return Restored(
            self._request.tree,
            done.files,
            done.content,
            done.skipped,
            done.failed,
            done.error or self._workers.ended,
            self.is_finished,
        )

    @property
    def is_unanswered(self) -> bool:
        """True while the store has not answered the first request."""
        return self._contacts and not self._workers.answered.is_set()

    @property
    def advance(self) -> tuple[object, ...]:
        """A value that changes whenever the restore advances, also within a large file or the manifest."""
        received = 0 if self._second is None else self._second.received
        return self.report(), self._contacts, self._workers.received, received

    def _tally(self) -> Tally:
        second = [] if self._second is None else [self._second.tally]
        return Tally.of([self._workers.tally, *second])

    def _stop_waiting(self) -> None:
        """End what the threads may wait for, once they were stopped."""
        if self._second is not None:
            self._second.stop()  # first: what it waits for ends with `urls`, and must not look like an error
        self.urls.stop()

    def _new_workers(self, session: bytes) -> Workers:
        return Workers(self.store, session, self.live, self._hosts)

    def _run(self) -> None:
        with self._workers.ending():
            self._restore()
        self._workers.close()
        self.is_finished = True
        self._wake()

    def _restore(self) -> None:
        own = self._workers.own
        held = count(own.store.tree, self._request.most)
        if held > self._request.most:
            raise Enough(DECLINED)
        self._contacts = True
        pieces = self._fetch_manifest()
        names = Names(own.store, own.tally)
        try:
            self._fill(manifest.decode(pieces), names, was_empty=not held)
        finally:
            self._workers.settle()  # before `finish`: it restores times that other threads may have changed
            names.finish(_named(pieces))
        if self._durable:
            sync(own.store.tree.root_fd)

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
        with Part(self._workers.own.connection, url, 0, left, left) as part:
            while left:
                self._workers.check()
                pieces.append(bytes(part.take(min(left, BUFFER))))
                digest.update(pieces[-1])
                left -= len(pieces[-1])
        if digest.digest() != self._request.manifest:
            raise FetchFailed("the manifest is damaged: it has another digest")
        return pieces

    def _fill(self, blocks: Iterator[Block], names: Names, *, was_empty: bool) -> None:
        """Create what the manifest names."""
        packs, first = self._add_names(blocks, names)
        self.urls.packs = len(packs)
        tasks = _tasks(packs, chain(first, blocks))
        if len(packs) <= MANY:
            self._workers.run(tasks, self._url, was_empty=was_empty)
            return
        claims = Claims(self.live.lock)

        def work(link: AgentLink) -> None:
            workers = self._new_workers(self._session + b"s")
            workers.answered.set()  # by the manifest
            link.work(workers, claims.of(tasks), was_empty=was_empty)

        try:
            with suppress(OSError, RuntimeError):  # without it, this process creates everything
                self._second = SecondProcess(work, self._may_fork, self.live, self._url, self._second_ended)  # fmt: skip
            self._workers.run(claims.of(tasks), self._url, was_empty=was_empty)
        finally:
            self._end_second()

    def _add_names(self, blocks: Iterator[Block], names: Names) -> tuple[list[Pack], list[Block]]:
        """Create directories, symlinks and empty files; return the packs, and the first block of files."""
        packs: list[Pack] = []
        for block in blocks:
            self._workers.check()
            if not isinstance(block, list) or isinstance(block[0], Placed):
                return packs, [block]
            if isinstance(block[0], Pack):
                packs += block
            else:
                names.add(block)
        return packs, []

    def _end_second(self) -> None:
        """Wait for the second process, if there is one."""
        if self._second is not None:
            if self._workers.stopped.is_set():  # perhaps before there was a second process
                self._second.stop()
            self._second.join()
        self.live.unshare()

    def _second_ended(self, reason: str, fenced: bool) -> None:  # noqa: FBT001  # a callback
        if fenced:
            self._workers.fenced = Fenced(reason)
        self.stop(reason)


def _tasks(packs: list[Pack], blocks: Iterable[Block]) -> Iterator[Task]:
    """Yield a task for each block of files."""
    for block in blocks:
        if isinstance(block, list):
            rows = cast("list[Placed]", block)
            yield Task(rows[0].pack, packs[rows[0].pack], rows)


def _named(pieces: list[bytes]) -> Iterator[Named]:
    """Yield the rows without content."""
    for block in manifest.decode(pieces):
        if isinstance(block, list) and isinstance(block[0], Named):
            yield from block
        elif isinstance(block, list) and isinstance(block[0], Placed):
            return
