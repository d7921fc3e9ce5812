"""The frontends of a benchmark: on loopback, in containers, or as described in a JSON file."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Host:
    """One frontend, as SSH reaches it."""

    address: str
    port: int = 22
    user: str = "root"

    def __str__(self) -> str:
        return f"{self.user}@{self.address}:{self.port}"


@dataclass(frozen=True)
class Stage:
    """Some frontends, all with the same clock as this machine.

    Attributes:
        name: what reports call it.
        hosts: the frontends.
        identity: private key that opens them.
        known_hosts: file with their host keys.
        target: directory on each of them; every measurement makes one of its own in it.
        interface: network interface of this machine through which they are reached.
    """

    name: str
    hosts: tuple[Host, ...]
    identity: str
    known_hosts: str
    target: str
    interface: str

    @classmethod
    def load(cls, described: dict[str, Any]) -> Stage:
        """Return what `dump` described."""
        return cls(**{**described, "hosts": tuple(Host(**host) for host in described["hosts"])})

    @classmethod
    def read(cls, path: Path) -> Stage:
        """Read a description from a JSON file."""
        return cls.load(json.loads(path.read_text()))

    def dump(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return asdict(self)

    def ssh_options(self, host: Host) -> list[str]:
        """Return ssh and what it needs to reach a port of a host: no configuration of the user's, and no questions."""
        settings = (
            f"UserKnownHostsFile={self.known_hosts}",
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "LogLevel=ERROR",
        )
        options = [part for setting in settings for part in ("-o", setting)]
        return ["ssh", "-F", "/dev/null", "-p", str(host.port), "-i", self.identity, *options]

    def ssh(self, host: Host, *command: str) -> list[str]:
        """Return the command that runs a command on a host."""
        return [*self.ssh_options(host), f"{host.user}@{host.address}", shlex.join(command)]
