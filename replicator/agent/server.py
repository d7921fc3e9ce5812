"""The agent's main loop: read frames, apply their changes, answer.

One thread with blocking I/O handles the frames in order, so changes are applied in the order in which they were sent. A change
that cannot be applied is refused and the connection goes on; a violation of the wire format ends the agent. Listings are produced
between frames, and only while no input is waiting.
"""

from __future__ import annotations

import os
import platform
import select
import time
from functools import partial
from typing import Any, Callable, NamedTuple, Optional

from replicator.agent import boot
from replicator.agent.descriptors import write_all
from replicator.agent.durable import sync
from replicator.agent.fencing import Fences
from replicator.agent.listing import ListingJob
from replicator.agent.policy import Policy
from replicator.agent.refusals import HungUp, Refused, refusal_of, told
from replicator.agent.roots import check_still_apart, open_tree
from replicator.agent.stamp import Stamp
from replicator.agent.store import Store
from replicator.agent.transfer import Transfer
from replicator.errors import ProtocolError, ReplicatorError
from replicator.wire import changes, frames, messages
from replicator.wire.changes import Change, PutFile
from replicator.wire.messages import (
    Acks,
    Batch,
    BeginFile,
    Data,
    Hello,
    ListTree,
    More,
    OpenTree,
    Sources,
)

_READ_SIZE = 1 << 18
"""Bytes read at once. A pipe from sshd holds 64 KiB; more helps only where the pipe or socket holds more."""

SIGN_OF_LIFE = 5.0
"""Seconds without output after which an agent that is busy with one change, or hashes a large file, sends an empty `acks`."""

_HUNG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)
"""Events that poll() reports once the other end of a pipe or socket is closed, even while unread bytes are left."""

IDLE = 10
"""Seconds without input after which the agent checks whether it was replaced: a dead connection may never end by itself."""

ANSWERS = 256
"""Answers of each kind in a frame: with details of 500 characters, each up to 6 bytes in JSON, they fit into a header of 1 MiB."""

