"""`wait`: which tree a path is in, and what is printed."""

import os
from types import SimpleNamespace

import pytest

from replicator.cli import wait
from replicator.errors import ControlError


@pytest.fixture
def config(tmp_path):
    (tmp_path / "site" / "media" / "d").mkdir(parents=True)
    (tmp_path / "link").symlink_to("site")
    sources = [tmp_path / "site", tmp_path / "site" / "media"]
    return SimpleNamespace(tree=[SimpleNamespace(source=str(source)) for source in sources])


@pytest.mark.parametrize(
    ("path", "source", "relative"),
    [
        ("site", "site", ""),
        ("site/", "site", ""),
        ("site/f", "site", "f"),
        ("link/f", "site", "f"),
        ("link", "site", ""),
        ("site/media/d/../f", "site/media", "f"),
        ("site/gone/f", "site", "gone/f"),
        ("site/medial", "site", "medial"),
    ],
)
def test_a_path_is_relative_to_the_innermost_source(config, tmp_path, path, source, relative):
    assert wait.area_of(config, f"{tmp_path}/{path}") == (str(tmp_path / source), relative)


def test_a_symlink_in_a_source_is_itself_what_is_waited_for(config, tmp_path):
    (tmp_path / "site" / "current").symlink_to("media")
    assert wait.area_of(config, str(tmp_path / "site" / "current")) == (
        str(tmp_path / "site"),
        "current",
    )


def test_a_path_may_be_relative_to_the_working_directory(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "site" / "media")
    assert wait.area_of(config, "d") == (str(tmp_path / "site" / "media"), "d")


def test_a_path_in_no_source_is_an_error(config, tmp_path):
    for path in (tmp_path, tmp_path / "site2", "/"):
        with pytest.raises(ControlError, match="none of the replicated"):
            wait.area_of(config, os.fspath(path))
