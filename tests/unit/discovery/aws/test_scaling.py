"""Auto Scaling groups: which instances a hook holds, which are leaving, and completing the hook. moto does not support `Pending:Wait`."""

import asyncio

import pytest

from replicator.discovery.aws.client import Aws
from replicator.discovery.aws.scaling import ScalingLaunches, ScalingProvider
from replicator.errors import DiscoveryError
from replicator.ports import Decision, Launch
from tests.support import aws as cloud
from tests.support.aws import REGION, Recorded

LAUNCH = Launch("shop", "fill", "i-1", 300.0)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    cloud.set_credentials(monkeypatch)


def api(*members, hooks=(("fill", 300),), rows=None, **more):
    located = rows or [(i, "running", f"10.0.0.{n}") for n, (i, _) in enumerate(members, 1)]
    return Recorded(
        DescribeAutoScalingGroups=cloud.scaling_group("shop", *members),
        DescribeLifecycleHooks=cloud.hooks(*hooks),
        DescribeInstances=cloud.instances(*located),
        **more,
    )


def poll(url, hook="", groups=("shop",)):
    made = ScalingProvider(
        Aws(region=REGION, endpoint_url=url),
        groups=groups,
        hook=hook,
        interval=1.0,
    )
    return asyncio.run(made.poll())


def test_an_instance_in_pending_wait_is_served_and_its_launch_is_known():
    with api(("i-1", "Pending:Wait"), ("i-2", "InService")) as server:
        waiting, serving = poll(server.url).candidates
    assert waiting.launch == LAUNCH
    assert waiting.decision is Decision.SERVE
    assert waiting.address.host == "10.0.0.1"
    assert serving.launch is None


@pytest.mark.parametrize(
    ("state", "decision"),
    [
        ("Pending", Decision.SERVE),
        ("Pending:Proceed", Decision.SERVE),
        ("Standby", Decision.SERVE),
        ("Quarantined", Decision.SERVE),
        ("Terminating:Wait", Decision.DROP),
        ("Terminating", Decision.DROP),
        ("Detached", Decision.DROP),
        ("Warmed:Stopped", Decision.DROP),
    ],
)
def test_every_lifecycle_state_has_a_rule(state, decision):
    with api(("i-1", state)) as server:
        (candidate,) = poll(server.url).candidates
    assert (candidate.decision, candidate.launch) == (decision, None)


def test_of_several_hooks_the_one_that_waits_for_us_must_be_named():
    with api(("i-1", "Pending:Wait"), hooks=(("fill", 300), ("warm", 60))) as server:
        unclear, named = poll(server.url), poll(server.url, hook="warm")
    assert unclear.candidates[0].launch is None
    assert "name it in discovery.lifecycle_hook" in " ".join(unclear.notes)
    assert named.candidates[0].launch == Launch("shop", "warm", "i-1", 60.0)


def test_a_named_hook_that_the_group_does_not_have_is_reported_as_missing():
    with api(("i-1", "Pending:Wait"), hooks=(("fill", 300),)) as server:
        result = poll(server.url, hook="warm")
    assert result.candidates[0].launch is None
    assert result.notes == (
        "shop: it has no launch hook warm, which discovery.lifecycle_hook names",
    )


def test_a_group_that_does_not_exist_is_named():
    with api(("i-1", "InService")) as server:
        answer = poll(server.url, groups=("shop", "shpo"))
    assert not answer.complete
    assert answer.notes == ("there is no Auto Scaling group shpo",)


def test_without_the_right_to_see_hooks_the_members_are_served_all_the_same():
    denied = cloud.error("AccessDenied", "no", 403)
    with api(("i-1", "Pending:Wait")) as server:
        server.answers["DescribeLifecycleHooks"] = denied
        answer = poll(server.url)
        named = poll(server.url, hook="fill")
    assert answer.candidates[0].launch is None
    assert "autoscaling:DescribeLifecycleHooks is missing" in " ".join(answer.notes)
    assert named.candidates[0].launch.hook == "fill"


