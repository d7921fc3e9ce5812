"""Every state has a rule with a reason, the documents agree, and no call is without its permission."""

import json
import re
from pathlib import Path

import pytest

from replicator.discovery.aws import policy
from replicator.discovery.aws.policy import Rule, heavier, of_lifecycle, of_target
from replicator.ports import Decision
from replicator.store.failures import ACTIONS

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("state", "one"),
    [
        *policy.TARGET.items(),
        *policy.INSTANCE.items(),
        ("Target.InvalidState", policy.INVALID_STATE),
        ("any other", of_target("new", "")),
        *((state, of_lifecycle(state)) for state in policy.LAUNCHING),
        *((state, of_lifecycle(state)) for state in ("Detached", "Warmed:Stopped")),
    ],
)
def test_the_document_has_the_decision_and_the_reason_of_every_state(state, one):
    decision = {"serve": "served", "drain": "served, last in the queue", "drop": "dropped"}
    document = (ROOT / "docs/discovery.md").read_text()
    rows = [line for line in document.splitlines() if f"| {decision[one.decision.value]} |" in line]
    assert any(state in row.split("|")[1] and f"| {one.reason} |" in row for row in rows)


def test_the_documents_policy_allows_exactly_what_we_call():
    services = {"elbv2": "elasticloadbalancing", "ec2": "ec2", "autoscaling": "autoscaling", "cloudformation": "cloudformation"}  # fmt: skip
    calls = set()
    for file in (*(ROOT / "replicator/discovery/aws").glob("*.py"), ROOT / "replicator/doctor/cloud.py"):  # fmt: skip
        for service, operation in re.findall(r'"(elbv2|ec2|autoscaling|cloudformation)",\s*"([a-z_]+)"', file.read_text()):  # fmt: skip
            name = "".join(word.capitalize() for word in operation.split("_"))
            calls.add(f"{services[service]}:{name}")
    store = (ROOT / "replicator/store/s3.py").read_text()
    for operation in re.findall(
        r'client\.get_paginator\("(\w+)"|client\.([a-z]+_[a-z_]+)\(', store
    ):
        name = "".join(word.capitalize() for word in "".join(operation).split("_"))
        if name != "GeneratePresignedUrl":
            calls.add(f"s3:{ACTIONS.get(name, name)}")
    statements = json.loads((ROOT / "docs/iam-policy.json").read_text())["Statement"]
    allowed = set()
    for statement in statements:
        actions = statement["Action"]
        allowed |= {actions} if isinstance(actions, str) else set(actions)
    assert calls == allowed
    assert all("*" not in action for action in allowed)


def test_an_unknown_state_counts_as_present():
    assert of_target("levitating", "").decision is Decision.SERVE
    assert of_lifecycle("Levitating").decision is Decision.SERVE


def test_seen_twice_the_one_that_is_in_use_counts():
    serve, drain, drop = (Rule(decision, "") for decision in Decision)
    for one, other, expected in ((serve, drain, serve), (drop, drain, drain), (drop, serve, serve)):
        assert heavier(one, other) is expected
        assert heavier(other, one) is expected
