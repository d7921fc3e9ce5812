"""When a walk's result is not believed."""

import pytest

from replicator.core.guard import doubt


def test_a_source_that_lost_everything_is_in_doubt():
    assert "mounted" in doubt(known=3, met=0, vanished=3, replaced=False)


def test_another_directory_that_lacks_most_of_what_was_known_is_in_doubt():
    assert "another directory" in doubt(known=10, met=50, vanished=6, replaced=True)


@pytest.mark.parametrize(
    ("known", "met", "vanished", "replaced"),
    [
        (0, 0, 0, False),  # never held anything
        (1000, 1, 999, False),  # somebody cleaned up while we were down
        (10, 10, 0, True),  # the same files on another device number
        (10, 5, 5, True),
    ],
)
def test_anything_else_is_believed(known, met, vanished, replaced):
    assert doubt(known=known, met=met, vanished=vanished, replaced=replaced) == ""
