"""`check` tells the patterns of tree.exclude that have no effect."""

import pytest

from replicator.checkup.patterns import idle_patterns
from replicator.config import TreeSettings


@pytest.fixture
def idle(tmp_path):
    (tmp_path / "there").mkdir()

    def ask(*patterns):
        settings = TreeSettings(source=str(tmp_path), exclude=patterns)
        return dict(idle_patterns(settings))

    return ask


def test_an_absolute_path_is_told_with_what_to_write(idle, tmp_path):
    found = idle(f"{tmp_path}/cache/*", "cache/*", "/cache/*", "*.tmp", "/there/x")
    assert list(found) == [f"{tmp_path}/cache/*"]
    assert found[f"{tmp_path}/cache/*"].endswith("write /cache/*")


def test_an_absolute_path_outside_the_source_is_told(idle):
    assert "relative to the source" in idle("/proc/self/*")["/proc/self/*"]


def test_a_directory_of_the_source_with_the_name_of_one_of_the_machine_is_right(idle, tmp_path):
    (tmp_path / "proc").mkdir()
    assert not idle("/proc/self/*")


@pytest.mark.parametrize("first", ["/there/", "there", "/th*", "/there"])
def test_a_negation_below_an_excluded_directory_is_told(idle, first):
    assert "nothing below it" in idle(first, "!/there/keep/a.txt")["!/there/keep/a.txt"]


def test_a_negation_that_works_is_not_told(idle):
    assert not idle("/there/*", "!/there/keep", "*.log", "!important.log")


def test_a_negation_before_every_exclusion_is_told(idle):
    assert list(idle("!keep", "*.log")) == ["!keep"]


@pytest.mark.parametrize("pattern", ["", "  ", "# cache", "#cache"])
def test_blank_lines_and_comments_are_told(idle, pattern):
    assert pattern in idle(pattern)
