"""A file of frontends: text or JSON, read anew each time, and accepted only as a whole."""

import json

import pytest

from replicator.discovery.file import MAX_SIZE, FileProvider
from replicator.errors import DiscoveryError
from replicator.ports import Address, Candidate


@pytest.fixture
def path(tmp_path):
    return tmp_path / "frontends"


def provider(path, **more):
    return FileProvider(str(path), interval=1.0, **more)


async def test_text_has_an_address_on_each_line(path):
    path.write_text("# web\n10.0.0.1\n\ndeploy@10.0.0.2:2222  # second\n[fd00::1]:22\n10.0.0.1\n")
    answer = await provider(path).poll()
    assert [s.address for s in answer.candidates] == [
        Address("10.0.0.1"),
        Address("10.0.0.2", "deploy", 2222),
        Address("fd00::1", "", 22),
    ]
    assert answer.complete


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"frontends": rows}])
async def test_json_may_name_machines_and_states(path, wrap):
    rows = ["10.0.0.1", {"address": "10.0.0.2", "identity": "vm-7", "state": "up"}]
    path.write_text(json.dumps(wrap(rows)))
    answer = await provider(path).poll()
    assert answer.candidates == (
        Candidate(Address("10.0.0.1"), "file", "", "listed"),
        Candidate(Address("10.0.0.2"), "file", "vm-7", "up"),
    )


async def test_it_is_read_again(path):
    made = provider(path)
    path.write_text("10.0.0.1\n")
    assert len((await made.poll()).candidates) == 1
    path.write_text("10.0.0.1\n10.0.0.2\n")
    assert len((await made.poll()).candidates) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'["10.0.0.1", ', "Expecting value"),
        (b"10.0.0.1\n-oProxyCommand=x\n", "line 2"),
        (b'{"hosts": []}', "list"),
        (b'[{"address": "a", "port": 3}]', "entry 1"),
        (b'[{"address": "a", "colour": "red"}]', "'colour'"),
        (b"[7]", "entry 1"),
        (b"\xff\xfe", "decode"),
        (b"#" * (MAX_SIZE + 1), "larger"),
        (b"[" * 9000, "recursion|Expecting value"),  # Python 3.13's parser goes that deep
        (b'[{"address": "a", "identity": "x\\ny"}]', "unprintable"),
        (b'[{"address": "a", "state": "\\ud800"}]', "unprintable"),
    ],
)
async def test_a_file_that_cannot_be_parsed_is_an_error_as_a_whole(path, content, words):
    path.write_bytes(content)
    with pytest.raises(DiscoveryError, match=words):
        await provider(path).poll()


async def test_a_missing_file_is_an_error(path):
    with pytest.raises(DiscoveryError, match="No such file"):
        await provider(path).poll()


async def test_an_error_quotes_no_more_than_a_person_reads(path):
    path.write_text("@" * 100_000)
    with pytest.raises(DiscoveryError) as caught:
        await provider(path).poll()
    assert len(str(caught.value)) < 1000
