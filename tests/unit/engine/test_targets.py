"""Identities of targets: a directory that another user could have put there is used only after `resume`."""

import pytest

from replicator.engine import targets as module
from replicator.engine.targets import Targets
from replicator.wire.messages import Opened

DOUBT = "/www belongs to www-data, who can replace what is in it"


def opened(identity, doubt=DOUBT):
    return Opened(1, 0, 0, identity=identity, doubt=doubt)


def test_another_directory_is_refused_until_an_operator_accepts_it_and_a_third_one_is_refused():
    targets = Targets()
    assert targets.refusal("a", b"/www/site", opened("1")) == ""
    assert targets.refusal("b", b"/www/site", opened("2")) == ""
    reason = targets.refusal("a", b"/www/site", opened("3"))
    assert DOUBT in reason
    assert targets.refusal("a", b"/www/other", opened("3")) == ""
    assert targets.accept_refused({"a"}, {b"/www/site"}) == {"a": reason}
    assert targets.accept_refused({"a"}, {b"/www/site"}) == {}
    assert targets.refusal("a", b"/www/site", opened("3")) == ""
    assert targets.refusal("a", b"/www/site", opened("1"))
    assert targets.refusal("a", b"/www/site", opened("3")) == ""
    assert targets.accept_refused({"a"}, {b"/www/site"}) == {}, "it is back"


@pytest.mark.parametrize("answer", [opened("2", doubt=""), opened("", doubt=""), opened("1")])
def test_a_target_that_no_other_user_could_replace_or_that_an_old_agent_opens_is_used(answer):
    targets = Targets({"a /www/site": "1"})
    assert targets.refusal("a", b"/www/site", answer) == ""


def test_changed_targets_are_saved_and_the_oldest_are_dropped():
    saved = []
    targets = Targets(write=saved.append)
    for number in range(module.MAX_TARGETS + 1):
        targets.refusal("a", b"/%d" % number, opened("1"))
    assert not targets.is_saved
    targets.save()
    assert targets.is_saved
    assert list(saved[0]) == [f"a /{number}" for number in range(1, module.MAX_TARGETS + 1)]
    targets.refusal("a", b"/2", opened("1"))
    assert targets.is_saved
