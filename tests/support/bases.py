"""The base of a directory, as a backend would publish it, in a dictionary of objects."""

import hashlib
import os
from pathlib import Path

from replicator.files.confined import Confined
from replicator.files.walk import walk
from replicator.model import FILE
from replicator.wire import manifest
from replicator.wire.manifest import Named, Pack, Placed

PACK = 16 << 20


class MadeBase:
    """A base.

    Attributes:
        objects: contents by SHA-256 in hexadecimal.
        packs: the packs, as in the manifest.
        files: the rows of files with content.
        manifest: the manifest's digest.
        size: its size.
    """

    def __init__(self, root, pack_size=PACK, change=lambda names, files: (names, files)):
        """Make a base of a directory; `change` may replace the rows before they are encoded."""
        self.objects = {}
        self.packs = []
        self._pack = bytearray()
        names, files = [], []
        tree = Confined.open(os.fsencode(root))
        try:
            for met in walk(tree, b""):
                path, entry = met.path, met.entry
                content = Path(root, os.fsdecode(path)).read_bytes() if entry.kind == FILE else b""
                digest = hashlib.sha256(content).digest() if entry.kind == FILE else b""
                entry = entry._replace(digest=digest)
                if not content:
                    names.append(Named(path, entry))
                    continue
                if self._pack and len(self._pack) + len(content) > pack_size:
                    self._end_pack()
                files.append(Placed(path, entry, len(self.packs), len(self._pack)))
                self._pack += content
        finally:
            tree.close()
        if self._pack:
            self._end_pack()
        names, self.files = change(names, files)
        data = b"".join(manifest.encode(self.packs, names, self.files))
        self.size = len(data)
        self.manifest = hashlib.sha256(data).digest()
        self.objects[self.manifest.hex()] = data

    def _end_pack(self):
        content = bytes(self._pack)
        pack = Pack(hashlib.sha256(content).digest(), len(content))
        self.packs.append(pack)
        self.objects[pack.digest.hex()] = content
        self._pack.clear()

    def digest(self, pack):
        """Return the digest of a pack, or of the manifest for -1."""
        return self.manifest if pack < 0 else self.packs[pack].digest
