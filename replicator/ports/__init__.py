"""Interfaces (protocols) that the engine uses; the package `app` chooses the implementations.

Calls of Source and Catalog block, and are made from worker threads. All others run on the event loop. For ports with several
implementations, `tests/contract/` holds one test suite that each implementation passes.
"""

from replicator.ports.files import (
    Catalog,
    Identity,
    Record,
    Seen,
    Snapshot,
    Source,
    Verdict,
    Watcher,
)
from replicator.ports.frontends import (
    Address,
    Channel,
    Connector,
    Console,
    Decision,
    Launch,
    LaunchControl,
    Look,
    Provider,
    RosterMemory,
    Sighting,
)

__all__ = [
    "Address",
    "Catalog",
    "Channel",
    "Connector",
    "Console",
    "Decision",
    "Identity",
    "Launch",
    "LaunchControl",
    "Look",
    "Provider",
    "Record",
    "RosterMemory",
    "Seen",
    "Sighting",
    "Snapshot",
    "Source",
    "Verdict",
    "Watcher",
]
