"""Messages about the restore of a tree from its base in an object store.

The agent knows from `restore` where the manifest is, and requests URLs of the packs as it needs them. URLs are secrets: they are
neither logged nor part of an error text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from replicator.wire import fields

MAX_ASKED = 64
"""Packs in one request for URLs, so that the answer fits into a frame."""

MAX_URL = 8192
"""Characters in a URL. A presigned one has 400, and with the token of a role up to 2,500."""

DECLINED = "the target is not empty"
"""The error of a restore that an agent does not begin, because the target holds more than `most` entries."""

MANIFEST = -1
"""Stands for the manifest itself where packs are given by their index."""

_PACK = fields.integer(MANIFEST, 1 << 20)
_URL = fields.text(MAX_URL)


class Restore(NamedTuple):
    """Restore a tree from its base, unless the target holds more than `most` entries.

    `manifest` is the SHA-256 of the manifest's `size` bytes, which are at `url`. Only names that do not exist are created. Requires the
    feature `restore`.
    """

    tree: int
    manifest: bytes
    size: int
    url: str
    most: int

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {
            "t": "restore",
            "tree": self.tree,
            "manifest": self.manifest.hex(),
            "size": self.size,
            "url": self.url,
            "most": self.most,
        }


class EndRestore(NamedTuple):
    """End the restore of a tree, if one is in progress."""

    tree: int

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "end-restore", "tree": self.tree}


class NeedUrls(NamedTuple):
    """Request URLs of packs, by their index in the manifest, or of the manifest itself (MANIFEST)."""

    tree: int
    packs: tuple[int, ...]

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "need-urls", "tree": self.tree, "packs": list(self.packs)}


class Urls(NamedTuple):
    """Answer to NeedUrls: (index of the pack, URL); an empty URL if there is none."""

    tree: int
    urls: tuple[tuple[int, str], ...]

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "urls", "tree": self.tree, "urls": [list(row) for row in self.urls]}


class Restored(NamedTuple):
    """Progress of a restore; the last one has `end`.

    `files`: names that were created; `content`: bytes of them, and of large files that are being written; `skipped`: names that existed, or that live changes have changed since;
    `failed`: names that could not be restored, as far as they were reached. `error`: why something failed, or the restore ended early.
    """

    tree: int
    files: int
    content: int
    skipped: int
    failed: int
    error: str = ""
    end: bool = False

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {
            "t": "restored",
            "tree": self.tree,
            "files": self.files,
            "content": self.content,
            "skipped": self.skipped,
            "failed": self.failed,
            "error": self.error,
            "end": self.end,
        }


def parse_restore(header: dict[str, Any]) -> Restore:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return Restore(
        fields.tree(header["tree"]),
        fields.digest(header["manifest"]),
        fields.size(header["size"]),
        _URL(header["url"]),
        fields.number(header["most"]),
    )


def parse_end_restore(header: dict[str, Any]) -> EndRestore:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return EndRestore(fields.tree(header["tree"]))


def parse_need_urls(header: dict[str, Any]) -> NeedUrls:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    packs = fields.array(header["packs"], MAX_ASKED)
    return NeedUrls(fields.tree(header["tree"]), tuple(map(_PACK, packs)))


def parse_urls(header: dict[str, Any]) -> Urls:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    rows = (fields.row((_PACK, _URL), row) for row in fields.array(header["urls"], MAX_ASKED))
    return Urls(fields.tree(header["tree"]), tuple((pack, url) for pack, url in rows))


def parse_restored(header: dict[str, Any]) -> Restored:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return Restored(
        fields.tree(header["tree"]),
        fields.number(header["files"]),
        fields.number(header["content"]),
        fields.number(header["skipped"]),
        fields.number(header["failed"]),
        fields.words(header["error"]),
        fields.flag(header["end"]),
    )
