"""Create a store of an agent as `roots.open_tree` does."""

import os

from replicator.agent.claim import Claim
from replicator.agent.fence import Fence
from replicator.agent.store import Owner, Store
from replicator.files.confined import Confined


def store_at(root, owner=Owner(), *, setid=False, session=b"test", lineage=b"", place=b""):  # noqa: B008  # immutable
    """Return the store of a directory. The caller must close its `tree`."""
    tree = Confined.open(os.fsencode(root))
    claim = Claim(tree.root_fd, Fence(tree.root_fd, lineage), place)
    return Store(tree, owner, setid=setid, session=session, claim=claim)
