"""Digests of directories, of a tree in a dict."""

import hashlib

from replicator.model import DIRECTORY, is_below, is_within, parent
from replicator.wire import messages
from replicator.wire.digests import digest_of, line_of


def directory_digests(tree, bits, unknown=()):
    """Return the digests of all directories in a tree (path to entry), the root included.

    Args:
        tree: entries by path, complete: each directory that holds something is there.
        bits: mode bits that count.
        unknown: directories that have no digest.
    """
    found = {}
    directories = [b"", *(path for path, entry in tree.items() if entry.kind == DIRECTORY)]
    for directory in sorted(directories, key=lambda path: (-path.count(b"/"), not path)):
        others, lines, is_known = [], [], directory not in unknown
        for path in sorted(path for path in tree if path and parent(path) == directory):
            kind, mode, size, mtime_ns, link, _ = tree[path]
            line = line_of(kind, mode & bits, size, mtime_ns, link, path.rpartition(b"/")[2])
            if kind == DIRECTORY:
                lines.append(line + found[path])
                is_known = is_known and found[path]
            else:
                others.append(line)
        digest = digest_of(hashlib.sha256(b"".join(others)).digest(), lines)
        found[directory] = digest if is_known else b""
    return found


class FakeWalk:
    """A walk of a simulated agent.

    Args:
        request: the request for digests.
        disk: entries of the frontend by path.
        unlisted: directories that cannot be read.
    """

    def __init__(self, request, disk, unlisted):
        self.request = request
        counted = {
            path: entry
            for path, entry in disk.items()
            if not any(is_within(path, one) for one in request.skipped)
        }
        below = request.below
        self._digests = directory_digests(counted, request.bits, unlisted)
        self._sent, self._named = {}, set()
        self.first = messages.Digests(
            request.job,
            ((below, self._digests.get(below, b"")),),
            sum(is_below(path, below) for path in counted),
            end=True,
        )

    def descend(self, request):
        """Return the answer to a Descend."""
        self._named.update(request.opened, request.whole)
        rows = [
            (path, self._digests[path])
            for directory in request.opened
            for path in sorted(self._digests)
            if path and parent(path) == directory
        ]
        self._sent.update(rows)
        return messages.Digests(request.job, tuple(rows), 0, end=True)

    def left_out(self, path):
        """Return the digest of the directory at or above a path that is not listed; None if the path is."""
        for one in self._sent.keys() - self._named:
            if is_within(path, one) and self._sent[one]:
                return one, self._sent[one]
        return None
