"""The stored members: what is saved is loaded, and a malformed file counts as empty."""

import pytest

from replicator.discovery.member_file import MemberFile
from replicator.ports import Address, Candidate, Decision, Launch

KNOWN = [
    Candidate(Address("10.0.0.1"), "alb web", "i-1", "healthy", Decision.SERVE, "", None),
    Candidate(Address("10.0.0.2", "u", 2222), "alb web", "i-2", "draining", Decision.DRAIN),
]


def test_stored_members_are_loaded_without_their_launches(tmp_path):
    file = MemberFile(tmp_path / "roster.json")
    file.save({"alb web": KNOWN, "dns x": []})
    loaded = MemberFile(tmp_path / "roster.json").load()
    assert [(s.address, s.source, s.identity, s.state, s.decision) for s in loaded["alb web"]] == [
        (s.address, s.source, s.identity, s.state, s.decision) for s in KNOWN
    ]
    assert loaded["dns x"] == []


def test_a_launch_is_not_stored(tmp_path):
    waiting = Candidate(Address("a"), launch=Launch("g", "h", "i-1", 1.0))
    MemberFile(tmp_path / "roster.json").save({"p": [waiting]})
    assert MemberFile(tmp_path / "roster.json").load()["p"][0].launch is None


def test_no_other_user_can_read_it(tmp_path):
    MemberFile(tmp_path / "roster.json").save({"p": KNOWN})
    assert (tmp_path / "roster.json").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["roster.json"]


def test_an_unchanged_file_is_not_written_again(tmp_path):
    file = MemberFile(tmp_path / "roster.json")
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
def test_a_malformed_file_counts_as_empty(tmp_path, content):
    (tmp_path / "roster.json").write_text(content)
    assert MemberFile(tmp_path / "roster.json").load() == {}


def test_a_directory_that_cannot_be_written_is_a_warning(tmp_path):
    MemberFile(tmp_path / "missing" / "roster.json").save({"p": KNOWN})


def test_an_invalid_port_makes_the_file_count_as_empty(tmp_path):
    MemberFile(tmp_path / "roster.json").save({"p": [Candidate(Address("a", "", 65536))]})
    assert MemberFile(tmp_path / "roster.json").load() == {}
