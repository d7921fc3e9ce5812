"""`replicator bootstrap HOST` exits 1 for what is refused, cannot be listed, or is kept as surplus."""

import importlib

import pytest
from click.testing import CliRunner

from replicator.cli import commands

ROW = {
    "host": "web1",
    "port": 0,
    "state": "live",
    "progress": {"files_done": 3, "bytes_done": 1024, "seconds": 0.5},
    "dirty": 0,
    "problems": [],
    "unlisted": [],
    "excess": "",
    "finished": True,
}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, ""),
        ({"problems": [{"path": "a", "reason": "DENIED"}]}, "web1: a: DENIED"),
        ({"unlisted": ["d: cannot be listed: Permission denied"]}, "web1: d: cannot be listed"),
        ({"excess": "60 of 80 paths there are not on the backend"}, "web1: 60 of 80 paths"),
    ],
)
def test_what_is_not_as_on_the_backend_is_shown_and_no_success(tmp_path, monkeypatch, wrong, said):
    config = tmp_path / "replicator.toml"
    config.write_text(f'[[tree]]\nsource = "{tmp_path}"\ntarget = "/srv/site"\n')
    module = importlib.import_module("replicator.cli.bootstrap")
    monkeypatch.setattr(module, "ask_daemon", lambda *_, **__: iter([ROW | wrong]))
    result = CliRunner().invoke(commands, ["bootstrap", "web1", "--config", str(config)])
    assert result.exit_code == bool(wrong)
    assert said in result.stderr
