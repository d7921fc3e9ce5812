"""What becomes of a frontend in each state that AWS knows. Pure; the reasons are what `replicator discover` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from replicator.ports import Decision


class Policy(NamedTuple):
    """A decision, and why."""

    decision: Decision
    reason: str


_SERVE, _DRAIN, _DROP = Decision.SERVE, Decision.DRAIN, Decision.DROP

TARGET: Mapping[str, Policy] = {
    "initial": Policy(_SERVE, "its first health checks run: it must be filled before visitors come"),
    "healthy": Policy(_SERVE, "visitors are sent to it"),
    "unhealthy": Policy(_SERVE, "it may fail its health check because it lacks files"),
    "unavailable": Policy(_SERVE, "its health is not known: health checks are off"),
    "unused": Policy(_SERVE, "no listener uses its group or zone yet: it may be next"),
    "draining": Policy(_DRAIN, "it is being deregistered: it may still answer visitors, and may be registered again"),
    "unhealthy.draining": Policy(_DRAIN, "unhealthy, its last connections are being drained"),
}  # fmt: skip
"""States of a target (ELBv2 API, TargetHealth)."""

INVALID_STATE = Policy(_DROP, "the load balancer says that the instance is stopped or terminated")

INSTANCE: Mapping[str, Policy] = {
    "stopping": Policy(_DROP, "the instance is being stopped"),
    "stopped": Policy(_DROP, "the instance is stopped"),
    "shutting-down": Policy(_DROP, "the instance is being terminated"),
    "terminated": Policy(_DROP, "the instance is terminated"),
}
"""States of an instance (EC2 API, InstanceState) that outweigh what a load balancer says; all others do not."""

LAUNCHING = ("Pending:Wait", "Warmed:Pending:Wait")
"""Lifecycle states in which a launch hook holds an instance back."""

_GOING = ("Terminating", "Terminated", "Detached", "Warmed:Terminating", "Warmed:Terminated")
_ASLEEP = ("Warmed:Stopped", "Warmed:Hibernated")


def of_target(state: str, reason: str) -> Policy:
    """Return what becomes of a target; a state that we do not know counts as being there."""
    if state == "unused" and reason == "Target.InvalidState":
        return INVALID_STATE
    return TARGET.get(state, Policy(_SERVE, "a state that we do not know: taken as being there"))


def of_lifecycle(state: str) -> Policy:
    """Return what becomes of a member of an Auto Scaling group (API, LifecycleState)."""
    if state in LAUNCHING:
        return Policy(_SERVE, "its group waits until it is filled")
    if state.startswith(_GOING):
        return Policy(_DROP, "its group is terminating or has let go of it")
    if state in _ASLEEP:
        return Policy(_DROP, "it sleeps in the warm pool")
    return Policy(_SERVE, "a member of its group")


def heavier(one: Policy, other: Policy) -> Policy:
    """Return the policy of one frontend that is seen twice by the same provider: being in use anywhere counts."""
    order = (_SERVE, _DRAIN, _DROP)
    return one if order.index(one.decision) <= order.index(other.decision) else other
