"""The roster in the state directory: what is saved is loaded, what is broken costs nobody."""

import pytest

from replicator.discovery.remembered import RosterFile
from replicator.ports import Address, Candidate, Decision, Launch

KNOWN = [
    Candidate(Address("10.0.0.1"), "alb web", "i-1", "healthy", Decision.SERVE, "", None),
    Candidate(Address("10.0.0.2", "u", 2222), "alb web", "i-2", "draining", Decision.DRAIN),
]


def test_what_is_saved_is_loaded_but_for_what_ages(tmp_path):
    file = RosterFile(tmp_path / "roster.json")
    file.save({"alb web": KNOWN, "dns x": []})
    loaded = RosterFile(tmp_path / "roster.json").load()
    assert [(s.address, s.source, s.identity, s.state, s.decision) for s in loaded["alb web"]] == [
        (s.address, s.source, s.identity, s.state, s.decision) for s in KNOWN
    ]
    assert loaded["dns x"] == []


def test_a_launch_is_not_remembered(tmp_path):
    waiting = Candidate(Address("a"), launch=Launch("g", "h", "i-1", 1.0))
    RosterFile(tmp_path / "roster.json").save({"p": [waiting]})
    assert RosterFile(tmp_path / "roster.json").load()["p"][0].launch is None


def test_nobody_else_can_read_it(tmp_path):
    RosterFile(tmp_path / "roster.json").save({"p": KNOWN})
    assert (tmp_path / "roster.json").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["roster.json"]


def test_it_is_not_written_again_for_nothing(tmp_path):
    file = RosterFile(tmp_path / "roster.json")
    file.save({"p": KNOWN})
    before = (tmp_path / "roster.json").stat().st_ino
    file.save({"p": KNOWN})
    assert (tmp_path / "roster.json").stat().st_ino == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"p": 3}',
        '{"p": [{}]}',
        '{"p": [{"host": 1}]}',
        "\x00",
        '{"p": ["x"]}',
        "[" * 9000,
    ],
)
def test_what_is_broken_is_as_good_as_nothing(tmp_path, content):
    (tmp_path / "roster.json").write_text(content)
    assert RosterFile(tmp_path / "roster.json").load() == {}


def test_a_directory_that_cannot_be_written_costs_a_warning(tmp_path):
    RosterFile(tmp_path / "missing" / "roster.json").save({"p": KNOWN})


def test_a_port_that_is_none_is_as_good_as_nothing(tmp_path):
    RosterFile(tmp_path / "roster.json").save({"p": [Candidate(Address("a", "", 65536))]})
    assert RosterFile(tmp_path / "roster.json").load() == {}
