"""Create a store of an agent as `roots.open_tree` does."""

import os

from replicator.agent.fencing import FencingToken, open_locks
from replicator.agent.file_writer import Owner
from replicator.agent.store import Store
from replicator.agent.write_lease import WriteLease
from replicator.files.confined import Confined


class AgentTree(Confined):
    """A root with the descriptor of the locks of its agent, which ends when the root is closed."""

    locks = -1

    def close(self):
        super().close()
        if self.locks >= 0:
            os.close(self.locks)
        self.locks = -1


def fence_of(root_fd, lineage, locks):
    """Return the fencing token of one more agent of a directory; the caller must close `locks`, from `open_locks`."""
    status = os.fstat(root_fd)
    return FencingToken(locks, b"%d:%d:%b" % (status.st_dev, status.st_ino, lineage))


def store_at(root, owner=Owner(), *, setid=False, session=b"test", lineage=b"", place=b""):  # noqa: B008  # immutable
    """Return the store of a directory. The caller must close its `tree`."""
    tree = AgentTree.open(os.fsencode(root))
    tree.locks = open_locks()
    lease = WriteLease(tree.root_fd, fence_of(tree.root_fd, lineage, tree.locks), place)
    return Store(tree, owner, setid=setid, session=session, lease=lease)
