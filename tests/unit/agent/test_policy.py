"""What the frontend's own policy admits."""

import os

import pytest

from replicator.agent.file_writer import Owner
from replicator.agent.policy import Policy
from replicator.errors import NotAllowed

NONE = Owner()
ME = Owner(os.geteuid(), os.getegid())
OTHER = Owner(4711, 4712)


def test_without_options_files_belong_to_the_account_and_keep_no_setid_bits():
    assert Policy().admit(b"site", NONE, setid=False) == NONE
    assert Policy().admit(b"site", ME, setid=False) == ME
    for asked in (OTHER, Owner(-1, 4712), Owner(4711, -1)):
        with pytest.raises(NotAllowed, match="--owner"):
            Policy().admit(b"site", asked, setid=False)
    with pytest.raises(NotAllowed, match="--allow-setid"):
        Policy().admit(b"site", NONE, setid=True)


def test_of_an_account_that_cannot_give_files_away_the_kernel_refuses_what_it_is_asked():
    assert Policy(kernel_decides=True).admit(b"site", OTHER, setid=False) == OTHER
    with pytest.raises(NotAllowed):
        Policy(Owner(1, 1), kernel_decides=True).admit(b"site", OTHER, setid=False)
    with pytest.raises(NotAllowed):
        Policy(kernel_decides=True).admit(b"site", OTHER, setid=True)


def test_the_owner_that_is_fixed_is_given_and_no_other():
    policy = Policy(OTHER, setid=True)
    for asked in (NONE, OTHER, Owner(4711, -1)):
        assert policy.admit(b"site", asked, setid=True) == OTHER
    for asked in (Owner(0, 4712), Owner(4711, 0), Owner(0, 0)):
        with pytest.raises(NotAllowed):
            policy.admit(b"site", asked, setid=False)


def test_only_the_trees_that_are_named_may_be_targets():
    policy = Policy(trees=frozenset((b"a", b"b/c")))
    policy.admit(b"b/c", NONE, setid=False)
    for target in (b"", b"b", b"b/c/d", b"aa"):
        with pytest.raises(NotAllowed, match="--tree"):
            policy.admit(target, NONE, setid=False)
