"""What a FakeSource holds."""

import hashlib
from dataclasses import dataclass, replace

from replicator.model import DIRECTORY, FILE, SYMLINK, Entry, Stamp, ancestors, is_below


def digest(content):
    return hashlib.sha256(content).digest()


@dataclass(frozen=True)
class Node:
    """A file, directory or symlink of a FakeSource."""

    kind: str
    mode: int = 0o644
    content: bytes = b""
    link: bytes = b""
    time: int = 0
    changed: int = 0
    inode: int = 0

    @property
    def entry(self):
        return Entry(self.kind, self.mode, len(self.content), self.time, self.link)

    @property
    def stamp(self):
        return Stamp(len(self.content), self.time, self.changed, self.inode)


class SourceContent:
    """Files, directories and symlinks in a dict. Every change advances a clock; parents are created as needed.

    Attributes:
        nodes: what the source holds, by path.
        clock: time of the last change, in nanoseconds.
    """

    def __init__(self):
        self.nodes = {}
        self.clock = 1_600_000_000_000_000_000

    def tick(self):
        self.clock += 1
        return self.clock

    def write(self, path, content, mode=0o644):
        """Replace a file by a new one, or create it."""
        self._add(path, FILE, mode, content=content)

    def rewrite(self, path, content):
        """Change the content in place, for all hard links of the file."""
        now = self.tick()
        inode = self.nodes[path].inode
        for name, node in list(self.nodes.items()):
            if node.inode == inode:
                self.nodes[name] = replace(node, content=content, time=now, changed=now)

    def hard_link(self, path, name):
        now = self.tick()
        self.nodes[path] = self.nodes[name] = replace(self.nodes[path], changed=now)

    def touch(self, path):
        """Change only the ctime, as chmod to the same mode or a new hard link does."""
        self.nodes[path] = replace(self.nodes[path], changed=self.tick())

    def chmod(self, path, mode):
        self.nodes[path] = replace(self.nodes[path], mode=mode, changed=self.tick())

    def mkdir(self, path, mode=0o755):
        self._add(path, DIRECTORY, mode)

    def symlink(self, path, link):
        self._add(path, SYMLINK, 0, link=link)

    def remove(self, path):
        for name in [n for n in self.nodes if n == path or is_below(n, path)]:
            del self.nodes[name]

    def _add(self, path, kind, mode, **what):
        for directory in reversed([at for at in ancestors(path) if at not in self.nodes]):
            self._add(directory, DIRECTORY, 0o755)
        now = self.tick()
        self.nodes[path] = Node(kind, mode, **what, time=now, changed=now, inode=now)
