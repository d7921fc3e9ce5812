"""The frontends behind load balancers: moto's API where it can, recorded answers where it cannot."""

import asyncio

import pytest

from replicator.discovery.aws.balancer import BalancerProvider
from replicator.discovery.aws.client import Aws
from replicator.errors import ActionDenied, DiscoveryError
from replicator.ports import Decision
from tests.support import aws as cloud
from tests.support.aws import REGION, Cloud, Recorded


@pytest.fixture(scope="module")
def moto():
    with Cloud() as made:
        yield made


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    cloud.set_credentials(monkeypatch)


def provider(url, groups=(), balancers=()):
    aws = Aws(region=REGION, endpoint_url=url)
    return BalancerProvider(
        aws,
        target_groups=groups,
        load_balancers=balancers,
        interval=1.0,
    )


def poll(made):
    return asyncio.run(made.poll())


def hosts(answer):
    return sorted(candidate.address.host for candidate in answer.candidates)


def one(answer, host):
    (found,) = [s for s in answer.candidates if s.address.host == host]
    return found


# moto: the shapes of the real API, over HTTP.


def test_targets_of_type_instance_are_found_at_their_private_addresses(moto):
    group = moto.target_group("web")
    ids = moto.instances("10.0.0.11", "10.0.1.12")
    moto.register(group, *ids)

    for name in ("web", group):
        answer = poll(provider(moto.url, [name]))
        assert hosts(answer) == ["10.0.0.11", "10.0.1.12"]
        assert answer.complete
    assert one(answer, "10.0.0.11").identity == ids[0]
    assert one(answer, "10.0.0.11").source == "alb web"


def test_the_groups_of_a_load_balancer_include_those_of_its_rules_weighted_ones_too(moto):
    green, blue, canary = (moto.target_group(name, "ip") for name in ("green", "blue", "canary"))
    _, listener = moto.load_balancer("shop", green)
    moto.weighted_rule(listener, blue, canary)
    for n, group in enumerate((green, blue, canary)):
        moto.register(group, f"10.0.0.{100 + n}")

    answer = poll(provider(moto.url, balancers=["shop"]))

    assert hosts(answer) == ["10.0.0.100", "10.0.0.101", "10.0.0.102"]


def test_a_group_that_does_not_exist_leaves_the_others_and_makes_the_answer_incomplete(moto):
    group = moto.target_group("real", "ip")
    moto.register(group, "10.0.0.77")

    answer = poll(provider(moto.url, ["real", "imagined"]))

    assert hosts(answer) == ["10.0.0.77"]
    assert not answer.complete
    assert "TargetGroupNotFound" in " ".join(answer.notes)


def test_an_address_is_traced_to_its_instance_so_that_its_reuse_can_be_seen(moto):
    (identity,) = moto.instances("10.0.0.55")
    group = moto.target_group("traced", "ip")
    moto.register(group, "10.0.0.55")

    assert one(poll(provider(moto.url, ["traced"])), "10.0.0.55").identity == identity


def test_more_instances_than_a_filter_holds_are_asked_for_in_several_calls(moto, monkeypatch):
    monkeypatch.setattr("replicator.discovery.aws.instances.FILTER_VALUES", 2)
    group = moto.target_group("many")
    moto.register(group, *moto.instances(*(f"10.0.1.{n}" for n in range(60, 65))))

    assert len(poll(provider(moto.url, ["many"])).candidates) == 5


# Recorded answers: states, errors and shapes that moto does not make.


def recorded(*targets, kind="ip", **answers):
    answers.setdefault("DescribeTargetGroups", cloud.target_groups("web", kind=kind))
    answers.setdefault("DescribeTargetHealth", cloud.health(*targets))
    answers.setdefault("DescribeInstances", cloud.instances())
    return Recorded(**answers)


@pytest.mark.parametrize(
    ("state", "reason", "decision"),
    [
        ("initial", "Elb.RegistrationInProgress", Decision.SERVE),
        ("healthy", "", Decision.SERVE),
        ("unhealthy", "Target.ResponseCodeMismatch", Decision.SERVE),
        ("unavailable", "Target.HealthCheckDisabled", Decision.SERVE),
        ("unused", "Target.NotInUse", Decision.SERVE),
        ("unused", "Target.InvalidState", Decision.DROP),
        ("draining", "Target.DeregistrationInProgress", Decision.DRAIN),
        ("unhealthy.draining", "", Decision.DRAIN),
        ("levitating", "", Decision.SERVE),
    ],
)
def test_every_state_has_a_rule_and_a_reason(state, reason, decision):
    with recorded(("10.0.0.1", state, reason)) as api:
        candidate = one(poll(provider(api.url, ["web"])), "10.0.0.1")
    assert candidate.decision is decision
    assert candidate.state == state
    assert candidate.reason


def test_ipv6_targets_and_one_target_on_two_ports():
    twice = [("fd00::7", "draining", "", 80), ("fd00::7", "healthy", "", 8080)]
    with recorded(*twice, ("10.0.0.1", "healthy")) as api:
        answer = poll(provider(api.url, ["web"]))
    assert hosts(answer) == ["10.0.0.1", "fd00::7"]
    assert str(one(answer, "fd00::7").address) == "[fd00::7]"
    assert one(answer, "fd00::7").decision is Decision.SERVE  # in use on one port is in use


def test_instances_that_are_stopped_or_terminated_are_dropped():
    targets = [("i-1", "unused", "Target.NotInUse"), ("i-2", "healthy"), ("i-3", "healthy")]
    rows = [("i-1", "stopped", "10.0.0.1"), ("i-2", "running", "10.0.0.2")]
    rows += [("i-3", "terminated", "")]
    with recorded(*targets, kind="instance", DescribeInstances=cloud.instances(*rows)) as api:
        answer = poll(provider(api.url, ["web"]))
    assert one(answer, "10.0.0.1").decision is Decision.DROP
    assert one(answer, "10.0.0.2").decision is Decision.SERVE
    assert len(answer.candidates) == 2
    assert not answer.unlocated


