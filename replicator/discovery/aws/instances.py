"""Where instances are, and which instance is at an address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from replicator.discovery.aws.client import Aws

FILTER_VALUES = 200
"""Values that one filter may hold (EC2 API, DescribeInstances)."""


class Instance(NamedTuple):
    """An instance; the address is empty while it has none."""

    identity: str
    state: str
    address: str


async def by_identity(aws: Aws, identities: Iterable[str]) -> dict[str, Instance]:
    """Return the instances that exist, by id.

    A filter, not InstanceIds: an id that is not known (any more, or yet) fails a call that names it, for all others too.

    Raises:
        DiscoveryError: EC2 gave no answer.
    """
    return {i.identity: i for i in await _described(aws, "instance-id", sorted(set(identities)))}


async def by_address(aws: Aws, addresses: Iterable[str]) -> dict[str, Instance]:
    """Return the running instances that have these IPv4 addresses, by address.

    Raises:
        DiscoveryError: EC2 gave no answer.
    """
    found = await _described(aws, "private-ip-address", sorted(set(addresses)))
    return {i.address: i for i in found if i.state in ("pending", "running")}


async def _described(aws: Aws, name: str, values: Sequence[str]) -> list[Instance]:
    found = []
    for start in range(0, len(values), FILTER_VALUES):
        some = values[start : start + FILTER_VALUES]
        pages = await aws.call(
            "ec2", "describe_instances", Filters=[{"Name": name, "Values": list(some)}]
        )
        for page in pages:
            for reservation in page.get("Reservations", ()):
                for row in reservation.get("Instances", ()):
                    address = row.get("PrivateIpAddress") or row.get("Ipv6Address") or ""
                    state = row.get("State", {}).get("Name", "")
                    found.append(Instance(row["InstanceId"], state, address))
    return found
