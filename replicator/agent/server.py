"""The agent's main loop: read frames, apply their changes, answer.

One thread with blocking I/O handles the frames in order, so changes are applied in the order in which they were sent. A change
that cannot be applied is refused and the connection goes on; a violation of the wire format ends the agent. Listings and block sums are
produced between frames, and only while no input is waiting.
"""

from __future__ import annotations

import os
import platform
import select
import time
from functools import partial
from typing import Any, Callable, NamedTuple, Optional

from replicator.agent.descriptors import write_all
from replicator.agent.jobs import Jobs
from replicator.agent.policy import Policy
from replicator.agent.refusals import HungUp, shortened_detail
from replicator.agent.restores import REPORT, Restores
from replicator.agent.results import Results
from replicator.agent.transfers import Transfers
from replicator.agent.trees import OpenTrees
from replicator.errors import ProtocolError, ReplicatorError
from replicator.wire import changes, compression, frames, messages
from replicator.wire.changes import Change, PutFile
from replicator.wire.messages import (
    Acks,
    Batch,
    BeginFile,
    Data,
    Descend,
    DigestTree,
    EndRestore,
    Hello,
    ListTree,
    More,
    OpenTree,
    Restore,
    Sources,
    SumBlocks,
    Urls,
)

_READ_SIZE = 1 << 18
"""Bytes read at once. A pipe from sshd holds 64 KiB; more helps only where the pipe or socket holds more."""

SIGN_OF_LIFE = 5.0
"""Seconds without output after which an agent that is busy with one change, or hashes a large file, sends an empty `acks`."""

_HUNG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)
"""Events that poll() reports once the other end of a pipe or socket is closed, even while unread bytes are left."""

IDLE = 10
"""Seconds without input after which the agent checks whether it was replaced: a dead connection may never end by itself."""


class Host(NamedTuple):
    """What the agent has found out about its machine and process before it was restricted.

    Attributes:
        locks: descriptor from `fencing.open_locks`; -1: agents do not fence each other.
        boot: id of the current boot; empty if unknown.
        confinement: the restrictions of this process as text, for `hello`.
    """

    locks: int = -1
    boot: str = ""
    confinement: str = ""


NOWHERE = Host()