def test_an_instance_that_ec2_does_not_know_yet_leaves_the_others_and_is_named():
    targets = [(f"i-{n}", "healthy") for n in range(10)]
    rows = [(f"i-{n}", "running", f"10.0.0.{n}" if n != 8 else "") for n in range(9)]
    with recorded(*targets, kind="instance", DescribeInstances=cloud.instances(*rows)) as api:
        answer = poll(provider(api.url, ["web"]))
    assert len(answer.candidates) == 8
    assert answer.complete
    assert answer.unlocated == {"i-8", "i-9"}


def test_instances_come_in_pages():
    def pages(fields):
        if "NextToken" in fields:
            return cloud.instances(("i-2", "running", "10.0.0.2"))
        return cloud.instances(("i-1", "running", "10.0.0.1"), token="more")

    targets = [("i-1", "healthy"), ("i-2", "healthy")]
    with recorded(*targets, kind="instance", DescribeInstances=pages) as api:
        answer = poll(provider(api.url, ["web"]))
    assert hosts(answer) == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (cloud.error("Throttling", "Rate exceeded"), "Throttling: Rate exceeded"),
        (cloud.error("ServiceUnavailable", "", 503), "ServiceUnavailable"),
        ((500, ""), "500"),
        ((200, "<DescribeTargetHealthResponse><Descr"), "malformed answer"),
        ((200, "<html>captive portal</html>"), "malformed answer"),
        (cloud.error("ExpiredToken", "The token is old"), "credentials are refused"),
        (None, "Connection was closed"),
    ],
    ids=["throttled", "unavailable", "500", "truncated", "html", "expired", "hung up"],
)
def test_an_answer_that_is_none_is_an_error_in_one_line(answer, words):
    with (
        recorded(DescribeTargetHealth=lambda _: answer) as api,
        pytest.raises(DiscoveryError) as caught,
    ):
        poll(provider(api.url, ["web"]))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_html_instead_of_instances_is_no_answer_without_instances():
    page = (200, "<html>captive portal</html>")
    with recorded(("i-1", "healthy"), kind="instance", DescribeInstances=page) as api:
        answer = poll(provider(api.url, ["web"]))
    assert not answer.complete


def test_an_answer_without_the_named_group_is_an_error():
    with (
        recorded(("10.0.0.1", "healthy"), DescribeTargetGroups=cloud.target_groups()) as api,
        pytest.raises(DiscoveryError, match="no target group web"),
    ):
        poll(provider(api.url, ["web"]))


def test_one_group_that_fails_costs_its_part_only():
    groups = cloud.target_groups("web", "api")

    def health(fields):
        if fields["TargetGroupArn"].endswith("api"):
            return cloud.error("Throttling", "Rate exceeded")
        return cloud.health(("10.0.0.1", "healthy"))

    with recorded(DescribeTargetGroups=groups, DescribeTargetHealth=health) as api:
        answer = poll(provider(api.url, ["web"]))
    assert hosts(answer) == ["10.0.0.1"]
    assert not answer.complete


def test_a_missing_permission_is_named_and_the_rest_goes_on():
    denied = cloud.ec2_error("UnauthorizedOperation", "You are not authorized", 403)
    with recorded(("10.0.0.1", "healthy"), DescribeInstances=denied) as api:
        answer = poll(provider(api.url, ["web"]))
    assert hosts(answer) == ["10.0.0.1"]  # an address can be dialled without knowing whose it is
    assert answer.complete
    assert "the IAM permission ec2:DescribeInstances is missing" in " ".join(answer.notes)

    with recorded(("i-1", "healthy"), kind="instance", DescribeInstances=denied) as api:
        answer = poll(provider(api.url, ["web"]))
    assert answer.unlocated == {"i-1"}
    assert not answer.complete


def test_without_the_first_permission_of_all_there_is_no_answer():
    denied = cloud.error("AccessDenied", "User: arn:aws:sts::1:x is not authorized", 403)
    with recorded(DescribeTargetHealth=denied) as api, pytest.raises(DiscoveryError) as caught:
        poll(provider(api.url, ["web"]))
    assert "elasticloadbalancing:DescribeTargetHealth is missing" in str(caught.value)


def test_groups_are_asked_for_once_a_minute_and_targets_every_time():
    with recorded(("10.0.0.1", "healthy")) as api:
        made = provider(api.url, ["web"])
        for _ in range(3):
            poll(made)
    assert api.asked["DescribeTargetGroups"] == 1
    assert api.asked["DescribeTargetHealth"] == 3


def test_groups_of_functions_and_balancers_hold_no_files():
    with recorded(kind="lambda") as api:
        answer = poll(provider(api.url, ["web"]))
    assert "'lambda' hold no files" in " ".join(answer.notes)
    assert not api.asked["DescribeTargetHealth"]


def test_without_credentials_the_error_names_their_sources(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with recorded() as api, pytest.raises(DiscoveryError, match=r"credentials.*hop limit"):
        poll(provider(api.url, ["web"]))


async def test_a_denied_action_is_an_error_of_its_own():
    denied = cloud.error("AccessDenied", "no", 403)
    with recorded(DescribeTargetGroups=denied) as api:
        aws = Aws(region=REGION, endpoint_url=api.url)
        with pytest.raises(ActionDenied) as caught:
            await aws.call("elbv2", "describe_target_groups")
        aws.close()
    assert caught.value.action == "elasticloadbalancing:DescribeTargetGroups"
