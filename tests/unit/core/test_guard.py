"""When a walk's result is not believed."""

from replicator.core.guard import doubt


def test_a_source_that_lost_everything_is_in_doubt():
    assert "mounted" in doubt(known=3, met=0)


def test_a_source_that_never_held_anything_or_still_holds_something_is_not():
    assert doubt(known=0, met=0) == ""
    assert doubt(known=1000, met=1) == ""
