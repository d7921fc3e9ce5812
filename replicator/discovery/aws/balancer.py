"""Provider of the frontends behind load balancers: every target of every target group, whatever its health.

Each poll makes one call per target group; the list of target groups is refreshed once a minute. If a call fails, the answer
lacks that part and is marked incomplete.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from replicator.discovery.aws.client import RETRY_CAP, Aws
from replicator.discovery.aws.groups import Group, behind, named
from replicator.discovery.aws.instances import Instance, by_address, by_identity
from replicator.discovery.aws.policy import INSTANCE, Rule, heavier, of_target
from replicator.errors import DiscoveryError
from replicator.ports import Address, Candidate, Decision, PollResult

GROUPS_FOR = 60.0
"""Seconds for which the list of target groups is cached. A blue-green deployment is noticed within that time."""


class Target(NamedTuple):
    """A target of a target group. If its kind is `ip`, the identity is the address; otherwise it is the instance id."""

    identity: str
    kind: str
    group: str
    state: str
    rule: Rule


class BalancerProvider:
    """Implements `ports.Provider` with the Elastic Load Balancing v2 API.

    Args:
        aws: makes the calls.
        target_groups: names or ARNs.
        load_balancers: names or ARNs.
        interval: seconds between two polls.
    """

    certain = False
    retry_cap = RETRY_CAP

    def __init__(
        self,
        aws: Aws,
        *,
        target_groups: Sequence[str],
        load_balancers: Sequence[str],
        interval: float,
    ) -> None:
        self.name = "alb " + " ".join([*target_groups, *load_balancers])
        self.interval = interval
        self._aws = aws
        self._wanted: list[tuple[Callable[[Aws, str], Awaitable[list[Group]]], str]] = []
        self._wanted += [(named, name) for name in target_groups]
        self._wanted += [(behind, name) for name in load_balancers]
        self._groups: dict[str, tuple[float, list[Group]]] = {}
        self._notes: list[str] = []

    async def poll(self) -> PollResult:
        """Return all targets.

        Raises:
            DiscoveryError: if calls failed and no target was found.
        """
        self._notes = []
        failed: list[str] = []
        targets = await self._targets(await self._find_groups(failed), failed)
        if failed and not targets:
            raise DiscoveryError("; ".join(dict.fromkeys(failed)))
        candidates, unlocated = await self._locate(targets, failed)
        notes = dict.fromkeys([*failed, *self._notes])
        return PollResult(tuple(candidates), tuple(notes), complete=not failed, unlocated=unlocated)

    async def _find_groups(self, failed: list[str]) -> list[Group]:
        found: dict[str, Group] = {}
        for find, name in self._wanted:
            at, groups = self._groups.get(name, (-GROUPS_FOR, []))
            if time.monotonic() - at > GROUPS_FOR:
                try:
                    groups = await find(self._aws, name)
                    self._groups[name] = time.monotonic(), groups
                except (DiscoveryError, LookupError, TypeError) as error:
                    failed.append(_said(error, f"the target groups of {name}"))
            found |= {group.arn: group for group in groups}
        return list(found.values())

    async def _targets(self, groups: Sequence[Group], failed: list[str]) -> list[Target]:
        found: dict[str, Target] = {}
        for group in groups:
            if group.kind not in ("instance", "ip"):
                self._notes.append(f"{group.name}: targets of type {group.kind!r} hold no files")
                continue
            try:
                for target in await self._health(group):
                    known = found.setdefault(target.identity, target)
                    if heavier(known.rule, target.rule) is not known.rule:
                        found[target.identity] = target
            except (DiscoveryError, LookupError, TypeError, AttributeError) as error:
                failed.append(_said(error, f"the targets of {group.name}"))
        return list(found.values())

    async def _health(self, group: Group) -> list[Target]:
        pages = await self._aws.call("elbv2", "describe_target_health", TargetGroupArn=group.arn)
        targets = []
        for row in (row for page in pages for row in page["TargetHealthDescriptions"]):
            health = row.get("TargetHealth", {})
            state = health.get("State", "unknown")
            rule = of_target(state, health.get("Reason", ""))
            targets.append(Target(row["Target"]["Id"], group.kind, group.name, state, rule))
        return targets

    async def _locate(
        self, targets: Sequence[Target], failed: list[str]
    ) -> tuple[list[Candidate], frozenset[str]]:
        """Add addresses to targets; return the candidates, and the ids of the instances without a known address."""
        by_id = {t.identity: t for t in targets if t.kind == "instance"}
        by_ip = {t.identity: t for t in targets if t.kind == "ip"}
        instances: dict[str, Instance] = {}
        owners: dict[str, Instance] = {}
        try:
            if by_id:
                instances = await by_identity(self._aws, by_id)
            if by_ip:
                owners = await by_address(self._aws, [ip for ip in by_ip if ":" not in ip])
        except (DiscoveryError, LookupError, TypeError, AttributeError) as error:
            # Targets by address can be served without EC2's answer, targets by instance id cannot.
            said = _said(error, "the instances")
            (failed if by_id else self._notes).append(said)
        found = {t.identity: (t, instances.get(t.identity)) for t in by_id.values()}
        found |= {t.identity: (t, owners.get(t.identity)) for t in by_ip.values()}
        candidates: dict[str, Candidate] = {}
        unlocated = set()
        for target, instance in found.values():
            candidate = _candidate(target, instance)
            if candidate.address.host:
                candidates.setdefault(candidate.address.host, candidate)
            elif candidate.decision is not Decision.DROP:
                unlocated.add(target.identity)
                if not failed:  # otherwise the failed call explains it
                    self._notes.append(f"{target.identity}: EC2 reports no address yet")
        return list(candidates.values()), frozenset(unlocated)


def _candidate(target: Target, instance: Instance | None) -> Candidate:
    is_ip = target.kind == "ip"
    rule = target.rule
    state = target.state
    if instance is not None and not is_ip and instance.state in INSTANCE:
        rule, state = INSTANCE[instance.state], f"{state}, {instance.state}"
    host = target.identity if is_ip else (instance.address if instance else "")
    identity = (instance.identity if instance else "") if is_ip else target.identity
    return Candidate(
        Address(host), f"alb {target.group}", identity, state, rule.decision, rule.reason
    )


def _said(error: Exception, what: str) -> str:
    return (
        str(error) if isinstance(error, DiscoveryError) else f"{what}: malformed answer: {error!r}"
    )
