"""Contract of ports.LaunchControl: Auto Scaling's API, as recorded answers that follow the calls, and FakeLaunches pass the same tests.

moto implements no lifecycle actions.
"""

from dataclasses import replace

import pytest

from replicator.discovery.aws.client import Aws
from replicator.discovery.aws.scaling import ScalingLaunches
from replicator.errors import DiscoveryError
from replicator.ports import Launch
from tests.support import aws as cloud
from tests.support.fakes.launches import FakeLaunches

LAUNCH = Launch("shop", "fill", "i-1", 300.0)
OTHER = Launch("shop", "fill", "i-2", 300.0)


class Scaling:
    """An Auto Scaling group in which two instances wait."""

    def __init__(self, patch):
        cloud.set_credentials(patch)
        self._states = {"i-1": "Pending:Wait", "i-2": "Pending:Wait"}
        self._api = cloud.Recorded(
            DescribeAutoScalingGroups=lambda _: cloud.scaling_group("shop", *self._states.items()),
            RecordLifecycleActionHeartbeat=self._heartbeat,
            CompleteLifecycleAction=self._complete,
        )
        self._api.__enter__()
        self._aws = Aws(region=cloud.REGION, endpoint_url=self._api.url)
        self.control = ScalingLaunches(self._aws)
        self.heartbeats = []
        self.completed = {}

    def _active(self, fields):
        waits = self._states.get(fields["InstanceId"]) == "Pending:Wait"
        return waits and fields["LifecycleHookName"] == "fill"

    def _heartbeat(self, fields):
        if not self._active(fields):
            return _inactive(fields)
        self.heartbeats.append(fields["InstanceId"])
        return cloud.done("RecordLifecycleActionHeartbeat")

    def _complete(self, fields):
        if not self._active(fields):
            return _inactive(fields)
        ready = fields["LifecycleActionResult"] == "CONTINUE"
        self.completed[fields["InstanceId"]] = ready
        self._states[fields["InstanceId"]] = "InService" if ready else "Terminating"
        return cloud.done("CompleteLifecycleAction")

    def fail(self):
        for action in ("RecordLifecycleActionHeartbeat", "CompleteLifecycleAction"):
            self._api.answers[action] = cloud.error("AccessDenied", "no", 403)

    def close(self):
        self._aws.close()
        self._api.__exit__()


def _inactive(fields):
    instance = fields["InstanceId"]
    return cloud.error("ValidationError", f"No active Lifecycle Action found with instance ID {instance}")  # fmt: skip


class Fake:
    """FakeLaunches in which two instances wait."""

    def __init__(self, _patch):
        self.control = FakeLaunches(LAUNCH, OTHER)

    @property
    def heartbeats(self):
        return [launch.instance for launch in self.control.heartbeats]

    @property
    def completed(self):
        return {launch.instance: ready for launch, ready in self.control.completed.items()}

    def fail(self):
        self.control.failure = "autoscaling: access denied"

    def close(self):
        pass


@pytest.fixture(params=[Scaling, Fake], ids=lambda made: made.__name__)
def world(request, monkeypatch):
    made = request.param(monkeypatch)
    yield made
    made.close()


async def test_a_heartbeat_is_for_the_instance_of_the_launch(world):
    await world.control.heartbeat(LAUNCH)
    await world.control.heartbeat(OTHER)
    await world.control.heartbeat(LAUNCH)
    assert world.heartbeats == ["i-1", "i-2", "i-1"]
    assert world.completed == {}


@pytest.mark.parametrize("ready", [True, False])
async def test_an_instance_is_put_into_service_or_abandoned_and_no_other(world, ready):
    await world.control.complete(LAUNCH, ready=ready)
    assert world.completed == {"i-1": ready}


async def test_a_launch_that_has_ended_gets_no_heartbeat_and_is_completed_without_an_error(world):
    await world.control.complete(LAUNCH, ready=True)
    with pytest.raises(DiscoveryError, match="No active Lifecycle Action"):
        await world.control.heartbeat(LAUNCH)
    await world.control.complete(LAUNCH, ready=False)
    assert world.completed == {"i-1": True}
    assert world.heartbeats == []


async def test_the_action_of_another_hook_is_not_completed_while_the_instance_waits(world):
    replaced = replace(LAUNCH, hook="fill-v2")
    with pytest.raises(DiscoveryError, match="No active Lifecycle Action"):
        await world.control.complete(replaced, ready=True)
    with pytest.raises(DiscoveryError):
        await world.control.heartbeat(replaced)
    assert world.completed == {}


async def test_a_call_that_fails_is_a_discovery_error_with_a_reason_and_changes_nothing(world):
    world.fail()
    for _ in range(2):
        with pytest.raises(DiscoveryError) as caught:
            await world.control.heartbeat(LAUNCH)
        assert str(caught.value)
        with pytest.raises(DiscoveryError) as caught:
            await world.control.complete(LAUNCH, ready=True)
        assert str(caught.value)
    assert world.completed == {}
