"""`replicator verify`: exit statuses and what it prints."""

import json

import pytest
from click.testing import CliRunner

from replicator.cli import commands

EQUAL = {
    "host": "web1",
    "port": 0,
    "compared": 3,
    "differing": 0,
    "pending": 0,
    "repaired": False,
    "reasons": [],
    "paths": [],
    "error": "",
}
DIFFERENT = EQUAL | {"host": "web2", "differing": 1, "paths": ["a"]}
REPAIRED = DIFFERENT | {"repaired": True}
FAILED = EQUAL | {"error": "web1: the connection was lost"}


@pytest.fixture
def verify(monkeypatch, tmp_path):
    """Run `verify` against a daemon that answers with these reports."""
    config = tmp_path / "replicator.toml"
    config.write_text(
        f'[[tree]]\nsource = "{tmp_path}"\ntarget = "/srv/site"\n[discovery]\nfrontends = ["web1"]\n'
    )

    def run(*reports, options=()):
        monkeypatch.setattr("replicator.cli.verify.ask_daemon", lambda *_, **__: iter(reports))
        return CliRunner().invoke(commands, ["verify", "--config", str(config), *options])

    return run


@pytest.mark.parametrize(
    ("reports", "status"),
    [
        ([EQUAL], 0),
        ([EQUAL, REPAIRED], 0),
        ([DIFFERENT], 1),
        ([FAILED, DIFFERENT], 1),
        ([EQUAL, DIFFERENT], 3),
        ([], 3),
    ],
)
def test_the_exit_status_and_ok_tell_whether_all_frontends_are_equal(verify, reports, status):
    assert verify(*reports).exit_code == status
    done = verify(*reports, options=["--json"])
    assert done.exit_code == status
    assert json.loads(done.stdout)["ok"] is (status == 0)


def test_without_frontends_it_says_that_nothing_was_compared(verify):
    assert verify().stderr == "nothing was compared: there are no frontends\n"
