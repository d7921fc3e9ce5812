"""A second process for the files of a restore: Python runs one thread of a process at a time, and a frontend has several processors.

It is forked from the agent once the manifest was read and its directories exist, so it has the same sandbox, write lease and rows.
Both processes take tasks from the same sequence. The second one asks the agent for URLs, reports what it has done, and ends when the
agent closes its end of a pipe, as the kernel does if the agent is killed.

The forked process has none of the agent's other threads, and a copy of every lock in the state that it had. So no other restore may be
in progress, whose threads could be inside OpenSSL or the resolver; what a process caches together with a thread must be dropped
(`agent.hashing`); and everything that the threads of the agent use with a lock is made anew (`Workers`), or is not used.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import astuple
from functools import partial
from queue import SimpleQueue
from typing import Any, Callable, Iterator, Optional

from replicator.agent.restore.fetch import FetchFailed
from replicator.agent.restore.live_changes import LiveChanges
from replicator.agent.restore.packs import Task
from replicator.agent.restore.shared_lock import SharedLock
from replicator.agent.restore.tally import Tally
from replicator.agent.restore.workers import Workers

REPORT = 0.2
"""Seconds between two reports of the second process."""

GRACE = 3.0
"""Seconds after which the second process ends in any case, once the agent has closed its end of the pipe; less than `Restores` waits."""

Urls = Callable[[int, bool], str]
"""Returns the URL of a pack; called with its index, and whether the last URL was refused. Raises FetchFailed."""


class Claims:
    """Divides a sequence between this process and those forked from it: each task is taken once.

    Args:
        lock: shared with those processes.

    Raises:
        OSError: no memory.
    """

    def __init__(self, lock: SharedLock) -> None:
        self._lock = lock
        self._next = mmap.mmap(-1, 8)  # memory that forked processes share

    def of(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """Yield the tasks that no other process has taken."""
        return (task for number, task in enumerate(tasks) if self._take(number))

    def _take(self, number: int) -> bool:
        with self._lock:
            if number < int.from_bytes(self._next[:], "little"):
                return False
            self._next[:] = (number + 1).to_bytes(8, "little")
            return True


class SecondProcess:
    """The second process, as the agent sees it.

    Args:
        work: what it does; called there.
        may_fork: called with the lock of `live` held; False: it cannot be started.
        live: live changes, which it follows.
        urls: called in a thread of its own for each URL that it asks for.
        ended: called with a reason, and whether a newer agent has taken over, when an error has ended its work.

    Attributes:
        tally: what it has done so far.
        received: bytes of objects so far.

    Raises:
        OSError, RuntimeError: it cannot be started.
    """

    def __init__(
        self,
        work: Callable[[AgentLink], None],
        may_fork: Callable[[], bool],
        live: LiveChanges,
        urls: Urls,
        ended: Callable[[str, bool], None],
    ) -> None:
        self.tally = Tally()
        self.received = 0
        self._urls = urls
        self._ended = ended
        self._has_ended = False
        self._pid = 0
        self._stopping = threading.Lock()
        self._requests: SimpleQueue[Optional[tuple[int, bool]]] = SimpleQueue()
        self._listener = threading.Thread(target=self._listen, name="second process", daemon=True)
        self._answerer = threading.Thread(target=self._answer_all, name="its URLs", daemon=True)
        self._channel, theirs = socket.socketpair()
        watched, self._lifeline = os.pipe()
        try:
            self._pid = self._fork(lambda: work(AgentLink(theirs, watched)), may_fork, live)
        except BaseException:
            self._close()
            raise
        finally:
            theirs.close()
            os.close(watched)
        try:
            self._listener.start()
            self._answerer.start()
        except BaseException:
            os.kill(self._pid, signal.SIGKILL)
            self._close()
            raise

    def stop(self) -> None:
        """Have it end soon."""
        with self._stopping:
            if self._lifeline >= 0:
                os.close(self._lifeline)
            self._lifeline = -1

    def join(self) -> None:
        """Wait until it has ended."""
        self._listener.join()
        self._close()
        if not self._has_ended:
            self._ended("the second process has ended early", False)  # noqa: FBT003  # a callback

    def _fork(
        self, work: Callable[[], None], may_fork: Callable[[], bool], live: LiveChanges
    ) -> int:
        with live.lock:  # see `SharedLock.share`
            if not may_fork():
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            live.lock.share()
            live.share()
            pid = os.fork()
        if pid:
            return pid
        try:
            self._channel.close()
            self.stop()  # the copy of the agent's end
            live.follow()
            work()
        finally:
            os._exit(0)

    def _close(self) -> None:
        """Close both connections, and wait until the process, if there is one, has ended."""
        self.stop()
        self._requests.put(None)
        self._channel.close()
        if self._pid:
            with suppress(ChildProcessError):  # the agent was started with SIGCHLD ignored
                os.waitpid(self._pid, 0)

    def _listen(self) -> None:
        """Receive its requests and reports, until its end of the socket is closed."""
        with self._channel.makefile("rb") as lines, suppress(OSError, ValueError):
            for line in lines:
                self._receive(json.loads(line))

    def _receive(self, message: dict[str, Any]) -> None:
        if "url" in message:
            pack, fresh = message["url"]
            self._requests.put((pack, fresh))
        elif "done" in message:
            self.tally, self.received = Tally(*message["done"]), message["received"]
        elif message["ended"]:
            self._has_ended = True
            self._ended(message["ended"], message["fenced"])
        else:
            self._has_ended = True

    def _answer_all(self) -> None:
        """Answer its requests, apart from `_listen`: an error must be heard also while the backend sends no URL."""
        with suppress(OSError):
            while (request := self._requests.get()) is not None:
                _send(self._channel, self._answer(*request))

    def _answer(self, pack: int, fresh: bool) -> dict[str, str]:  # noqa: FBT001  # as it was sent
        try:
            return {"url": self._urls(pack, fresh)}
        except FetchFailed as error:
            return {"error" if self._lifeline >= 0 else "stopped": str(error)}


class AgentLink:
    """The connections of the second process to the agent.

    Args:
        channel: the socket to it.
        watched: descriptor of a pipe whose other end the agent closes to stop this process.
    """

    def __init__(self, channel: socket.socket, watched: int) -> None:
        self._channel = channel
        self._watched = watched
        self._answers = channel.makefile("rb")
        self._asking = threading.Lock()
        self._sending = threading.Lock()

    def work(self, workers: Workers, tasks: Iterator[Task], *, was_empty: bool) -> None:
        """Create the files of tasks, and report; return when everything is done, or an error or the agent has ended it."""
        workers.on_stop = lambda: self._report_end(workers)  # so that the agent stops, too
        for each in (self._end_with_agent, self._report_regularly):
            threading.Thread(target=each, args=(workers,), daemon=True).start()
        with workers.ending():
            workers.run(tasks, partial(self._url, workers), was_empty=was_empty)
        workers.close()
        self._report(workers)
        self._report_end(workers)

    def _url(self, workers: Workers, pack: int, fresh: bool) -> str:  # noqa: FBT001  # a callback
        with self._asking:
            with self._sending, suppress(OSError):
                _send(self._channel, {"url": [pack, fresh]})
            line = self._answers.readline()
        answer: dict[str, str] = json.loads(line) if line else {"stopped": "the agent has ended"}
        if "stopped" in answer:
            workers.stop(answer["stopped"])  # or the pack would count as one that cannot be read
        if "url" not in answer:
            raise FetchFailed(answer.get("error", "the restore was stopped"))
        return answer["url"]

    def _end_with_agent(self, workers: Workers) -> None:
        os.read(self._watched, 1)  # returns once the agent has closed its end
        # In a thread, because it may have to wait.
        threading.Thread(
            target=workers.stop, args=("the restore was stopped",), daemon=True
        ).start()
        time.sleep(GRACE)
        os._exit(1)

    def _report_regularly(self, workers: Workers) -> None:
        while True:
            time.sleep(REPORT)
            self._report(workers)

    def _report(self, workers: Workers) -> None:
        with self._sending, suppress(OSError):  # counted inside: a later report never has less
            done = astuple(workers.tally)
            _send(self._channel, {"done": done, "received": workers.received})

    def _report_end(self, workers: Workers) -> None:
        with self._sending, suppress(OSError):
            _send(self._channel, {"ended": workers.ended, "fenced": workers.fenced is not None})


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")
