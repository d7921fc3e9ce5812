"""Find AWS settings that are valid but harmful: they send requests to an empty frontend, or files to the wrong machine."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from replicator.config import Config
from replicator.discovery.aws.client import Aws
from replicator.discovery.aws.scaling import LAUNCH
from replicator.doctor.finding import Finding
from replicator.errors import ActionDenied, DiscoveryError
from replicator.ports import Candidate

_STACK = "aws:cloudformation:stack-name"
_TEMPLATE = "deploy/aws/template.yaml has an example"


async def cloud_findings(config: Config, aws: Aws) -> list[Finding]:
    """Return findings about the load balancers and Auto Scaling groups that the configuration names.

    Failed calls, but those for launch hooks, are skipped: `replicator discover` and the findings about discovery report them.
    """
    settings = config.discovery
    findings: list[Finding] = []
    for name in _several(settings.load_balancer):
        try:
            findings += await _examine_balancer(aws, name)
        except (DiscoveryError, LookupError, TypeError):
            continue
    for name in _several(settings.auto_scaling_groups):
        try:
            findings += await _examine_group(aws, name, settings.lifecycle_hook)
        except (DiscoveryError, LookupError, TypeError, AttributeError):
            continue
    return findings


def own_targets(candidates: Iterable[Candidate]) -> Iterator[Finding]:
    """Yield a finding for each load balancer target that is this machine."""
    for candidate in candidates:
        if candidate.source.startswith("alb ") and is_ours(candidate.address.host):
            group = candidate.source.removeprefix("alb ")
            yield Finding(
                "fail", f"discovery {candidate.source}", f"{candidate.address.host} is this machine: the backend is treated as a frontend",
                "the backend would be filled from itself",
                f"name the frontends' own group in discovery.target_groups instead of the load balancer or {group},"
                f' or set discovery.exclude = ["{candidate.identity or candidate.address.host}"]',
            )  # fmt: skip


async def _examine_balancer(aws: Aws, name: str) -> Iterator[Finding]:
    """Find target groups that get requests only by conditional rules, such as the backend's own target group."""
    key = "LoadBalancerArns" if name.startswith("arn:") else "Names"
    usual: set[str] = set()
    special: set[str] = set()
    for page in await aws.call("elbv2", "describe_load_balancers", **{key: [name]}):
        for balancer in page["LoadBalancers"]:
            for listener in await _listeners(aws, balancer["LoadBalancerArn"]):
                pages = await aws.call(
                    "elbv2", "describe_rules", ListenerArn=listener["ListenerArn"]
                )
                usual |= _forwarded(listener.get("DefaultActions", ()))
                for rule in (rule for page in pages for rule in page["Rules"]):
                    by_request = bool(rule.get("Conditions"))
                    (special if by_request else usual).update(_forwarded(rule.get("Actions", ())))
    return _balancer_findings(name, sorted(usual), sorted(special - usual))


def _balancer_findings(name: str, usual: list[str], special: list[str]) -> Iterator[Finding]:
    if usual and special:
        wanted = ", ".join(f'"{_name_of(arn)}"' for arn in usual)
        yield Finding(
            "warn", f"discovery.load_balancer {name}",
            f"it includes {', '.join(map(_name_of, special))}, which gets only certain requests, as the backend's own target group does",
            "its targets are treated as frontends; so is the backend if the instance metadata service does not answer",
            f"target_groups = [{wanted}] instead of load_balancer",
        )  # fmt: skip


async def _listeners(aws: Aws, balancer: str) -> list[dict[str, Any]]:
    pages = await aws.call("elbv2", "describe_listeners", LoadBalancerArn=balancer)
    return [listener for page in pages for listener in page["Listeners"]]


def _forwarded(actions: Iterable[dict[str, Any]]) -> set[str]:
    arns = set()
    for action in actions:
        arns |= {action["TargetGroupArn"]} if "TargetGroupArn" in action else set()
        weighted = action.get("ForwardConfig", {}).get("TargetGroups", ())
        arns |= {row["TargetGroupArn"] for row in weighted}
    return arns


def _name_of(arn: str) -> str:
    parts = arn.split(":targetgroup/")
    return parts[1].partition("/")[0] if len(parts) == 2 else arn


