"""Interfaces (protocols) that the engine uses; the package `app` chooses the implementations.

Calls of Source, Catalog and ObjectStore block, and are made from worker threads. All others run on the event loop. For ports with several
implementations, `tests/contract/` holds one test suite that each implementation passes.
"""

from replicator.ports.base import MANIFEST, Base, BasePublisher, Offer
from replicator.ports.catalog import (
    BEING_READ,
    BEING_WRITTEN,
    NOTHING,
    PASSING,
    Catalog,
    Child,
    DirectoryDigests,
    Record,
)
from replicator.ports.frontends import (
    Address,
    Candidate,
    Channel,
    Connector,
    Console,
    Decision,
    Launch,
    LaunchControl,
    MemberStore,
    PollResult,
    Provider,
)
from replicator.ports.source import Identity, Seen, Snapshot, Source, Verdict, Watcher
from replicator.ports.store import ObjectStore, Pace, Stored, Versioned

__all__ = [
    "BEING_READ",
    "BEING_WRITTEN",
    "MANIFEST",
    "NOTHING",
    "PASSING",
    "Address",
    "Base",
    "BasePublisher",
    "Candidate",
    "Catalog",
    "Channel",
    "Child",
    "Connector",
    "Console",
    "Decision",
    "DirectoryDigests",
    "Identity",
    "Launch",
    "LaunchControl",
    "MemberStore",
    "ObjectStore",
    "Offer",
    "Pace",
    "PollResult",
    "Provider",
    "Record",
    "Seen",
    "Snapshot",
    "Source",
    "Stored",
    "Verdict",
    "Versioned",
    "Watcher",
]
