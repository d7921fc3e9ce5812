"""The commands are all there, and those that only ask the daemon import no more than that takes."""

import importlib
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from replicator import cli
from replicator.cli.naming import name_fields
from replicator.config import parse, parse_duration
from replicator.doctor import daemon_findings
from replicator.errors import ConfigError, ControlError

HEAVY = ("asyncssh", "boto3", "numpy", "sqlite3", "structlog", "uvloop", "rich.progress")


def test_help_lists_every_command_with_what_it_does():
    printed = CliRunner().invoke(cli.commands, ["--help"]).output
    for name in cli.COMMANDS:
        (line,) = [line for line in printed.splitlines() if line.startswith(f"  {name} ")]
        assert len(line.split()) > 3
        assert not line.endswith("...")  # click cuts what is too long


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name):
    result = CliRunner().invoke(cli.commands, [name, "--help"])
    assert result.exit_code == 0
    assert "--help" in result.output


def test_an_unknown_command_is_bad_usage():
    result = CliRunner().invoke(cli.commands, ["asyncio"])
    assert result.exit_code == 2
    assert "asyncio" in result.output


@pytest.mark.parametrize(
    "name", ["bootstrap", "status", "verify", "resume", "wait", "pause", "unpause", "base"]
)
def test_a_command_that_only_queries_the_daemon_imports_little(name):
    script = (
        "import sys; from replicator.cli import commands;"
        f"commands.main([{name!r}, '--help'], standalone_mode=False);"
        f"print([heavy for heavy in {HEAVY!r} if heavy in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stderr.strip() == "[]"


def test_a_daemon_that_halts_or_pauses_is_a_failure_of_check_and_an_excess_one_of_its_frontend():
    tree = {"source": "/srv", "state": "paused", "problems": ["200 of 300 paths were removed"]}
    fine = tree | {"state": "watching", "problems": ["no watches left"]}
    frontends = [{"host": "web1", "excess": "too many"}, {"host": "web2", "excess": ""}]
    findings = list(daemon_findings({"trees": [tree, fine], "frontends": frontends}))
    assert [(f.level, f.frontend) for f in findings] == [
        ("fail", False),
        ("warn", False),
        ("fail", True),
    ]
    assert findings[0].what == "paused: 200 of 300 paths were removed"


def test_a_paused_frontend_is_a_failure_of_check():
    row = {"host": "web1", "state": "paused", "excess": "", "last_error": "paused since noon"}
    (finding,) = daemon_findings({"trees": [], "frontends": [row]})
    assert (finding.level, finding.frontend, finding.what) == ("fail", True, "paused since noon")


def test_check_fails_for_a_frontend_that_is_degraded_although_nothing_is_pending():
    differs = "3 paths differed from the backend in the last verification"
    row = {"host": "web1", "excess": "", "state": "degraded", "dirty": 0, "last_error": differs}
    (finding,) = daemon_findings({"trees": [], "frontends": [row]})
    assert (finding.level, finding.frontend, finding.what) == ("fail", True, differs)
    (finding,) = daemon_findings({"trees": [], "frontends": [row | {"dirty": 2}]})
    assert finding.what.startswith("2 paths are pending or refused: ")


@pytest.mark.parametrize("name", ["resume", "status", "wait", "pause web1", "unpause web1"])
def test_a_command_without_a_daemon_fails_and_names_the_command_that_starts_it(name, tmp_path):
    config = tmp_path / "replicator.toml"
    config.write_text('[[tree]]\nsource = "site"\n[state]\ndirectory = "state"\n')
    with pytest.raises(ControlError, match="replicator serve"):
        cli.commands.main([*name.split(), "--config", str(config)], standalone_mode=False)


@pytest.mark.parametrize("duration", ["", "0", "-1", "ten", "5 years", "1h30m", "nan"])
def test_a_duration_that_is_none_is_refused(duration, tmp_path):
    config = tmp_path / "replicator.toml"
    config.write_text('[[tree]]\nsource = "site"\n[state]\ndirectory = "state"\n')
    command = ["pause", "web1", "--for", duration, "--config", str(config)]
    with pytest.raises(ConfigError, match="--for: expected a duration"):
        cli.commands.main(command, standalone_mode=False)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("10m", 600), (" 2 h", 7200), ("1d", 86400)]
)
def test_a_duration_has_a_unit_or_is_in_seconds(text, seconds):
    assert parse_duration("--for", text) == seconds


