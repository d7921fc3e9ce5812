"""Whether a target shares files with a source, or will once both exist."""

import os

import pytest

from replicator.files import kin


def overlap(target, source):
    """Return what the agent finds after the backend has sent the identity of a source."""
    place = kin.place_of(os.fsencode(source))
    nearest, *above = place.chain
    missing = [(*nearest, place.missing)] if place.missing else []
    sources = set() if place.missing else {nearest}
    if place.missing:
        above.append(nearest)
    return kin.overlap(kin.place_of(os.fsencode(target)), sources, set(above), missing)


@pytest.mark.parametrize("exist", [(), ("a",), ("a/b",), ("a/b/c",), ("a/b/c", "a/b2", "x/b")])
@pytest.mark.parametrize(
    ("target", "source", "words"),
    [
        ("a/b", "a/b", "is the source"),
        ("a/b/c", "a/b", "lies in the source"),
        ("a/b", "a/b/c", "holds the source"),
        ("a/b2", "a/b", ""),
        ("a/b", "a/b2", ""),
        ("x/b", "a/b", ""),
        ("a/b/c", "a/b/d", ""),
    ],
)
def test_two_paths_overlap_alike_whether_they_exist_or_not(tmp_path, exist, target, source, words):
    for path in exist:
        (tmp_path / path).mkdir(parents=True)
    assert overlap(tmp_path / target, tmp_path / source) == words


def test_a_symlink_leads_to_the_directory_that_it_names(tmp_path):
    (tmp_path / "release").mkdir()
    (tmp_path / "current").symlink_to("release")
    assert overlap(tmp_path / "release", tmp_path / "current") == "is the source"
    assert overlap(tmp_path / "release/new", tmp_path / "current/new") == "is the source"
    assert overlap(tmp_path / "release/new", tmp_path / "current/other") == ""
