"""Create a store of an agent as `roots.open_tree` does."""

import os

from replicator.agent.fencing import FencingToken
from replicator.agent.store import Owner, Store
from replicator.agent.write_lease import WriteLease
from replicator.files.confined import Confined


def store_at(root, owner=Owner(), *, setid=False, session=b"test", lineage=b"", place=b""):  # noqa: B008  # immutable
    """Return the store of a directory. The caller must close its `tree`."""
    tree = Confined.open(os.fsencode(root))
    claim = WriteLease(tree.root_fd, FencingToken(tree.root_fd, lineage), place)
    return Store(tree, owner, setid=setid, session=session, claim=claim)
