"""Provider of the members of Auto Scaling groups, and control of their launch hooks.

A launch hook holds a new instance in `Pending:Wait`, before it is in any target group, until somebody completes the hook.
replicator fills the instance during that time, and then completes the hook.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from replicator.discovery.aws.client import RETRY_CAP, Aws
from replicator.discovery.aws.instances import Instance, by_identity
from replicator.discovery.aws.policy import INSTANCE, LAUNCHING, of_lifecycle
from replicator.errors import DiscoveryError
from replicator.ports import Address, Candidate, Decision, Launch, PollResult

LAUNCH = "autoscaling:EC2_INSTANCE_LAUNCHING"

HEARTBEAT_DEFAULT = 3600.0
"""Default of HeartbeatTimeout in seconds (Auto Scaling API, LifecycleHook)."""


class ScalingProvider:
    """Implements `ports.Provider` with the Auto Scaling API.

    Args:
        aws: makes the calls.
        groups: names of the Auto Scaling groups.
        hook: name of the launch hook that waits for replicator; empty: the group's only launch hook.
        interval: seconds between two polls.
    """

    certain = False
    retry_cap = RETRY_CAP

    def __init__(
        self,
        aws: Aws,
        *,
        groups: Sequence[str],
        hook: str,
        interval: float,
    ) -> None:
        self.name = "autoscaling " + " ".join(groups)
        self.interval = interval
        self._aws = aws
        self._groups = list(groups)
        self._hook = hook
        self._hooks: dict[str, dict[str, float]] = {}
        self._asked: set[str] = set()
        self._notes: list[str] = []

    async def poll(self) -> PollResult:
        """Return all members.

        Raises:
            DiscoveryError: if the groups or the addresses of their instances cannot be read.
        """
        self._notes = []
        self._asked = set()
        try:
            members = await self._members()
            instances = await by_identity(self._aws, members) if members else {}
        except (LookupError, TypeError, AttributeError) as error:
            raise DiscoveryError(f"autoscaling: malformed answer: {error!r}") from error
        candidates: list[Candidate] = []
        unlocated = set()
        for identity, (group, row) in members.items():
            candidate = await self._candidate(group, row, instances.get(identity))
            if candidate.address.host:
                candidates.append(candidate)
            elif candidate.decision is not Decision.DROP:
                unlocated.add(identity)
                self._notes.append(f"{identity}: EC2 reports no address yet")
        missing = set(self._groups) - {group for group, _ in members.values()} - self._seen
        self._notes += [f"there is no Auto Scaling group {name}" for name in sorted(missing)]
        return PollResult(
            tuple(candidates),
            tuple(self._notes),
            complete=not missing,
            unlocated=frozenset(unlocated),
        )

    async def _members(self) -> dict[str, tuple[str, dict[str, Any]]]:
        pages = await self._aws.call(
            "autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=self._groups
        )
        groups = [group for page in pages for group in page["AutoScalingGroups"]]
        self._seen = {group["AutoScalingGroupName"] for group in groups}
        return {
            row["InstanceId"]: (group["AutoScalingGroupName"], row)
            for group in groups
            for row in group.get("Instances", ())
        }

    async def _candidate(
        self, group: str, row: dict[str, Any], instance: Instance | None
    ) -> Candidate:
        state = row["LifecycleState"]
        rule = of_lifecycle(state)
        if instance is not None and instance.state in INSTANCE:
            rule, state = INSTANCE[instance.state], f"{state}, {instance.state}"
        launch = None
        if state in LAUNCHING and (hook := await self._launch_hook(group)) is not None:
            launch = Launch(group, hook[0], row["InstanceId"], hook[1])
        return Candidate(
            Address(instance.address if instance else ""),
            f"autoscaling {group}",
            row["InstanceId"],
            state,
            rule.decision,
            rule.reason,
            launch,
        )

    async def _launch_hook(self, group: str) -> tuple[str, float] | None:
        """Return name and heartbeat timeout (seconds) of the hook that waits for replicator; add a note and return None if unclear."""
        try:
            hooks = await self._launch_hooks(group)
        except DiscoveryError as error:
            self._notes.append(str(error))
            return (self._hook, HEARTBEAT_DEFAULT) if self._hook else None
        name = self._hook or (next(iter(hooks)) if len(hooks) == 1 else "")
        if name in hooks:
            return name, hooks[name]
        self._notes.append(
            f"{group}: it has no launch hook {self._hook}, which discovery.lifecycle_hook names"
            if self._hook
            else f"{group}: it is not clear which launch hook waits for replicator: name it in discovery.lifecycle_hook"
        )
        return None

    async def _launch_hooks(self, group: str) -> dict[str, float]:
        """Return the heartbeat timeouts (seconds) of a group's launch hooks, by name.

        Each poll that finds a waiting instance asks once, because hooks and their timeouts may change while the daemon runs.
        If the call fails, the last answer is used, so that a launch in progress continues.

        Raises:
            DiscoveryError: if the call fails and there is no earlier answer.
        """
        if group in self._asked:
            return self._hooks[group]
        try:
            pages = await self._aws.call(
                "autoscaling", "describe_lifecycle_hooks", AutoScalingGroupName=group
            )
        except DiscoveryError as error:
            if group not in self._hooks:
                raise
            self._notes.append(str(error))
        else:
            self._hooks[group] = {
                row["LifecycleHookName"]: float(row.get("HeartbeatTimeout", HEARTBEAT_DEFAULT))
                for page in pages
                for row in page["LifecycleHooks"]
                if row.get("LifecycleTransition") == LAUNCH
            }
        self._asked.add(group)
        return self._hooks[group]


class ScalingLaunches:
    """Implements `ports.LaunchControl` with the Auto Scaling API.

    Args:
        aws: makes the calls.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    async def heartbeat(self, launch: Launch) -> None:
        """Restart the hook's timeout.

        Raises:
            DiscoveryError: if the call fails.
        """
        await self._aws.call("autoscaling", "record_lifecycle_action_heartbeat", **_names(launch))

    async def complete(self, launch: Launch, *, ready: bool) -> None:
        """Put the instance into service (`ready`), or abandon it. It is no error if the instance no longer waits.

        The answer "No active Lifecycle Action found" does not prove that it no longer waits: the API also gives it when the
        action belongs to another hook, or is too new to be known to all API servers. So this method checks the instance's state.

        Raises:
            DiscoveryError: if the call fails and the instance still waits.
        """
        try:
            await self._aws.call(
                "autoscaling",
                "complete_lifecycle_action",
                LifecycleActionResult="CONTINUE" if ready else "ABANDON",
                **_names(launch),
            )
        except DiscoveryError as error:
            if "No active Lifecycle Action found" not in str(error):
                raise
            state = await self._state(launch)
            if state in LAUNCHING:
                raise DiscoveryError(f"{error}, but the instance is still in {state}") from error

    async def _state(self, launch: Launch) -> str:
        """Return the lifecycle state of a launch's instance; empty if the instance is no longer in the group."""
        pages = await self._aws.call(
            "autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[launch.group]
        )
        try:
            rows = [
                row
                for page in pages
                for one in page["AutoScalingGroups"]
                for row in one["Instances"]
            ]
            states = {row["InstanceId"]: str(row["LifecycleState"]) for row in rows}
        except (LookupError, TypeError) as error:
            raise DiscoveryError(f"autoscaling: malformed answer: {error!r}") from error
        return states.get(launch.instance, "")


def _names(launch: Launch) -> dict[str, str]:
    return {
        "AutoScalingGroupName": launch.group,
        "LifecycleHookName": launch.hook,
        "InstanceId": launch.instance,
    }
