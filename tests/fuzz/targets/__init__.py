"""The targets by subject. Importing this package registers all of them in `target.TARGETS`."""

from tests.fuzz.target import TARGETS
from tests.fuzz.targets import (
    agent,
    backend,
    control,
    delta,
    discovery,
    hosts,
    settings,
    start,
    watch,
    wire,
)

__all__ = [
    "TARGETS",
    "agent",
    "backend",
    "control",
    "delta",
    "discovery",
    "hosts",
    "settings",
    "start",
    "watch",
    "wire",
]
