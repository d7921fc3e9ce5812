"""What the engine asks of the world; `app.py` is the one room that says who answers.

Calls of Source and Catalog block and are made from worker threads. All else lives on the event loop. Ports with several
implementations have one suite of tests (`tests/contract/`) that each of them passes.
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