async def test_heartbeats_and_completion_name_the_launch():
    with api(
        RecordLifecycleActionHeartbeat=cloud.done("RecordLifecycleActionHeartbeat"),
        CompleteLifecycleAction=cloud.done("CompleteLifecycleAction"),
    ) as server:
        aws = Aws(region=REGION, endpoint_url=server.url)
        control = ScalingLaunches(aws)
        await control.heartbeat(LAUNCH)
        await control.complete(LAUNCH, ready=True)
        await control.complete(LAUNCH, ready=False)
        aws.close()
    sent = [
        (action, fields["InstanceId"], fields["LifecycleHookName"], fields.get("LifecycleActionResult"))
        for action, fields in server.requests
    ]  # fmt: skip
    assert sent == [
        ("RecordLifecycleActionHeartbeat", "i-1", "fill", None),
        ("CompleteLifecycleAction", "i-1", "fill", "CONTINUE"),
        ("CompleteLifecycleAction", "i-1", "fill", "ABANDON"),
    ]


async def test_completing_what_does_not_wait_any_more_is_no_error_and_any_other_failure_is():
    gone = cloud.error("ValidationError", "No active Lifecycle Action found with instance ID i-1")
    with api(("i-1", "InService"), CompleteLifecycleAction=gone) as server:
        aws = Aws(region=REGION, endpoint_url=server.url)
        await ScalingLaunches(aws).complete(LAUNCH, ready=True)
        server.answers["DescribeAutoScalingGroups"] = cloud.scaling_group("shop")
        await ScalingLaunches(aws).complete(LAUNCH, ready=True)
        server.answers["CompleteLifecycleAction"] = cloud.error("AccessDenied", "no", 403)
        with pytest.raises(DiscoveryError, match="autoscaling:CompleteLifecycleAction is missing"):
            await ScalingLaunches(aws).complete(LAUNCH, ready=True)
        aws.close()


@pytest.mark.parametrize("state", ["Pending:Wait", "Warmed:Pending:Wait"])
async def test_no_action_for_an_instance_that_still_waits_is_an_error(state):
    """State and action reach the API's answers one after the other: if the hook is completed too early, the group waits for its time limit."""
    gone = cloud.error("ValidationError", "No active Lifecycle Action found with instance ID i-1")
    with api(("i-2", "InService"), ("i-1", state), CompleteLifecycleAction=gone) as server:
        aws = Aws(region=REGION, endpoint_url=server.url)
        with pytest.raises(DiscoveryError, match=f"still in {state}"):
            await ScalingLaunches(aws).complete(LAUNCH, ready=True)
        server.answers["DescribeAutoScalingGroups"] = cloud.error("Throttling", "slow", 400)
        with pytest.raises(DiscoveryError, match="Throttling"):
            await ScalingLaunches(aws).complete(LAUNCH, ready=True)
        aws.close()


async def test_a_replaced_hook_or_a_new_time_limit_is_known_after_the_next_poll():
    with api(("i-1", "Pending:Wait"), ("i-2", "Pending:Wait")) as server:
        aws = Aws(region=REGION, endpoint_url=server.url)
        provider = ScalingProvider(aws, groups=("shop",), hook="", interval=1.0)

        async def launches():
            return [s.launch for s in (await provider.poll()).candidates]

        assert await launches() == [Launch("shop", "fill", i, 300.0) for i in ("i-1", "i-2")]
        server.answers["DescribeLifecycleHooks"] = cloud.hooks(("fill-v2", 60))
        assert await launches() == [Launch("shop", "fill-v2", i, 60.0) for i in ("i-1", "i-2")]
        # An error changes nothing: a launch that is attended would be begun anew.
        server.answers["DescribeLifecycleHooks"] = cloud.error("Throttling", "slow", 400)
        assert await launches() == [Launch("shop", "fill-v2", i, 60.0) for i in ("i-1", "i-2")]
        aws.close()
    asked = [action for action, _ in server.requests if action == "DescribeLifecycleHooks"]
    assert len(asked) <= 4  # once a poll for both; a throttled call is tried twice
