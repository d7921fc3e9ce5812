"""Look up EC2 instances by id or by address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from replicator.discovery.aws.client import Aws

FILTER_VALUES = 200
"""Maximum number of values in one filter (EC2 API, DescribeInstances)."""


class Instance(NamedTuple):
    """An EC2 instance. The address is empty while the instance has none."""

    identity: str
    state: str
    address: str


async def by_identity(aws: Aws, identities: Iterable[str]) -> dict[str, Instance]:
    """Return the instances that exist, by id.

    Uses a filter instead of the parameter InstanceIds, with which one unknown id fails the whole call.

    Raises:
        DiscoveryError: if the call fails.
    """
    return {i.identity: i for i in await _described(aws, "instance-id", sorted(set(identities)))}


async def by_address(aws: Aws, addresses: Iterable[str]) -> dict[str, Instance]:
    """Return the pending or running instances that have these private IPv4 addresses, by address.

    Raises:
        DiscoveryError: if the call fails.
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
            for reservation in page["Reservations"]:
                for row in reservation.get("Instances", ()):
                    address = row.get("PrivateIpAddress") or row.get("Ipv6Address") or ""
                    state = row.get("State", {}).get("Name", "")
                    found.append(Instance(row["InstanceId"], state, address))
    return found
