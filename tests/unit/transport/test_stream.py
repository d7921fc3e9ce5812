"""Everything before the marker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import AgentFailed
from replicator.transport import stream
from replicator.wire.frames import MARKER


def reader(pieces):
    left = list(pieces)

    async def read():
        return left.pop(0) if left else b""

    return read


def cut(data, cuts):
    edges = sorted({min(c, len(data)) for c in cuts})
    return [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True) if a < b]


@given(
    noise=st.binary(max_size=200).filter(lambda b: MARKER not in b + MARKER[:-1]),
    rest=st.binary(max_size=50),
    cuts=st.lists(st.integers(0, 300), max_size=10),
)
async def test_found_however_it_was_split(noise, rest, cuts):
    data = noise + MARKER + rest
    read = reader(cut(data, cuts))
    before, after = await stream.after_marker(read, "host")
    while data := await read():
        after += data
    assert (before, after) == (noise, rest)


async def test_the_end_comes_first():
    assert await stream.after_marker(reader([b"no ", b"agent"]), "host") == (b"no agent", None)
    assert await stream.after_marker(reader([]), "host") == (b"", None)


@pytest.mark.parametrize("size", [stream.MAX_NOISE, stream.MAX_NOISE - 1])
@pytest.mark.parametrize("step", [1 << 20, 1000])
async def test_as_much_noise_as_we_bear(size, step):
    data = b"#" * size + MARKER
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    _, rest = await stream.after_marker(reader(pieces), "host")
    assert rest == b""


@pytest.mark.parametrize("step", [1 << 20, 1000])
async def test_one_byte_too_much_however_it_comes(step):
    data = b"Welcome!" + b"#" * (stream.MAX_NOISE - 7) + MARKER
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    with pytest.raises(AgentFailed, match=r"host: the login prints .* beginning with 'Welcome!###"):
        await stream.after_marker(reader(pieces), "host")


@given(st.binary(max_size=2000))
def test_output_is_shown_as_one_short_printable_line(data):
    text = stream.said(data)
    assert text.isprintable()
    assert len(text) <= stream.SHOWN + 50


def test_the_end_of_the_output_is_kept():
    assert stream.said(b"a\n\n  \nb\n") == "a / b"
    assert stream.said(b"x" * 1000 + b"\nlast").endswith("last")


def test_of_a_long_output_the_beginning_and_the_end_are_shown_and_what_is_left_out():
    text = stream.said(b"first words: " + b"x" * 5000 + b" last words")
    assert text.startswith("first words: xxx")
    assert text.endswith("xxx last words")
    assert f" [... {13 + 5000 + 11 - 450} characters left out ...] " in text
    assert len(text) < 500


def test_a_short_output_is_shown_whole():
    output = b"x" * (stream.SHOWN)
    assert stream.said(output) == output.decode()


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_of_endless_error_output_both_ends_are_kept(pieces):
    errors = stream.Errors()
    output = b"cannot start: " + b"\n" * 50 + b"." * 200_000 + b" MemoryError"
    size = len(output) // pieces + 1
    for start in range(0, len(output), size):
        errors.add(output[start : start + size])
    assert errors.said().startswith("cannot start: ")
    assert errors.said().endswith(" MemoryError")
    assert "characters left out" in errors.said()
