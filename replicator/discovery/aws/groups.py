"""Find target groups: by name or ARN, or as the destinations of a load balancer's listeners and rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from replicator.discovery.aws.client import Aws
from replicator.errors import DiscoveryError


class Group(NamedTuple):
    """A target group. Its kind is `instance` or `ip`, or one that replicator cannot serve, such as `lambda`."""

    arn: str
    name: str
    kind: str


async def named(aws: Aws, name: str) -> list[Group]:
    """Return the target group with a name or an ARN.

    Raises:
        DiscoveryError: if there is no such target group, or the call fails.
    """
    key = "TargetGroupArns" if name.startswith("arn:") else "Names"
    found = _groups(await aws.call("elbv2", "describe_target_groups", **{key: [name]}))
    if not found:
        raise DiscoveryError(f"there is no target group {name}")
    return found


async def behind(aws: Aws, balancer: str) -> list[Group]:
    """Return all target groups that a load balancer's listeners and rules forward to, including those with weight 0.

    Raises:
        DiscoveryError: if there is no such load balancer, it forwards to no target group, or a call fails.
    """
    key = "LoadBalancerArns" if balancer.startswith("arn:") else "Names"
    arns: dict[str, None] = {}
    for page in await aws.call("elbv2", "describe_load_balancers", **{key: [balancer]}):
        for row in page["LoadBalancers"]:
            arns |= dict.fromkeys(await _forwarded(aws, row["LoadBalancerArn"]))
    if not arns:
        raise DiscoveryError(f"load balancer {balancer} forwards to no target group")
    found = []
    for arn in arns:
        found += await named(aws, arn)
    return found


async def _forwarded(aws: Aws, balancer: str) -> list[str]:
    arns: list[str] = []
    for page in await aws.call("elbv2", "describe_listeners", LoadBalancerArn=balancer):
        for listener in page["Listeners"]:
            arns += _targets_of(listener.get("DefaultActions", ()))
            rules = await aws.call("elbv2", "describe_rules", ListenerArn=listener["ListenerArn"])
            for rule in (rule for page in rules for rule in page["Rules"]):
                arns += _targets_of(rule.get("Actions", ()))
    return arns


def _targets_of(actions: Iterable[dict[str, Any]]) -> Iterator[str]:
    for action in actions:
        if "TargetGroupArn" in action:
            yield action["TargetGroupArn"]
        for weighted in action.get("ForwardConfig", {}).get("TargetGroups", ()):
            yield weighted["TargetGroupArn"]


def _groups(pages: Iterable[dict[str, Any]]) -> list[Group]:
    rows = [row for page in pages for row in page["TargetGroups"]]
    return [Group(r["TargetGroupArn"], r["TargetGroupName"], r.get("TargetType", "")) for r in rows]
