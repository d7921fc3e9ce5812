"""`check` finds harmful AWS settings: groups of a load balancer, launch hooks, health checks."""

import pytest

from replicator.config import parse
from replicator.discovery.aws.client import Aws
from replicator.doctor.cloud import cloud_findings, own_targets
from replicator.ports import Address, Candidate, Decision
from tests.support import PROJECT
from tests.support import aws as cloud
from tests.support.aws import REGION, Cloud, Recorded

STACK = (
    "<ListStackResourcesResponse><ListStackResourcesResult><StackResourceSummaries><member>"
    "<LogicalResourceId>FillHook</LogicalResourceId><ResourceType>{kind}</ResourceType>"
    "</member></StackResourceSummaries></ListStackResourcesResult></ListStackResourcesResponse>"
)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    cloud.set_credentials(monkeypatch)


async def found(url, **discovery):
    raw = {"tree": [{"source": "/srv/a"}], "discovery": {"region": REGION, "endpoint_url": url, **discovery}}  # fmt: skip
    config = parse(raw, base=PROJECT)
    aws = Aws(region=REGION, endpoint_url=url)
    try:
        return await cloud_findings(config, aws)
    finally:
        aws.close()


def candidate(host, source="alb shop-web"):
    return Candidate(Address(host), source, "i-1", "healthy", Decision.SERVE, "")


async def test_a_load_balancer_with_the_backends_own_group_is_reported_with_the_fix():
    with Cloud() as api:
        web, backend = api.target_group("shop-web"), api.target_group("shop-backend")
        _, listener = api.load_balancer("shop", web)
        assert await found(api.url, provider="alb", load_balancer="shop") == []
        api.elb.create_rule(
            ListenerArn=listener,
            Priority=10,
            Conditions=[{"Field": "path-pattern", "Values": ["/wp-admin*"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": backend}],
        )
        (finding,) = await found(api.url, provider="alb", load_balancer="shop")
        assert finding.level == "warn"
        assert "shop-backend" in finding.what
        assert finding.fix == 'target_groups = ["shop-web"] instead of load_balancer'
        assert await found(api.url, provider="alb", target_groups="shop-web") == []


async def test_groups_that_share_the_normal_requests_are_not_reported():
    with Cloud() as api:
        blue, green = api.target_group("blue"), api.target_group("green")
        _, listener = api.load_balancer("shop", blue)
        api.elb.modify_listener(
            ListenerArn=listener,
            DefaultActions=[
                {
                    "Type": "forward",
                    "ForwardConfig": {
                        "TargetGroups": [{"TargetGroupArn": g, "Weight": 1} for g in (blue, green)]
                    },
                }
            ],
        )
        assert await found(api.url, provider="alb", load_balancer="shop") == []


def scaling_group(*, health="EC2", stack=""):
    tag = f"<Tags><member><Key>aws:cloudformation:stack-name</Key><Value>{stack}</Value></member></Tags>"
    return (
        "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member>"
        f"<AutoScalingGroupName>web</AutoScalingGroupName><HealthCheckType>{health}</HealthCheckType>{tag if stack else ''}"
        "</member></AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>"
    )


async def reported(**answers):
    answers = {
        "DescribeAutoScalingGroups": scaling_group(),
        "DescribeLifecycleHooks": cloud.hooks(("fill", 900)),
        **answers,
    }
    with Recorded(**answers) as api:
        rows = await found(api.url, provider="autoscaling", auto_scaling_groups="web")
        return [row.what for row in rows]


async def test_a_group_with_a_launch_hook_and_plain_health_checks_is_well():
    assert await reported() == []


@pytest.mark.parametrize("health", ["ELB", "EC2,ELB"])
async def test_health_checks_of_type_elb_are_reported(health):
    (what,) = await reported(DescribeAutoScalingGroups=scaling_group(health=health))
    assert "ELB" in what


async def test_a_group_without_a_launch_hook_is_reported():
    (what,) = await reported(DescribeLifecycleHooks=cloud.hooks())
    assert "no launch hook" in what


async def test_a_hook_that_lets_unfilled_instances_into_service_is_reported():
    hooks = cloud.hooks(("fill", 900)).replace("<HeartbeatTimeout>", "<DefaultResult>CONTINUE</DefaultResult><HeartbeatTimeout>")  # fmt: skip
    (what,) = await reported(DescribeLifecycleHooks=hooks)
    assert "fill has DefaultResult CONTINUE" in what


async def test_a_launch_hook_that_the_stack_declares_outside_of_the_group_is_reported():
    group = scaling_group(stack="shop")
    hook = STACK.format(kind="AWS::AutoScaling::LifecycleHook")
    (what,) = await reported(DescribeAutoScalingGroups=group, ListStackResources=hook)
    assert "the stack shop declares the launch hook FillHook outside of the group" in what
    other = STACK.format(kind="AWS::AutoScaling::ScalingPolicy")
    assert await reported(DescribeAutoScalingGroups=group, ListStackResources=other) == []


async def test_a_stack_that_cannot_be_listed_is_reported():
    denied = cloud.error("AccessDenied", "no", 403)
    group = scaling_group(stack="shop")
    (what,) = await reported(DescribeAutoScalingGroups=group, ListStackResources=denied)
    assert "cloudformation:ListStackResources" in what
    assert (
        await reported(DescribeAutoScalingGroups=scaling_group(), ListStackResources=denied) == []
    )


async def test_calls_of_discovery_without_permission_are_skipped():
    denied = cloud.error("AccessDenied", "no", 403)
    assert await reported(DescribeAutoScalingGroups=denied) == []


async def test_launch_hooks_that_cannot_be_read_are_reported_beside_the_rest():
    denied = cloud.error("AccessDenied", "no", 403)
    health, hooks = await reported(
        DescribeAutoScalingGroups=scaling_group(health="ELB"), DescribeLifecycleHooks=denied
    )
    assert "ELB" in health
    assert "autoscaling:DescribeLifecycleHooks" in hooks


def test_a_target_that_is_this_machine_is_a_failure(monkeypatch):
    ours = "192.0.2.7"
    monkeypatch.setattr("replicator.doctor.cloud.is_ours", lambda host: host == ours)
    (finding,) = own_targets([candidate(ours), candidate("192.0.2.8"), candidate(ours, "static")])
    assert finding.level == "fail"
    assert "the backend is treated as a frontend" in finding.what
    assert 'exclude = ["i-1"]' in finding.fix


def test_addresses_of_other_machines_names_and_loopback_are_not_ours():
    assert not list(own_targets(map(candidate, ("127.0.0.1", "::1", "192.0.2.1", "web1"))))
