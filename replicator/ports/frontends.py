"""What the engine asks of the network: who the frontends are, and a way to each."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Channel(Protocol):
    """A byte stream to one agent that has said its marker, in both directions."""

    async def read(self) -> bytes:
        """Return the next bytes; empty at the end of the stream."""

    async def write(self, data: bytes) -> None:
        """Queue bytes, and wait while too many are queued.

        Raises:
            ChannelLost: when the connection is gone.
        """

    def diagnosis(self) -> str:
        """Return what the far side printed on its error stream (bounded, made printable), for error texts."""

    async def close(self) -> None:
        """Close the channel and what carries it; never raises, bounded in time."""


@dataclass(frozen=True)
class Address:
    """Where a frontend is dialled.

    Attributes:
        host: name or IP address, as configured; what `status` shows.
        user: login name; empty: the configured default.
        port: TCP port; 0: the configured default.
    """

    host: str
    user: str = ""
    port: int = 0

    def means(self, other: Address) -> bool:
        """Return True if this names `other`: the same host, and user and port where they are given here."""
        same_user = self.user in ("", other.user)
        return self.host == other.host and same_user and self.port in (0, other.port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user + '@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"


class Connector(Protocol):
    """Opens channels to agents."""

    async def connect(self, address: Address, identity: str = "") -> Channel:
        """Connect, log in, start the agent, and read past everything up to its marker.

        Args:
            address: where.
            identity: which machine that is (see Sighting); its host key is remembered under this name.

        Raises:
            TransportError: one of its subclasses, with a full sentence.
        """


class Decision(enum.Enum):
    """What becomes of a frontend that a provider sees."""

    SERVE = "serve"
    DRAIN = "drain"  # on its way out, and perhaps back: served after everybody else
    DROP = "drop"  # it is gone, or is about to be; not the same as not being seen, which may be an error


@dataclass(frozen=True)
class Launch:
    """A new machine that its Auto Scaling group holds back until somebody says that it is ready.

    Attributes:
        group: name of the group.
        hook: name of the lifecycle hook that holds it.
        instance: instance id.
        timeout: seconds without a heartbeat after which the group goes on by itself.
    """

    group: str
    hook: str
    instance: str
    timeout: float


@dataclass(frozen=True)
class Sighting:
    """One frontend as a provider sees it.

    Attributes:
        address: where it is dialled.
        source: who says so: `static`, `alb web`, `manual`.
        identity: which machine it is (an instance id), where that is known: addresses are used again, these are not.
        state: in the provider's own words.
        decision: what becomes of it.
        reason: why, for a person.
        launch: set while an Auto Scaling group waits for it.
    """

    address: Address
    source: str = "static"
    identity: str = ""
    state: str = ""
    decision: Decision = Decision.SERVE
    reason: str = ""
    launch: Launch | None = None


@dataclass(frozen=True)
class Look:
    """One answer of a provider.

    Attributes:
        sightings: whom it sees, each address once.
        notes: what a person should know, full sentences.
        complete: False if some part of the answer is missing: who is not in it may be there all the same.
        unlocated: identities that are there, at an address that was not told this time.
    """

    sightings: tuple[Sighting, ...]
    notes: tuple[str, ...] = ()
    complete: bool = True
    unlocated: frozenset[str] = frozenset()


class Provider(Protocol):
    """Says which frontends there are.

    Attributes:
        name: unique among the providers of a daemon, and the same after a restart with the same settings.
        interval: seconds between two looks.
        retry_cap: seconds: the longest pause between two looks that fail; never shorter than `interval`.
        certain: True if its word is a person's: taken at once, also when it says that there is nobody.
    """

    name: str
    interval: float
    retry_cap: float
    certain: bool

    async def look(self) -> Look:
        """Return whom it sees now.

        Raises:
            DiscoveryError: it does not know.
        """


class LaunchControl(Protocol):
    """Tells an Auto Scaling group about a machine that it holds back."""

    async def heartbeat(self, launch: Launch) -> None:
        """Ask for more time.

        Raises:
            DiscoveryError: it was not granted.
        """

    async def complete(self, launch: Launch, *, ready: bool) -> None:
        """End the waiting: put the machine into service, or give it up. No error if it does not wait any more.

        Raises:
            DiscoveryError: the group was not told.
        """


class Console(Protocol):
    """Knows what a machine printed on its console when it booted."""

    async def fingerprints(self, identity: str) -> Sequence[str]:
        """Return the fingerprints of its host keys (`SHA256:...`); empty while it has not printed them.

        Raises:
            DiscoveryError: the console cannot be read.
        """


class RosterMemory(Protocol):
    """Keeps the last good answers across restarts: the cloud may be silent when the daemon starts."""

    def load(self) -> dict[str, list[Sighting]]:
        """Return what was saved, by provider; empty when nothing useful was."""

    def save(self, known: dict[str, list[Sighting]]) -> None:
        """Replace what was saved."""