async def _examine_group(aws: Aws, name: str, hook: str) -> list[Finding]:
    subject = f"Auto Scaling group {name}"
    findings = []
    pages = await aws.call(
        "autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[name]
    )
    groups = [group for page in pages for group in page["AutoScalingGroups"]]
    for group in groups:
        if "ELB" in str(group.get("HealthCheckType", "")).split(","):
            findings.append(
                Finding(
                    "warn", subject, "its health checks are of type ELB",
                    "a frontend that only lags fails the load balancer's health check, and is terminated for that",
                    f"aws autoscaling update-auto-scaling-group --auto-scaling-group-name {name} --health-check-type EC2",
                )
            )  # fmt: skip
        findings += await _examine_stack(aws, subject, group)
    if not groups:
        return findings
    try:
        findings += _examine_hooks(subject, await _launch_hooks(aws, name), hook)
    except DiscoveryError as error:  # discovery asks for hooks only while an instance waits
        why = "it is not known whether it has a launch hook, and what that does with an instance that was not filled in time"
        denied = isinstance(error, ActionDenied)
        fix = "docs/iam-policy.json has the permissions" if denied else "run this again"
        findings.append(Finding("warn", subject, str(error), why, fix))
    return findings


async def _launch_hooks(aws: Aws, group: str) -> list[dict[str, Any]]:
    pages = await aws.call("autoscaling", "describe_lifecycle_hooks", AutoScalingGroupName=group)
    rows = [row for page in pages for row in page["LifecycleHooks"]]
    return [row for row in rows if row.get("LifecycleTransition") == LAUNCH]


def _examine_hooks(subject: str, hooks: list[dict[str, Any]], wanted: str) -> Iterator[Finding]:
    if not hooks:
        yield Finding(
            "warn", subject, "it has no launch hook", "a new instance gets requests before it has files, unless the health check asks for a ready file",
            f"put a hook for {LAUNCH} into the group's LifecycleHookSpecificationList: {_TEMPLATE}",
        )  # fmt: skip
    for row in hooks:
        name = row["LifecycleHookName"]
        if row.get("DefaultResult") == "CONTINUE" and wanted in ("", name):
            yield Finding(
                "warn", subject, f"its launch hook {name} has DefaultResult CONTINUE",
                "an instance that was not filled in time is put into service all the same", "set it to ABANDON",
            )  # fmt: skip


async def _examine_stack(aws: Aws, subject: str, group: dict[str, Any]) -> Iterator[Finding]:
    """Find launch hooks that the group's CloudFormation stack declares as separate resources, or that this cannot be known."""
    tags = {tag["Key"]: tag.get("Value", "") for tag in group.get("Tags", ())}
    if not tags.get(_STACK):
        return iter(())
    try:
        pages = await aws.call("cloudformation", "list_stack_resources", StackName=tags[_STACK])
    except ActionDenied as error:
        why = f"it is not known whether the stack {tags[_STACK]} declares a launch hook outside of the group"
        return iter([Finding("warn", subject, str(error), why, "grant it: docs/iam-policy.json")])
    except DiscoveryError:
        return iter(())
    rows = [row for page in pages for row in page["StackResourceSummaries"]]
    return _outside(subject, tags[_STACK], rows)


def _outside(subject: str, stack: str, rows: Iterable[dict[str, Any]]) -> Iterator[Finding]:
    for row in rows:
        if row.get("ResourceType") == "AWS::AutoScaling::LifecycleHook":
            yield Finding(
                "warn", subject, f"the stack {stack} declares the launch hook {row['LogicalResourceId']} outside of the group",
                "the first instances are launched before it exists, and get requests before they have files",
                f"move it into the group's LifecycleHookSpecificationList: {_TEMPLATE}",
            )  # fmt: skip


def is_ours(host: str) -> bool:
    """Return True if an address belongs to this machine; False for loopback addresses, which every machine has."""
    try:
        address = ipaddress.ip_address(host)
        if address.is_loopback:
            return False
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(
                (host, 0)
            )  # the kernel allows this only for local addresses (EADDRNOTAVAIL, bind(2))
    except (OSError, ValueError):
        return False
    return True


def _several(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) and value else list(value)
