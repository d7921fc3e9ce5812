"""Failures of tasks: the exceptions in a group."""

from replicator.engine.supervision import leaves


def test_the_exceptions_in_nested_groups_are_returned_in_their_order():
    one, two, three = OSError("one"), ValueError("two"), KeyError("three")
    assert leaves(ExceptionGroup("", [ExceptionGroup("", [one, two]), three])) == [one, two, three]


def test_an_exception_outside_a_group_is_returned_itself():
    error = OSError("alone")
    assert leaves(error) == [error]