class Server:
    """Serves one backend over two descriptors.

    Args:
        source: descriptor to read the backend's frames from.
        sink: descriptor to write frames to.
        session: a name for this agent, unique on the host.
        pin_root: directory that all trees must lie in (pinned mode); None: the backend chooses their directories.
        policy: what the backend may ask for; None: anything.
        host: what is known about the machine.
    """

    def __init__(
        self,
        source: int,
        sink: int,
        *,
        session: bytes,
        pin_root: Optional[bytes] = None,
        policy: Optional[Policy] = None,
        host: Host = NOWHERE,
    ) -> None:
        self._source = source
        self._sink = sink
        self._boot, self._confinement = host.boot, host.confinement
        self._trees = OpenTrees(
            session=session,
            pin_root=pin_root,
            policy=policy,
            locks=host.locks,
            boot=host.boot,
            check_heard=self._check_heard,
        )
        self._results = Results(lambda tree: self._trees[tree].tree.root_fd)
        self._transfers = Transfers(self._results)
        stores = None if policy is None else policy.stores
        self._may_restore = pin_root is None or bool(stores)
        self._restores = Restores(session, stores if pin_root is not None else None)
        self._decoder = frames.Decoder()
        self._jobs = Jobs(self._send, self._say_alive)
        self._arrived = select.poll()  # select() accepts no descriptor above 1,023
        self._arrived.register(source, select.POLLIN | _HUNG_UP)
        self._arrived.register(self._restores.wakened, select.POLLIN)
        self._said_at = self._looked_at = time.monotonic()
        self._says_alive = False
        self._handlers: dict[type, Callable[[Any, bytes], None]] = {
            Hello: self._on_hello,
            OpenTree: self._on_open,
            Sources: self._on_sources,
            Batch: self._on_batch,
            BeginFile: self._on_begin,
            Data: self._on_data,
            ListTree: self._on_list,
            More: self._on_more,
            Restore: self._on_restore,
            EndRestore: self._on_end_restore,
            Urls: self._on_urls,
            DigestTree: self._on_digest,
            Descend: self._on_descend,
            SumBlocks: self._on_sum_blocks,
        }

    def run(self) -> None:
        """Serve until the backend hangs up.

        Raises:
            ProtocolError: the backend broke the wire format.
            Fenced: a newer agent has taken over.
            Shared: an open target shares files with a source.
        """
        try:
            self._send_hello()
            while True:
                self._work_on_jobs()
                arrived = self._arrived.poll((REPORT if self._restores else IDLE) * 1000)
                self._work_on_restores()
                if not arrived:
                    self._trees.look()
                if all(fd != self._source for fd, _ in arrived):
                    continue
                data = os.read(self._source, _READ_SIZE)
                if not data:
                    return
                self._decoder.receive(data)
                for frame in self._decoder.frames():
                    self._handle(frame)
                    del (
                        frame
                    )  # parsed JSON takes up to thirty times its size: keep one frame at a time
        except (HungUp, BrokenPipeError, ConnectionError):
            return
        finally:
            self._transfers.abort()
            self._jobs.drop()
            self._restores.close()
            self._trees.close()

    def _send_hello(self) -> None:
        about = f"python {platform.python_version()} on {platform.node()}, pid {os.getpid()}"
        if self._confinement:
            about += f"; {self._confinement}"
        lacking = {"" if self._boot else "boot", "" if self._may_restore else "restore"}
        features = tuple(name for name in messages.FEATURES if name not in lacking)
        self._send(Hello(messages.VERSION, features, about, self._boot))

    def _handle(self, frame: frames.Frame) -> None:
        message = messages.decode(frame.header)
        handler = self._handlers.get(type(message))
        if handler is None:
            raise ProtocolError(f"unexpected message {type(message).__name__}")
        with self._restores.pausing(message):
            payload = compression.payload_of(frame)
            handler(message, payload)
            if self._results or payload or isinstance(message, Data):
                self._trees.renew_stamps(self._results.changed)
                self._results.changed.clear()
                self._trees.settle()
                self._results.sync()
                for acks in self._results.take(self._decoder.taken):
                    self._send(acks)

    def _on_hello(self, hello: Hello, _: bytes) -> None:
        if hello.version != messages.VERSION:
            raise ProtocolError(f"wire version {hello.version} is not {messages.VERSION}")
        self._trees.set_backend(hello.about)
        self._says_alive = "alive" in hello.features

    def _on_open(self, request: OpenTree, _: bytes) -> None:
        self._trees.look()  # within a connection, the path of an open tree must not lead to another directory
        self._trees.check_apart(request.origin, opening=request.tree)
        try:
            former = self._trees.open(request)
        except (OSError, ReplicatorError, LookupError) as error:
            self._send(
                messages.Opened(
                    request.tree, -1, -1, shortened_detail(str(error)) or type(error).__name__
                )
            )
            return
        self._restores.cancel(request.tree, "the tree was opened again")
        if former is not None:
            self._transfers.closed(former)
            self._jobs.closed(former)
            former.tree.close()
        if request.durable:
            self._results.durable.add(request.tree)
        else:
            self._results.durable.discard(request.tree)
        store = self._trees[request.tree]
        lease = store.lease
        said = messages.Opened(
            request.tree,
            *store.owner,
            identity=lease.identity,
            doubt=lease.doubt[:500],
            granularity=store.granularity,
        )
        self._send(said)

    def _on_sources(self, sources: Sources, _: bytes) -> None:
        self._trees.check_apart(sources.origin)

    def _on_batch(self, batch: Batch, payload: bytes) -> None:
        view = memoryview(payload)
        for change in batch.changes:
            if isinstance(change, PutFile):
                content, view = view[: change.size], view[change.size :]
                if len(content) != change.size:
                    raise ProtocolError("a batch announces more content than it holds")
                self._results.attempt(
                    change, partial(self._trees[change.tree].put, change, content)
                )
            else:
                self._results.attempt(change, partial(self._apply, change))
        if view:
            raise ProtocolError("a batch holds more content than it announces")

    def _apply(self, change: Change) -> None:
        store = self._trees[change.tree]
        if isinstance(change, changes.MakeDirectory):
            store.make_directory(change)
        elif isinstance(change, changes.MakeSymlink):
            store.make_symlink(change)
        elif isinstance(change, changes.SetAttributes):
            store.set_attributes(change)
        elif isinstance(change, changes.Delete):
            store.delete(change)
        elif isinstance(change, changes.Move):
            store.move(change)
        elif isinstance(change, changes.Link):
            store.link(change)
        else:
            raise ProtocolError(f"unexpected change {type(change).__name__}")

    def _on_begin(self, begin: BeginFile, _: bytes) -> None:
        self._transfers.begin(self._trees[begin.put.tree], begin)

    def _on_data(self, data: Data, payload: bytes) -> None:
        self._transfers.feed(data, payload)

    def _on_list(self, request: ListTree, _: bytes) -> None:
        self._jobs.begin_listing(self._trees[request.tree], request)

    def _on_digest(self, request: DigestTree, _: bytes) -> None:
        self._jobs.begin_walk(self._trees[request.tree], request)

    def _on_descend(self, request: Descend, _: bytes) -> None:
        self._jobs.descend(request)

    def _on_sum_blocks(self, request: SumBlocks, _: bytes) -> None:
        self._jobs.sum_blocks(self._trees[request.tree], request)

    def _on_more(self, more: More, _: bytes) -> None:
        self._jobs.more(more)

    def _on_restore(self, request: Restore, _: bytes) -> None:
        if not self._may_restore:
            raise ProtocolError("this agent may not contact an object store (--store)")
        store, durable = self._trees[request.tree], request.tree in self._results.durable
        try:
            self._restores.begin(request, store, durable=durable)
        except (OSError, RuntimeError, ImportError) as error:
            text = shortened_detail(f"{type(error).__name__}: {error}")
            self._send(messages.Restored(request.tree, 0, 0, 0, 0, text, end=True))

    def _on_end_restore(self, request: EndRestore, _: bytes) -> None:
        self._restores.cancel(request.tree, "the backend has ended it")

    def _on_urls(self, urls: Urls, _: bytes) -> None:
        self._restores.receive(urls)

    def _work_on_restores(self) -> None:
        """Send what restores have to say."""
        if not self._restores:
            return
        for message in self._restores.work():
            if isinstance(message, messages.Restored) and message.end:
                self._trees.renew_stamps({message.tree})
            self._send(message)

    def _work_on_jobs(self) -> None:
        """Produce frames of the listing, steps of the walk, and block sums, until input is waiting or nothing is to do."""
        while (pause := self._jobs.pause()) is not None and not self._arrived.poll(1000 * pause):
            self._trees.look()
            self._jobs.step()

    def _say_alive(self) -> None:
        """Send an empty `acks` if nothing was sent for 5 s."""
        if time.monotonic() - self._said_at > SIGN_OF_LIFE:
            self._send(Acks((), (), self._decoder.taken))

    def _check_heard(self) -> None:
        """Verify that the backend still waits for an answer; called repeatedly during long work on one change.

        Once the backend has closed the connection, frames that it sent before are not applied any more. Every 5 s, send an empty
        `acks` as a sign of life if the backend has the feature `alive`.

        Raises:
            HungUp: the backend closed the connection.
            Fenced: a newer agent has taken over; after a network failure, this is the only sign that the connection is dead.
        """
        if any(event & _HUNG_UP for _, event in self._arrived.poll(0)):
            raise HungUp
        now = time.monotonic()
        if now - max(self._said_at, self._looked_at) <= SIGN_OF_LIFE:
            return
        self._looked_at = now
        self._trees.yield_to_newer()
        if self._says_alive:
            try:
                self._send(Acks((), (), self._decoder.taken))
            except ConnectionError as error:
                raise HungUp from error

    def _send(self, message: messages.Message, payload: bytes = b"") -> None:
        self._said_at = time.monotonic()
        write_all(self._sink, memoryview(frames.encode(message.header(), [payload])))
