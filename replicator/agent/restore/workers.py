"""The threads of one process of a restore, which create files from packs."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import Callable, Iterator, NamedTuple, Optional

from replicator.agent.fencing import Fenced
from replicator.agent.refusals import Refused, shortened_detail
from replicator.agent.restore.additions import Additions
from replicator.agent.restore.fetch import Connection, FetchFailed
from replicator.agent.restore.live_changes import LiveChanges
from replicator.agent.restore.packs import PackReader, Task
from replicator.agent.restore.tally import Enough, Tally
from replicator.agent.store import Store
from replicator.errors import ReplicatorError

THREADS = 4
"""Connections of one process to the store, each in a thread. One to S3 delivers 50 to 100 MB/s. Only one of them writes files at a time: two wait for
each other in the interpreter at every system call, and need 2.4 to 2.8 s for 20,000 files of 20 KB instead of 2.1 to 2.2."""

IN_VAIN = 4
"""Parts of packs in a row that cannot be read, or are damaged, after which a restore ends."""


class Lane(NamedTuple):
    """What one thread has for itself."""

    store: Additions
    connection: Connection
    tally: Tally


class Workers:
    """Threads that create files.

    Args:
        store: the open tree.
        session: a name for the temporaries, unique on the host.
        live: what live changes change meanwhile.
        hosts: the only hosts that may be contacted; None: any.

    Attributes:
        own: a lane for the manifest and the names, which is not used by `run`.
        answered: set once the store has answered; until then it is given up early.
        on_stop: called by `stop`, in any thread.
        fenced: a newer agent has taken over, so that this one must end; None if not.
        stopped: set once nothing more is to be done.
        ended: why `stop` was called; empty if it was not.
    """

    def __init__(
        self, store: Store, session: bytes, live: LiveChanges, hosts: Optional[frozenset[str]]
    ) -> None:
        self.answered = threading.Event()
        self.stopped = threading.Event()
        self.fenced: Optional[Fenced] = None
        self.ended = ""
        self.on_stop: Callable[[], None] = lambda: None
        self._live = live
        self._in_vain = 0
        self._turn = threading.Lock()
        self._next = threading.Lock()
        self._lanes = [
            Lane(
                Additions(store, b"%s-%d" % (session, number), live),
                Connection(self.stopped, self.answered, hosts, self._turn if number else None),
                Tally(),
            )
            for number in range(THREADS + 1)
        ]
        for lane in self._lanes:
            lane.store.check_heard = self.check
        self.own = self._lanes[0]

    @property
    def tally(self) -> Tally:
        """What all threads have done so far."""
        return Tally.of([lane.tally for lane in self._lanes])

    @property
    def received(self) -> int:
        """Bytes of objects so far."""
        return sum(lane.connection.received for lane in self._lanes)

    def check(self) -> None:
        """Raise Enough once the restore was stopped; called before each file, and for each MiB of a large one."""
        if self.stopped.is_set():
            raise Enough("the restore was stopped")
        if self._live.overflowed:
            raise Enough("too many live changes")

    def stop(self, reason: str) -> None:
        """Have all threads end; the first reason is kept."""
        self.ended = self.ended or shortened_detail(reason)
        self.stopped.set()
        for lane in self._lanes:
            lane.connection.interrupt()
        self.on_stop()

    @contextmanager
    def ending(self) -> Iterator[None]:
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

    def run(
        self, tasks: Iterator[Task], url: Callable[[int, bool], str], *, was_empty: bool
    ) -> None:
        """Work on tasks until there are none, or the restore was stopped.

        Args:
            tasks: yields tasks; used by one thread at a time.
            url: called with a pack's index and whether the last URL was refused.
            was_empty: the target was empty.

        Raises:
            RuntimeError: not a single thread can be started.
        """
        threads = [
            threading.Thread(target=self._work, args=(lane, tasks, url, was_empty), daemon=True)
            for lane in self._lanes[1:]
        ]
        started = []
        try:
            for thread in threads:
                thread.start()
                started.append(thread)
        except RuntimeError:
            if not started:
                raise
        finally:
            for thread in started:
                thread.join()

    def settle(self) -> None:
        """Restore times and modes of directories that were widened."""
        for lane in self._lanes:
            lane.store.settle()

    def close(self) -> None:
        """Settle, and close all descriptors and connections."""
        with self.ending():
            for lane in self._lanes:
                lane.store.close()
        for lane in self._lanes:
            lane.connection.close()

    def _work(self, lane: Lane, tasks: Iterator[Task], url: Callable[[int, bool], str], was_empty: bool) -> None:  # noqa: FBT001  # of a thread  # fmt: skip
        reader = PackReader(lane.store, lane.connection, url, lane.tally, self.check)
        with self.ending():
            while task := self._take(tasks):
                with self._turn:
                    self._judge(reader.restore(task, was_empty=was_empty))

    def _take(self, tasks: Iterator[Task]) -> Optional[Task]:
        with self._next:
            return None if self.stopped.is_set() else next(tasks, None)

    def _judge(self, good: bool) -> None:  # noqa: FBT001
        """Count packs that cannot be used. Raises Enough after some in a row."""
        self._in_vain = 0 if good else self._in_vain + 1
        if self._in_vain >= IN_VAIN:
            raise Enough("the store fails again and again")
