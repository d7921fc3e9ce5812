"""What a replicated tree is made of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from replicator.core.settle import Settle
from replicator.ports import Catalog, Source, Watcher


@dataclass(frozen=True)
class Tree:
    """One replicated tree, with everything that its intake needs.

    Attributes:
        number: what it is called on the wire.
        root: the source directory.
        source: its files.
        catalog: what is known of them.
        make_watcher: makes a new watcher, also after the root came back.
        settle: decides when to look.
        delete: tell frontends what is gone.
        delete_guard: the share of the tree beyond which deletions in one go wait for a person.
        symlinks: which symlinks the source has for us; see `model.admits`.
        max_file_size: bytes; larger files are not read, and stay on the frontends as they are.
    """

    number: int
    root: bytes
    source: Source
    catalog: Catalog
    make_watcher: Callable[[], Watcher]
    settle: Settle
    delete: bool
    delete_guard: float = 1.0
    symlinks: str = "all"
    max_file_size: int = sys.maxsize