MAX_TRANSFERS = 16
"""Files in progress at a time. The backend sends one or two; to begin more is a protocol error."""


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
        jail: directory that all trees must lie in (pinned mode); None: the backend chooses their directories.
        policy: what the backend may ask for; None: anything.
        host: what is known about the machine.
    """

    def __init__(
        self,
        source: int,
        sink: int,
        *,
        session: bytes,
        jail: Optional[bytes] = None,
        policy: Optional[Policy] = None,
        host: Host = NOWHERE,
    ) -> None:
        self._source = source
        self._sink = sink
        self._session = session
        self._jail = jail
        self._policy = policy
        self._locks, self._boot, self._confinement = host
        self._durable: set[int] = set()
        self._unsynced: dict[int, list[int]] = {}  # numbers of applied changes of durable trees
        self._stamps: dict[int, Stamp] = {}
        self._changed: set[int] = (
            set()
        )  # trees with a stamp file of which the last frame changed something
        self._decoder = frames.Decoder()
        self._stores: dict[int, Store] = {}
        self._transfers: dict[int, Optional[Transfer]] = {}
        self._job: Optional[ListingJob] = None
        self._fences = Fences(b"", self._locks)
        self._arrived = select.poll()  # select() accepts no descriptor above 1,023
        self._arrived.register(source, select.POLLIN | _HUNG_UP)
        self._said_at = self._looked_at = time.monotonic()
        self._says_alive = False
        self._done: list[int] = []
        self._refused: list[tuple[int, str, str]] = []
        self._handlers: dict[type, Callable[[Any, bytes], None]] = {
            Hello: self._on_hello,
            OpenTree: self._on_open,
            Sources: self._on_sources,
            Batch: self._on_batch,
            BeginFile: self._on_begin,
            Data: self._on_data,
            ListTree: self._on_list,
            More: self._on_more,
        }

    def run(self) -> None:
        """Serve until the backend hangs up.

        Raises:
            ProtocolError: the backend broke the wire format.
            Fenced: a newer agent has taken over.
            Shared: an open target shares files with a source.
        """
        try:
            self._greet()
            while True:
                self._work_on_listing()
                if not self._arrived.poll(IDLE * 1000):
                    self._look()
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
            self._abort_transfers()

    def _greet(self) -> None:
        about = f"python {platform.python_version()} on {platform.node()}, pid {os.getpid()}"
        if self._confinement:
            about += f"; {self._confinement}"
        features = tuple(name for name in messages.FEATURES if name != "boot" or self._boot)
        self._send(Hello(messages.VERSION, features, about, self._boot))

    def _handle(self, frame: frames.Frame) -> None:
        message = messages.decode(frame.header)
        handler = self._handlers.get(type(message))
        if handler is None:
            raise ProtocolError(f"unexpected message {type(message).__name__}")
        handler(message, frame.payload)
        while self._changed:
            self._stamps[self._changed.pop()].renew()
        if self._done or self._unsynced or self._refused or frame.payload:
            for store in self._stores.values():
                store.settle()
            self._sync()
            self._send_acks()

    def _sync(self) -> None:
        """Write what the last frame changed in durable trees to the disk; refuse the changes of a file system where that fails."""
        if not self._unsynced:
            return
        unsynced, self._unsynced = self._unsynced, {}
        devices: dict[int, tuple[int, list[int]]] = {}  # to (a root on it, numbers of changes)
        for tree, numbers in unsynced.items():
            root = self._store(tree).tree.root_fd
            devices.setdefault(os.fstat(root).st_dev, (root, []))[1].extend(numbers)
        for root, numbers in devices.values():
            self._sync_device(root, numbers)

    def _sync_device(self, root: int, numbers: list[int]) -> None:
        """Sync the whole file system that holds a root, as syncfs() does, and answer the changes to it."""
        try:
            sync(root)
        except OSError as error:
            for number in numbers:
                self._refuse(number, error)
        else:
            self._done += numbers

    def _send_acks(self) -> None:
        """Answer the changes of the last frame, in as many frames as that takes."""
        while True:
            done, refused = self._done[:ANSWERS], self._refused[:ANSWERS]
            del self._done[:ANSWERS], self._refused[:ANSWERS]
            self._send(Acks(tuple(done), tuple(refused), self._decoder.taken))
            if not self._done and not self._refused:
                return

    def _on_hello(self, hello: Hello, _: bytes) -> None:
        if hello.version != messages.VERSION:
            raise ProtocolError(f"wire version {hello.version} is not {messages.VERSION}")
        self._fences = Fences(hello.about.encode("utf-8", "surrogatepass"), self._locks)
        self._says_alive = "alive" in hello.features

    def _on_open(self, request: OpenTree, _: bytes) -> None:
        self._look()  # within a connection, the path of an open tree must not lead to another directory
        for number, known in self._stores.items():
            if number != request.tree:
                check_still_apart(known.tree.root_fd, request.origin, self._boot)
        try:
            store = open_tree(
                request,
                session=self._session,
                jail=self._jail,
                fences=self._fences,
                policy=self._policy,
                boot=self._boot,
            )
        except (OSError, ReplicatorError, LookupError) as error:
            self._send(
                messages.Opened(request.tree, -1, -1, told(str(error)) or type(error).__name__)
            )
            return
        store.check_heard = self._check_heard
        old = self._stores.pop(request.tree, None)
        if old is not None:
            if self._job is not None and self._job.store is old:
                self._job = (
                    None  # the descriptor of its root is closed, and its number may be reused
                )
            for number, transfer in self._transfers.items():
                if transfer is not None and transfer.store is old:
                    self._transfers[number] = None
                    transfer.abort()
                    self._refuse(number, Refused(changes.FAILED, "its tree was opened again"))
            old.tree.close()
        self._stores[request.tree] = store
        self._follow(request, store)
        claim = store.claim
        said = messages.Opened(
            request.tree,
            *store.owner,
            identity=claim.identity,
            doubt=claim.doubt[:500],
            granularity=store.granularity,
        )
        self._send(said)

    def _follow(self, request: OpenTree, store: Store) -> None:
        """Follow the settings of a tree that was opened."""
        (self._durable.add if request.durable else self._durable.discard)(request.tree)
        self._stamps.pop(request.tree, None)
        if request.stamp:
            self._stamps[request.tree] = Stamp(store, request.stamp)
        if request.ready and self._boot:
            boot.remove_of_another(store.tree, request.ready, self._boot)

    def _on_sources(self, sources: Sources, _: bytes) -> None:
        for store in self._stores.values():
            check_still_apart(store.tree.root_fd, sources.origin, self._boot)

    def _on_batch(self, batch: Batch, payload: bytes) -> None:
        view = memoryview(payload)
        for change in batch.changes:
            if isinstance(change, PutFile):
                content, view = view[: change.size], view[change.size :]
                if len(content) != change.size:
                    raise ProtocolError("a batch announces more content than it holds")
                self._answer(change, partial(self._store(change.tree).put, change, content))
            else:
                self._answer(change, partial(self._apply, change))
        if view:
            raise ProtocolError("a batch holds more content than it announces")

    def _apply(self, change: Change) -> None:
        store = self._store(change.tree)
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

    def _answer(self, change: Change, act: Callable[[], None]) -> None:
        try:
            act()
        except (Refused, OSError, ReplicatorError) as error:
            self._refuse(change.number, error)
        else:
            self._finished(change.number, change.tree)

    def _finished(self, number: int, tree: int) -> None:
        if tree in self._stamps:
            self._changed.add(tree)
        if tree in self._durable:
            self._unsynced.setdefault(tree, []).append(number)
        else:
            self._done.append(number)

    def _refuse(self, number: int, error: Exception) -> None:
        refusal = refusal_of(error)
        self._refused.append((number, refusal.reason, told(refusal.detail)))

    def _on_begin(self, begin: BeginFile, _: bytes) -> None:
        number = begin.put.number
        if number in self._transfers or len(self._transfers) >= MAX_TRANSFERS:
            raise ProtocolError("too many files in progress, or a file begun twice")
        self._transfers[number] = None
        try:
            self._transfers[number] = Transfer(
                self._store(begin.put.tree), begin.put, delta=begin.delta
            )
        except (Refused, OSError, ReplicatorError) as error:
            self._refuse(number, error)

    def _on_data(self, data: Data, payload: bytes) -> None:
        if data.number not in self._transfers:
            raise ProtocolError("data for a file that was not begun")
        transfer = self._transfers[data.number]
        if transfer is not None and data.cancel:
            transfer.abort()
            self._refuse(
                data.number,
                Refused(changes.DIGEST_MISMATCH, "the source changed while it was being sent"),
            )
        elif (
            transfer is not None
        ):  # None: the file was refused, and its remaining frames are discarded
            self._transfers[data.number] = self._advance(transfer, data, payload)
        if data.end or data.cancel:
            del self._transfers[data.number]

    def _advance(self, transfer: Transfer, data: Data, payload: bytes) -> Optional[Transfer]:
        """Process the next part of a transfer; return the transfer, or None once it was answered."""
        try:
            transfer.feed(data.pairs, payload)
            if not data.end:
                return transfer
            transfer.finish()
            self._finished(data.number, transfer.change.tree)
        except (Refused, OSError, ReplicatorError) as error:
            transfer.abort()
            self._refuse(data.number, error)
        return None

    def _on_list(self, request: ListTree, _: bytes) -> None:
        self._job = ListingJob(self._store(request.tree), request)

    def _on_more(self, more: More, _: bytes) -> None:
        if self._job is not None and self._job.job == more.job:
            self._job.credit += more.credit
            if more.credit == 0:
                self._job = None

    def _work_on_listing(self) -> None:
        """Produce frames of the listing while no input is waiting and the backend has granted credit."""
        while self._job is not None and self._job.credit > 0:
            if self._arrived.poll(0):
                return
            self._look()
            listing = self._job.step()
            if listing is not None:
                if listing.end:
                    self._job = None
                self._send(listing)
            elif time.monotonic() - self._said_at > SIGN_OF_LIFE:
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
        for store in self._stores.values():
            store.claim.yield_to_newer()
        if self._says_alive:
            try:
                self._send(Acks((), (), self._decoder.taken))
            except ConnectionError as error:
                raise HungUp from error

    def _look(self) -> None:
        """Verify that this agent may still change its open trees and that their roots are in place; otherwise end the agent.

        Raises:
            ProtocolError: a root was moved, removed or replaced.
            Fenced: a newer agent has taken over.
        """
        try:
            for store in self._stores.values():
                store.claim.look()
        except Refused as gone:
            raise ProtocolError(gone.detail) from None

    def _store(self, tree: int) -> Store:
        try:
            return self._stores[tree]
        except KeyError:
            raise ProtocolError(f"tree {tree} is not open") from None

    def _abort_transfers(self) -> None:
        for transfer in self._transfers.values():
            if transfer is not None:
                transfer.abort()

    def _send(self, message: messages.Message) -> None:
        self._said_at = time.monotonic()
        write_all(self._sink, memoryview(frames.encode(message.header())))
