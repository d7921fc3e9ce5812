"""Interfaces to the network: discovery of frontends, and connections to them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Channel(Protocol):
    """A bidirectional byte stream to one agent, after the agent's start marker."""

    async def read(self) -> bytes:
        """Return the next bytes; empty at the end of the stream."""

    async def write(self, data: bytes) -> None:
        """Queue bytes for sending, and wait while too many are queued.

        Raises:
            ChannelLost: if the connection is closed.
        """

    def diagnosis(self) -> str:
        """Return what the agent printed on its error stream, or why the connection ended, as one bounded, printable line."""

    async def close(self) -> None:
        """Close the channel and its connection. Bounded in time; never raises."""


@dataclass(frozen=True)
class Address:
    """Address of a frontend.

    Attributes:
        host: name or IP address, as configured and as `status` shows it.
        user: login name; empty: the configured default.
        port: TCP port; 0: the configured default.
    """

    host: str
    user: str = ""
    port: int = 0

    def means(self, other: Address) -> bool:
        """Return True if `other` has the same host, and the same user and port where they are set here."""
        same_user = self.user in ("", other.user)
        return self.host == other.host and same_user and self.port in (0, other.port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user + '@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"


class Connector(Protocol):
    """Opens channels to agents."""

    async def connect(self, address: Address, identity: str = "") -> Channel:
        """Connect, log in, start the agent, and skip its output up to the marker.

        Args:
            address: the frontend's address.
            identity: the machine's identity (see Candidate); its host key is stored under this name.

        Raises:
            TransportError: one of its subclasses, with a full sentence.
        """


class Decision(enum.Enum):
    """What to do with a discovered frontend."""

    SERVE = "serve"
    DRAIN = "drain"  # it is leaving, and may return: served after all others
    DROP = "drop"  # the provider says that it is gone or terminating; `core.member_set` decides about one that is only absent


@dataclass(frozen=True)
class Launch:
    """A new instance that an Auto Scaling lifecycle hook keeps out of service until the hook is completed.

    Attributes:
        group: name of the Auto Scaling group.
        hook: name of the lifecycle hook.
        instance: instance id.
        timeout: seconds without a heartbeat after which the group applies the hook's default result.
    """

    group: str
    hook: str
    instance: str
    timeout: float


@dataclass(frozen=True)
class Candidate:
    """One frontend as reported by a provider.

    Attributes:
        address: its address.
        source: where it was found: `static`, `alb web`, `manual`.
        identity: the machine's instance id, where known. Unlike addresses, instance ids are not reused.
        state: the provider's name for its state.
        decision: what to do with it.
        reason: why; shown to the operator.
        launch: set while a lifecycle hook keeps it out of service.
    """

    address: Address
    source: str = "static"
    identity: str = ""
    state: str = ""
    decision: Decision = Decision.SERVE
    reason: str = ""
    launch: Launch | None = None


@dataclass(frozen=True)
class PollResult:
    """Result of polling a provider once.

    Attributes:
        candidates: the frontends, each address once.
        notes: full sentences for the operator.
        complete: False if parts are missing, so that an absent frontend may exist nevertheless.
        unlocated: identities of frontends that exist, but whose addresses this answer lacks.
    """

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()
    complete: bool = True
    unlocated: frozenset[str] = frozenset()


class Provider(Protocol):
    """Discovers frontends.

    Attributes:
        name: unique among the providers of a daemon, and the same after a restart with the same settings.
        interval: seconds between two polls.
        retry_cap: maximum seconds between two failing polls; `interval` if that is longer.
        certain: True if an operator wrote the list: an answer replaces the members at once, even if it is empty.
    """

    name: str
    interval: float
    retry_cap: float
    certain: bool

    async def poll(self) -> PollResult:
        """Poll the provider; return the current frontends.

        Raises:
            DiscoveryError: if the poll fails.
        """


class LaunchControl(Protocol):
    """Completes or extends the lifecycle action of a new instance."""

    async def heartbeat(self, launch: Launch) -> None:
        """Record a lifecycle heartbeat, which restarts the hook's timeout.

        Raises:
            DiscoveryError: if the heartbeat was not accepted.
        """

    async def complete(self, launch: Launch, *, ready: bool) -> None:
        """Complete the lifecycle action: put the instance into service, or abandon it. No error if it has ended already.

        Raises:
            DiscoveryError: if the call failed.
        """


class Console(Protocol):
    """Reads the console output of instances."""

    async def fingerprints(self, identity: str) -> Sequence[str]:
        """Return the host key fingerprints (`SHA256:...`) that an instance printed at boot; empty while there are none.

        Raises:
            DiscoveryError: if the console cannot be read.
        """


class MemberStore(Protocol):
    """Stores the last successful answers across restarts, for a start during which a provider cannot be reached."""

    def load(self) -> dict[str, list[Candidate]]:
        """Return the stored frontends by provider name; empty if there are none or they cannot be read."""

    def save(self, known: dict[str, list[Candidate]]) -> None:
        """Replace the stored frontends."""
