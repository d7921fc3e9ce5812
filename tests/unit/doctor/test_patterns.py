"""`check` reports the patterns of tree.exclude that have no effect."""

import pytest

from replicator.config import TreeSettings
from replicator.doctor.patterns import idle_patterns, misplaced_preset, missing_directories
from replicator.presets import load, names


@pytest.fixture
def idle(tmp_path):
    (tmp_path / "there").mkdir()

    def ask(*patterns):
        settings = TreeSettings(source=str(tmp_path), exclude=patterns)
        return dict(idle_patterns(settings))

    return ask


def test_an_absolute_path_is_reported_with_the_pattern_to_write(idle, tmp_path):
    found = idle(f"{tmp_path}/cache/*", "cache/*", "/cache/*", "*.tmp", "/there/x")
    assert list(found) == [f"{tmp_path}/cache/*"]
    assert found[f"{tmp_path}/cache/*"].endswith("write /cache/*")


@pytest.mark.parametrize(
    "pattern", ["./cache/", "cache/.", "../other", "a/../b", "a//b", "//a", "!./keep"]
)
def test_a_pattern_with_a_component_that_no_path_has_is_reported(idle, pattern):
    assert "no path of the source has a component" in idle("/x", pattern)[pattern]


def test_an_absolute_path_outside_the_source_is_reported(idle):
    assert "relative to the source" in idle("/proc/self/*")["/proc/self/*"]


def test_a_directory_of_the_source_with_the_name_of_one_of_the_machine_is_right(idle, tmp_path):
    (tmp_path / "proc").mkdir()
    assert not idle("/proc/self/*")


@pytest.mark.parametrize("first", ["/there/", "there", "/th*", "/there"])
def test_a_negation_below_an_excluded_directory_is_reported(idle, first):
    assert "nothing below it" in idle(first, "!/there/keep/a.txt")["!/there/keep/a.txt"]


def test_a_negation_that_has_an_effect_is_not_reported(idle):
    assert not idle("/there/*", "!/there/keep", "*.log", "!important.log")


def test_a_negation_before_every_exclusion_is_reported(idle):
    assert list(idle("!keep", "*.log")) == ["!keep"]


@pytest.mark.parametrize("pattern", ["", "  ", "# cache", "#cache"])
def test_blank_lines_and_comments_are_reported(idle, pattern):
    assert pattern in idle(pattern)


@pytest.fixture
def site(tmp_path):
    for name in ("image/cache/a", "image/data", "node_modules/x", ".git/objects", "deep/er/cache"):
        (tmp_path / name).mkdir(parents=True)

    def missing(*patterns, **more):
        return dict(
            missing_directories(TreeSettings(source=str(tmp_path), exclude=patterns, **more))
        )

    return missing


@pytest.mark.parametrize("pattern", ["image/cache/", "/image/cache", "cache/", "cache", "image/c*"])
def test_an_exclude_that_leaves_a_directory_missing_on_frontends_is_reported(site, pattern):
    assert site(pattern, "*.log") in ({pattern: "image/cache"}, {pattern: "deep/er/cache"})


@pytest.mark.parametrize(
    "pattern", ["/image/cache/*", "**/cache/*", "/image/cache/**", ".git/", "node_modules/", "*.tmp", "!x", "/gone/"]
)  # fmt: skip
def test_an_exclude_of_the_content_of_a_directory_is_not_reported(site, pattern):
    assert site(pattern) == {}


@pytest.mark.parametrize("name", names())
def test_no_preset_leaves_a_directory_missing_in_which_a_program_writes(tmp_path, name):
    preset = load(name).filled({})
    for row in preset.writable:
        (tmp_path / row.path / "made").mkdir(parents=True, exist_ok=True)
    settings = TreeSettings(source=str(tmp_path), exclude=preset.excludes)
    assert list(missing_directories(settings)) == []


def test_a_preset_whose_patterns_match_nothing_is_reported(tmp_path):
    settings = TreeSettings(source=str(tmp_path), preset="wordpress")
    assert "wp-content" in misplaced_preset(settings)
    (tmp_path / "wp-content").mkdir()
    assert misplaced_preset(settings) == ""
    assert misplaced_preset(TreeSettings(source=str(tmp_path))) == ""
