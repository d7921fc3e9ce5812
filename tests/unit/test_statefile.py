"""A state file is private, and replaced whole."""

import pytest

from replicator import statefile


def test_it_holds_the_text_and_no_other_user_can_read_it(tmp_path):
    path = tmp_path / "file"
    for text in ("one", "two"):
        statefile.replace(path, text)
        assert path.read_text() == text
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_a_crash_left_behind_is_no_obstacle_and_no_link_is_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("elsewhere")
    (tmp_path / "file.new").symlink_to(tmp_path / "elsewhere")
    statefile.replace(tmp_path / "file", "text")
    assert (tmp_path / "elsewhere").read_text() == "elsewhere"


def test_a_directory_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        statefile.replace(tmp_path / "missing" / "file", "text")
