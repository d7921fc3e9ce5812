"""A key is not pinned to a directory from which the pin could be undone."""

import os
import pwd
import sys
from pathlib import Path

import pytest

from replicator.agent import pin

WWW_DATA = 33


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home of the agent's account, as Debian's www-data has it: the web root."""
    home = tmp_path / "www"
    for name in ("shop/upload", ".ssh", ".config/fish"):
        (home / name).mkdir(parents=True)
    account = pwd.struct_passwd(("www", "x", WWW_DATA, WWW_DATA, "", str(home), "/bin/sh"))
    other = pwd.struct_passwd(("other", "x", 4711, 4711, "", str(tmp_path / "other"), "/bin/sh"))
    monkeypatch.setattr(pin.pwd, "getpwall", lambda: [account, other])
    monkeypatch.setattr(pin.os, "geteuid", lambda: WWW_DATA)
    monkeypatch.delenv("HOME")
    (tmp_path / "other/site").mkdir(parents=True)
    return home


def refusal(path, owner=-1):
    return pin.refusal(os.fsencode(path), owner)


def test_a_directory_below_the_home_is_taken(home):
    assert refusal(home / "shop/upload") == ""
    assert refusal(home / "shop") == ""


def test_the_home_and_all_above_it_are_refused(home):
    for path in (home, home.parent, "/"):
        assert "holds the home directory of www" in refusal(path), path


def test_hidden_directories_of_the_home_are_refused(home):
    for path in (home / ".ssh", home / ".config", home / ".config/fish"):
        assert "hidden directory of the home of www" in refusal(path), path


def test_another_name_for_the_home_is_the_home(home, tmp_path):
    (tmp_path / "alias").symlink_to(home)
    assert "holds the home" in refusal(tmp_path / "alias")
    home.rename(tmp_path / "real")
    home.symlink_to("real")
    assert "holds the home" in refusal(tmp_path / "real")


def test_where_a_hidden_symlink_of_the_home_leads_is_refused(home, tmp_path):
    (home / "dotfiles").mkdir()
    (home / ".bashrc").symlink_to("dotfiles/bashrc")
    (home / ".ssh").rmdir()
    (home / ".ssh").symlink_to(tmp_path / "keys")
    (tmp_path / "keys/deeper").mkdir(parents=True)
    for path in (home / "dotfiles", tmp_path / "keys", tmp_path / "keys/deeper"):
        assert "symlink in the home of www leads to" in refusal(path), path
    assert refusal(home / "shop/upload") == ""


def test_the_home_that_the_environment_names_counts(home, tmp_path, monkeypatch):
    assert refusal(tmp_path / "other") == ""
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    monkeypatch.setattr(pin.os, "geteuid", os.getuid)
    monkeypatch.setattr(pin.pwd, "getpwall", list)
    assert "home directory of this account" in refusal(tmp_path / "other")


def test_the_home_of_another_user_is_refused_if_the_agent_can_write_there(
    home, tmp_path, monkeypatch
):
    assert refusal(tmp_path / "other") == ""
    assert "home directory of other" in refusal(tmp_path / "other", owner=4711)
    assert refusal(tmp_path / "other/site", owner=4711) == ""
    monkeypatch.setattr(pin.os, "geteuid", lambda: 0)
    assert "home directory of other" in refusal(tmp_path / "other")


def test_a_hidden_symlink_of_another_account_does_not_stop_the_agent(home, tmp_path, monkeypatch):
    (tmp_path / "other/.www").symlink_to("/")
    monkeypatch.setattr(pin.os, "geteuid", lambda: 0)
    assert refusal(home / "shop/upload") == ""


def test_what_runs_at_every_login_is_refused_and_this_program(home):
    for path in ("/etc", "/etc/ssh", "/etc/profile.d", sys.prefix, Path(pin.__file__).parent):
        if Path(path).is_dir():
            assert "can run for every account" in refusal(path), path
