"""A second process for the files of a restore: Python runs one thread of a process at a time, and a frontend has several processors.

It is forked from the agent once the manifest was read and its directories exist, so it has the same sandbox, write lease and rows.
Both processes take tasks from the same sequence. The second one asks the agent for URLs, reports what it has done, and ends when the
agent closes its end of their socket, as the kernel does if the agent is killed.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import astuple
from typing import Any, Callable, Iterator, Optional

from replicator.agent.restore.fetch import FetchFailed
from replicator.agent.restore.live_changes import LiveChanges
from replicator.agent.restore.packs import Task
from replicator.agent.restore.shared_lock import SharedLock
from replicator.agent.restore.tally import Tally
from replicator.agent.restore.workers import Workers

REPORT = 0.2
"""Seconds between two reports of the second process."""

END = 5.0
"""Seconds after which the second process ends in any case, once the agent has closed its end of the socket."""

Urls = Callable[[int, bool], str]
"""Returns the URL of a pack; called with its index, and whether the last URL was refused. Raises FetchFailed."""


class Claims:
    """Divides a sequence between this process and those forked from it: each task is taken once.

    Args:
        lock: shared with those processes.
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
        live: live changes, which it follows.
        urls: called in a thread of its own for each URL that it asks for.
        ended: called with a reason, and whether a newer agent has taken over, if an error has ended its work.

    Attributes:
        tally: what it has done so far.
        received: bytes of objects so far.

    Raises:
        OSError: it cannot be started here.
    """

    def __init__(
        self,
        work: Callable[[Agent], None],
        live: LiveChanges,
        urls: Urls,
        ended: Callable[[str, bool], None],
    ) -> None:
        self.tally = Tally()
        self.received = 0
        self._urls = urls
        self._ended = ended
        self._end: Optional[tuple[str, bool]] = None
        self._stopping = threading.Lock()
        self._channel, theirs = socket.socketpair()
        waiting, self._alive = os.pipe()
        try:
            self._pid = self._fork(lambda: work(Agent(theirs, waiting)), live)
        except BaseException:
            self._channel.close()
            self.stop()
            raise
        finally:
            theirs.close()
            os.close(waiting)
        self._thread = threading.Thread(target=self._listen, name="second process", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Have it end soon."""
        with self._stopping:
            if self._alive >= 0:
                os.close(self._alive)
            self._alive = -1

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()
        os.waitpid(self._pid, 0)
        self._channel.close()
        self.stop()
        reason, fenced = self._end or ("the second process has ended early", False)
        if reason:
            self._ended(reason, fenced)

    def _fork(self, work: Callable[[], None], live: LiveChanges) -> int:
        with live.lock:  # so that no thread which the copy lacks is inside it
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

    def _listen(self) -> None:
        """Answer its requests and receive its reports, until its end of the socket is closed."""
        with self._channel.makefile("rb") as lines, suppress(OSError):
            for line in lines:
                self._hear(json.loads(line))

    def _hear(self, said: dict[str, Any]) -> None:
        if "url" in said:
            _send(self._channel, self._answer(*said["url"]))
        elif "done" in said:
            self.tally, self.received = Tally(*said["done"]), said["received"]
        else:
            self._end = said["end"], said["fenced"]

    def _answer(self, pack: int, fresh: bool) -> dict[str, str]:  # noqa: FBT001  # as it was sent
        try:
            return {"url": self._urls(pack, fresh)}
        except FetchFailed as error:
            return {"error": str(error)}


class Agent:
    """The agent, as the second process sees it.

    Args:
        channel: the socket to it.
        alive: descriptor of a pipe that the agent closes to stop this process.
    """

    def __init__(self, channel: socket.socket, alive: int) -> None:
        self._channel = channel
        self._alive = alive
        self._answers = channel.makefile("rb")
        self._asking = threading.Lock()
        self._sending = threading.Lock()

    def serve(self, workers: Workers, tasks: Iterator[Task], *, was_empty: bool) -> None:
        """Create the files of tasks, and report; return when everything is done, or the agent has stopped it."""
        for each in (self._end_with_agent, self._report_regularly):
            threading.Thread(target=each, args=(workers,), daemon=True).start()
        with workers.ending():
            workers.run(tasks, self._url, was_empty=was_empty)
        workers.close()
        self._report(workers)
        self._say({"end": workers.ended, "fenced": workers.fenced is not None})

    def _url(self, pack: int, fresh: bool) -> str:  # noqa: FBT001  # a callback
        with self._asking:
            self._say({"url": [pack, fresh]})
            line = self._answers.readline()
        answer: dict[str, str] = json.loads(line) if line else {"error": "the agent has ended"}
        if "error" in answer:
            raise FetchFailed(answer["error"])
        return answer["url"]

    def _end_with_agent(self, workers: Workers) -> None:
        os.read(self._alive, 1)  # returns once the agent has closed its end
        workers.stop("the restore was stopped")
        time.sleep(END)
        os._exit(1)

    def _report_regularly(self, workers: Workers) -> None:
        while True:
            time.sleep(REPORT)
            self._report(workers)

    def _report(self, workers: Workers) -> None:
        self._say({"done": astuple(workers.tally), "received": workers.received})

    def _say(self, message: dict[str, Any]) -> None:
        with self._sending, suppress(OSError):
            _send(self._channel, message)


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")
