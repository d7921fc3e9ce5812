"""Whatever changed and however it is cut: patch(match) is the identity, and nothing but DeltaError comes out of lies."""

from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.delta import matching
from replicator.delta.matching import Matcher
from replicator.delta.ops import Literal, decode, encode, merge
from replicator.delta.patch import replay
from replicator.delta.signature import Signature, Signer
from replicator.errors import DeltaError

BLOCKS = st.sampled_from([64, 128, 256])
MULTIPLIERS = st.integers(0, 2**31 - 1).map(lambda half: 2 * half + 1)
LIMIT = 8192


@st.composite
def contents(draw):
    """Random, of few letters, periodic, or zeros; grown from little, so that they shrink to little."""
    kind = draw(st.sampled_from(["random", "letters", "period", "zeros", "small"]))
    size = draw(st.integers(0, 4000))
    if kind == "small":
        return draw(st.binary(max_size=70))
    if kind == "zeros":
        return bytes(size)
    if kind == "period":
        unit = draw(st.binary(min_size=1, max_size=130))
        return (unit * (size // len(unit) + 1))[:size]
    random = draw(st.randoms(use_true_random=False))
    alphabet = b"ab" if kind == "letters" else bytes(range(256))
    return bytes(random.choices(alphabet, k=size))


@st.composite
def edited(draw, base):
    """What a few edits leave of `base`."""
    new = base
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(new)))
        end = draw(st.integers(start, min(len(new), start + draw(st.sampled_from([1, 300, 5000])))))
        part = new[start:end]
        match draw(
            st.sampled_from(["insert", "delete", "overwrite", "swap", "repeat", "keep", "far"])
        ):
            case "insert":
                new = new[:start] + draw(contents()) + new[start:]
            case "delete":
                new = new[:start] + new[end:]
            case "overwrite":
                new = new[:start] + bytes(byte ^ 1 for byte in part) + new[end:]
            case "swap":
                new = part + new[:start] + new[end:]
            case "repeat":
                new = new[:end] + part * draw(st.integers(1, 3)) + new[end:]
            case "keep":
                new = part
            case "far":
                new = draw(contents())
        new = new[:LIMIT]
    return new


def chunks(data, sizes):
    start, turn = 0, 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        yield data[start : start + size]
        start += size
        turn += 1


def signed(data, block, multiplier, sizes):
    signer = Signer(block, multiplier)
    for chunk in chunks(data, sizes):
        signer.update(chunk)
    return signer.finish()


CUTS = st.lists(st.sampled_from([1, 7, 63, 64, 65, 200, 1000, 4096, 9999]), min_size=1, max_size=3)


@settings(max_examples=400)
@given(st.data(), contents(), BLOCKS, MULTIPLIERS, CUTS, CUTS, st.booleans())
def test_patch_undoes_match(data, base, block, multiplier, base_cuts, new_cuts, impatient):
    new = data.draw(edited(base))
    signature = signed(base, block, multiplier, base_cuts)
    assert signature == signed(base, block, multiplier, [len(base) or 1])
    assert Signature.unpack(signature.pack()) == signature

    give_up, piece, credit = (2 * block, 2 * block, 9000) if impatient else (8 << 20, 1 << 16, 9**9)
    with (
        mock.patch.object(matching, "GIVE_UP", give_up),
        mock.patch.object(matching, "PIECE", piece),
        mock.patch.object(matching, "CREDIT", credit),
    ):
        matcher = Matcher(signature)
        lists = [matcher.feed(chunk) for chunk in chunks(new, new_cuts)] + [matcher.finish()]

    result = bytearray()
    for ops in lists:
        pairs, literals = encode(ops)
        replayed = replay(
            decode(pairs, b"".join(literals)),
            lambda offset, length: base[offset : offset + length],
            base_size=len(base),
            max_size=len(new) - len(result),
        )
        result += b"".join(replayed)
    assert result == new
    ops = [op for group in lists for op in group]
    assert merge(ops) == ops


@settings(max_examples=200)
@given(contents(), BLOCKS, CUTS)
def test_identical_content_has_no_literal(base, block, cuts):
    matcher = Matcher(signed(base, block, 2**31 + 1, [9999]))
    ops = [op for chunk in chunks(base, cuts) for op in matcher.feed(chunk)] + matcher.finish()
    assert not any(isinstance(op, Literal) for op in ops)
    assert len(ops) <= 1


@settings(max_examples=300)
@given(st.data(), st.binary(max_size=1000))
def test_unpack_of_anything_raises_only_delta_errors(data, noise):
    packed = bytearray(signed(noise, 64, 5, [9999]).pack())
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(packed[: data.draw(st.integers(0, len(packed)))])
    for form in (bytes(packed), cut, noise):
        try:
            signature = Signature.unpack(form)
        except DeltaError:
            continue
        matcher = Matcher(signature)
        matcher.feed(noise)
        matcher.finish()


NUMBERS = st.integers() | st.integers(-2, 3) | st.integers(2**49, 2**51)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(
    JSON | st.lists(st.lists(NUMBERS, min_size=2, max_size=2), max_size=5), st.binary(max_size=9)
)
def test_decode_of_anything_raises_only_delta_errors(pairs, payload):
    base = bytes(2000)
    try:
        pieces = replay(
            decode(pairs, payload),
            lambda offset, length: base[offset : offset + length],
            base_size=len(base),
            max_size=3000,
        )
        assert len(b"".join(pieces)) <= 3000
    except DeltaError:
        pass
