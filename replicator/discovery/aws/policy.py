"""Decide whether to serve, drain or drop a frontend by its state in AWS. `replicator discover` prints the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from replicator.ports import Decision


class Rule(NamedTuple):
    """A decision and its reason."""

    decision: Decision
    reason: str


_SERVE, _DRAIN, _DROP = Decision.SERVE, Decision.DRAIN, Decision.DROP

TARGET: Mapping[str, Rule] = {
    "initial": Rule(_SERVE, "its first health checks run: it must be filled before it gets requests"),
    "healthy": Rule(_SERVE, "the load balancer sends requests to it"),
    "unhealthy": Rule(_SERVE, "it may fail its health check because it lacks files"),
    "unavailable": Rule(_SERVE, "its health is not known: health checks are off"),
    "unused": Rule(_SERVE, "no listener uses its group or zone yet, but one may soon"),
    "draining": Rule(_DRAIN, "it is being deregistered: it may still answer requests, and may be registered again"),
    "unhealthy.draining": Rule(_DRAIN, "unhealthy, its last connections are being drained"),
}  # fmt: skip
"""Rule by state of a target (ELBv2 API, TargetHealth)."""

INVALID_STATE = Rule(_DROP, "the load balancer reports that the instance is stopped or terminated")

INSTANCE: Mapping[str, Rule] = {
    "stopping": Rule(_DROP, "the instance is being stopped"),
    "stopped": Rule(_DROP, "the instance is stopped"),
    "shutting-down": Rule(_DROP, "the instance is being terminated"),
    "terminated": Rule(_DROP, "the instance is terminated"),
}
"""Rule by state of an instance (EC2 API, InstanceState), for the states that override what a load balancer reports."""

LAUNCHING = ("Pending:Wait", "Warmed:Pending:Wait")
"""Lifecycle states in which a launch hook holds an instance."""

_GOING = ("Terminating", "Terminated", "Detached", "Warmed:Terminating", "Warmed:Terminated")
_ASLEEP = ("Warmed:Stopped", "Warmed:Hibernated")


def of_target(state: str, reason: str) -> Rule:
    """Return the rule for a target; an unknown state is served.

    Args:
        state: TargetHealth.State.
        reason: TargetHealth.Reason; empty if there is none.
    """
    if state == "unused" and reason == "Target.InvalidState":
        return INVALID_STATE
    return TARGET.get(
        state, Rule(_SERVE, "this state is unknown to replicator, which serves it all the same")
    )


def of_lifecycle(state: str) -> Rule:
    """Return the rule for a member of an Auto Scaling group by its state (Auto Scaling API, LifecycleState)."""
    if state in LAUNCHING:
        return Rule(_SERVE, "its group waits until it is filled")
    if state.startswith(_GOING):
        return Rule(_DROP, "its group is terminating it or has detached it")
    if state in _ASLEEP:
        return Rule(_DROP, "it is stopped in the warm pool")
    return Rule(_SERVE, "a member of its group")


def heavier(one: Rule, other: Rule) -> Rule:
    """Return the stronger of two policies for one frontend that is in two groups: serve before drain before drop."""
    order = (_SERVE, _DRAIN, _DROP)
    return one if order.index(one.decision) <= order.index(other.decision) else other