def test_the_fields_of_a_name_hold_what_it_may_be(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "link").symlink_to("site")
    monkeypatch.chdir(tmp_path)
    config = parse({"tree": [{"source": "site"}]}, base=tmp_path)
    source = str(tmp_path / "site")
    assert name_fields(config, "deploy@web1:22") == {
        "name": "deploy@web1:22", "path": str(tmp_path / "deploy@web1:22"), "frontend": False,
        "user": "deploy", "host": "web1", "port": 22,
    }  # fmt: skip
    for name in ("site", "site/", "./site", "link", source):
        assert name_fields(config, name)["path"] == source
    assert name_fields(config, "site/below")["path"] == f"{source}/below"
    assert "host" not in name_fields(config, source)


status = importlib.import_module("replicator.cli.status")


@pytest.fixture
def silent(tmp_path):
    """A configuration whose daemon accepts connections and never answers."""
    state = tmp_path / "state"
    state.mkdir()
    config = tmp_path / "replicator.toml"
    config.write_text(f'[[tree]]\nsource = "{tmp_path}/source"\n[state]\ndirectory = "{state}"\n')
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(state / "control.sock"))
        daemon.listen()
        yield config


def test_a_hung_daemon_is_an_error_of_status_within_five_seconds(silent, monkeypatch):
    assert status.WITHIN <= 5.0
    monkeypatch.setattr(status, "WITHIN", 0.05)
    with pytest.raises(ControlError, match=r"the daemon has not answered for 0\.05 seconds"):
        cli.commands.main(["status", "--config", str(silent)], standalone_mode=False)


def test_a_daemon_that_accepts_no_more_connections_is_an_error_of_one_sentence(silent):
    """The kernel refuses connections to a hung daemon when its queue of them is full."""
    waiting = []
    try:
        while True:
            one = socket.socket(socket.AF_UNIX)
            waiting.append(one)
            one.setblocking(False)
            one.connect(str(silent.parent / "state" / "control.sock"))
    except BlockingIOError:
        pass
    try:
        with pytest.raises(ControlError, match="accepts no connection"):
            cli.commands.main(["status", "--config", str(silent)], standalone_mode=False)
    finally:
        for one in waiting:
            one.close()


@pytest.fixture
def old_metrics(tmp_path):
    """A file with metrics of a daemon that ran."""
    pytest.importorskip("prometheus_client")
    file = tmp_path / "replicator.prom"
    file.write_text("replicator_ok 1.0\n")
    return file


def write_metrics(config, file):
    arguments = ["status", "--config", str(config), "--textfile", str(file)]
    cli.commands.main(arguments, standalone_mode=False)


def test_metrics_of_a_hung_daemon_replace_those_of_a_running_one(silent, monkeypatch, old_metrics):
    monkeypatch.setattr(status, "WITHIN", 0.05)
    with pytest.raises(ControlError):
        write_metrics(silent, old_metrics)
    assert old_metrics.read_text().splitlines()[-1] == "replicator_up 0.0"
    assert [path.name for path in old_metrics.parent.glob("*prom*")] == [old_metrics.name]
    assert old_metrics.stat().st_mode & 0o777 == 0o644


def test_metrics_do_not_stay_at_their_last_values_if_the_configuration_cannot_be_read(
    silent, old_metrics
):
    silent.write_text("[nothing]\n")
    with pytest.raises(ConfigError):
        write_metrics(silent, old_metrics)
    assert old_metrics.read_text().splitlines()[-1] == "replicator_up 0.0"


def test_metrics_do_not_stay_at_their_last_values_if_they_cannot_be_made(
    silent, monkeypatch, old_metrics
):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(status, "_ask", broken)
    with pytest.raises(ZeroDivisionError):
        write_metrics(silent, old_metrics)
    assert old_metrics.read_text().splitlines()[-1] == "replicator_up 0.0"
