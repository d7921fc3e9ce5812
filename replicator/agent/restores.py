"""The restores of one connection, as the main loop sees them.

Their threads do the work (see the package `restore`); the main loop starts and ends them, passes requests for URLs and reports to
the backend, and keeps them from creating names while it applies changes.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Iterator, Optional

from replicator.agent.store import Store
from replicator.wire import messages
from replicator.wire.messages import Batch, Data, NeedUrls, Restored

if TYPE_CHECKING:
    from replicator.agent.restore.job import Job
    from replicator.agent.restore.shared_lock import SharedLock

REPORT = 1.0
"""Seconds between two reports of a restore."""

STALLED = 120.0
"""Seconds in which nothing was fetched or created after which a restore is given up; what waits for the store ends earlier by itself."""

UNANSWERED = 8.0
"""The same, as long as the store has never answered: its name may not be resolved for a minute, and nothing comes over SSH meanwhile.
Connecting takes at most 4 s, and the first answer 4 s."""

_JOIN = 5.0  # seconds that a restore may take to end


class Restores:
    """The restores in progress, by the number of the tree.

    Args:
        session: a name for this agent, unique on the host.
        hosts: the only hosts that may be contacted; None: any.

    Attributes:
        wakened: descriptor that becomes readable when `work` has something to do.
    """

    def __init__(self, session: bytes, hosts: Optional[frozenset[str]] = None) -> None:
        self._session = session
        self._hosts = hosts
        self._lock: Optional[SharedLock] = None
        self._jobs: dict[int, Job] = {}
        self._started: list[Job] = []  # also those that were given up and may still run
        self._progress: dict[int, tuple[object, float]] = {}
        self._count = 0
        self._reported = 0.0
        self.wakened, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        os.set_blocking(self.wakened, False)

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def begin(self, request: messages.Restore, store: Store, *, durable: bool) -> None:
        """Begin to restore a tree, instead of one of it that is in progress.

        Raises:
            OSError, RuntimeError, ImportError: no descriptor or thread can be had, or this Python lacks a module.
        """
        # Imported at the first restore: with ssl and http.client it takes 40 ms and 5 MB.
        from replicator.agent.restore.job import Job
        from replicator.agent.restore.live_changes import LiveChanges
        from replicator.agent.restore.shared_lock import SharedLock

        if self._lock is None:
            self._lock = SharedLock()
        self.cancel(request.tree, "another restore begins")
        self._count += 1
        job = Job(
            request,
            store,
            session=b"%s-r%d" % (self._session, self._count),
            live=LiveChanges(self._lock),
            wake=self._wake,
            durable=durable,
            hosts=self._hosts,
        )
        with self._lock:  # no other job forks meanwhile
            job.start(partial(self._may_fork, job))
            self._started = [one for one in self._started if not one.is_finished] + [job]
        self._jobs[request.tree] = job
        self._progress[request.tree] = (job.advance, time.monotonic())

    def receive(self, urls: messages.Urls) -> None:
        """Receive URLs; those that were not requested are ignored, because their restore may have ended."""
        if job := self._jobs.get(urls.tree):
            job.urls.receive(urls.urls)

    @contextmanager
    def pausing(self, message: messages.Message) -> Iterator[None]:
        """Create no names while the changes in a message are applied, and note them."""
        if self._lock is None or not self._jobs or not isinstance(message, (Batch, Data)):
            yield
            return
        with self._lock:
            if isinstance(message, Batch):
                for change in message.changes:
                    if job := self._jobs.get(change.tree):
                        job.live.note(change)
            yield

    def work(self) -> list[messages.Message]:
        """Return what has to be sent; the tree of a Restored with `end` is not restored any more.

        Raises:
            Fenced: a newer agent has taken over.
        """
        with suppress(BlockingIOError):
            os.read(self.wakened, 1 << 16)
        said: list[messages.Message] = []
        now = time.monotonic()
        due = now - self._reported >= REPORT
        for tree, job in list(self._jobs.items()):
            if wanted := job.urls.wanted():
                said.append(NeedUrls(tree, tuple(wanted)))
            if not (due or job.is_finished):
                continue
            report = job.report()
            if report.end:
                del self._jobs[tree], self._progress[tree]
                if job.fenced is not None:
                    raise job.fenced
            said.append(self._checked(tree, report, job, now))
        if due:
            self._reported = now
        return said

    def _checked(self, tree: int, report: Restored, job: Job, now: float) -> Restored:
        """Return a report; end a restore that has stalled."""
        if report.end:
            return report
        before, since = self._progress[tree]
        advance = job.advance
        if advance != before:
            self._progress[tree] = (advance, now)
        elif now - since > (UNANSWERED if job.is_unanswered else STALLED):
            reason = "the store does not answer" if job.is_unanswered else "there is no progress"
            job.stop(reason)
            job.live.close()
            del self._jobs[tree], self._progress[tree]
            return report._replace(end=True, error=reason)
        return report

    def cancel(self, tree: int, reason: str) -> None:
        """End the restore of a tree, if there is one, without a report."""
        job = self._jobs.pop(tree, None)
        self._progress.pop(tree, None)
        if job is not None:
            job.stop(reason)
            job.join(_JOIN)
            job.live.close()

    def close(self) -> None:
        """End all restores."""
        for job in self._jobs.values():
            job.stop("the connection was lost")
        for job in self._jobs.values():
            job.join(_JOIN)
        self._jobs.clear()
        os.close(self.wakened)
        os.close(self._waking)

    def _may_fork(self, job: Job) -> bool:
        """Return True if a job may start a second process now; called with the lock held.

        The threads of another job may be in OpenSSL or the resolver, whose locks would never be released in the forked process.
        """
        others = [one for one in self._started if one is not job and not one.is_finished]
        return not others and len(os.sched_getaffinity(0)) > 1

    def _wake(self) -> None:
        with suppress(
            OSError
        ):  # the pipe is full, or closed: a thread may end after `close` has stopped waiting for it
            os.write(self._waking, b"\0")
