"""The trees that the backend has opened on one connection."""

from __future__ import annotations

from typing import AbstractSet, Callable, Optional

from replicator.agent import boot as boots
from replicator.agent.fencing import FencingTokens
from replicator.agent.policy import Policy
from replicator.agent.refusals import Refused
from replicator.agent.roots import check_still_apart, open_tree
from replicator.agent.stamp import Stamp
from replicator.agent.store import Store
from replicator.errors import ProtocolError
from replicator.wire.messages import OpenTree, Origin


class OpenTrees:
    """The open trees, by number.

    Args:
        session: a name for this agent, unique on the host.
        pin_root: directory that all trees must lie in (pinned mode); None: the backend chooses their directories.
        policy: what the backend may ask for; None: anything.
        locks: descriptor from `fencing.open_locks`; -1: agents do not fence each other.
        boot: id of the current boot; empty if unknown.
        check_heard: called during long work on one change; see `Store.check_heard`.
    """

    def __init__(
        self,
        *,
        session: bytes,
        pin_root: Optional[bytes],
        policy: Optional[Policy],
        locks: int,
        boot: str,
        check_heard: Callable[[], None],
    ) -> None:
        self._session = session
        self._pin_root = pin_root
        self._policy = policy
        self._locks = locks
        self._boot = boot
        self._check_heard = check_heard
        self._tokens = FencingTokens(b"", locks)
        self._stores: dict[int, Store] = {}
        self._stamps: dict[int, Stamp] = {}

    def __getitem__(self, tree: int) -> Store:
        try:
            return self._stores[tree]
        except KeyError:
            raise ProtocolError(f"tree {tree} is not open") from None

    def set_backend(self, name: str) -> None:
        """Take over only from agents that the backend of this name has started."""
        self._tokens = FencingTokens(name.encode("utf-8", "surrogatepass"), self._locks)

    def open(self, request: OpenTree) -> Optional[Store]:
        """Open a tree; return the store that it had before on this connection, which the caller closes.

        Raises:
            OSError, ReplicatorError, LookupError: see `roots.open_tree`; the tree stays as it was.
        """
        store = open_tree(
            request,
            session=self._session,
            pin_root=self._pin_root,
            tokens=self._tokens,
            policy=self._policy,
            boot=self._boot,
        )
        store.check_heard = self._check_heard
        former = self._stores.get(request.tree)
        self._stores[request.tree] = store
        self._stamps.pop(request.tree, None)
        if request.stamp:
            self._stamps[request.tree] = Stamp(store, request.stamp)
        if request.ready and self._boot:
            boots.remove_of_another(store.tree, request.ready, self._boot)
        return former

    def check_apart(self, origin: Origin, opening: int = -1) -> None:
        """Verify that no open tree shares files with a source, except the one that is being opened again.

        Raises:
            Shared: one does.
        """
        for number, store in self._stores.items():
            if number != opening:
                check_still_apart(store.tree.root_fd, origin, self._boot)

    def close(self) -> None:
        """Close the roots of all open trees."""
        for store in self._stores.values():
            store.tree.close()
        self._stores.clear()

    def renew_stamps(self, trees: AbstractSet[int]) -> None:
        """Replace the stamp files of those of `trees` that have one."""
        for tree in self._stamps.keys() & trees:
            self._stamps[tree].renew()

    def settle(self) -> None:
        """Restore the times and modes of directories in which names have changed."""
        for store in self._stores.values():
            store.settle()

    def yield_to_newer(self) -> None:
        """Raise Fenced if a newer agent has taken over."""
        for store in self._stores.values():
            store.lease.yield_to_newer()

    def look(self) -> None:
        """Verify that this agent may still change its open trees and that their roots are in place.

        Raises:
            ProtocolError: a root was moved, removed or replaced.
            Fenced: a newer agent has taken over.
        """
        try:
            for store in self._stores.values():
                store.lease.look()
        except Refused as gone:
            raise ProtocolError(gone.detail) from None
