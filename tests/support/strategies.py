"""Hypothesis strategies for paths, entries, hints and the like."""

from hypothesis import strategies as st

from replicator.model import DIRECTORY, FILE, SYMLINK, Entry, Listed
from replicator.wire import changes

# Names that break naive code: characters that sort next to "/", invalid UTF-8, newlines, options, names like temporaries.
names = st.sampled_from(
    [
        b"a",
        b"a.x",
        b"a-b",
        b"b",
        b"\xff\xfe",
        b"new\nline",
        b"-rf",
        b"'q'",
        b"\x1b[31m",
        b".hidden",
        b"A",
        b"n" * 255,
    ]
) | st.binary(min_size=1, max_size=12).filter(
    lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b"..")
)
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)
digests = st.binary(min_size=32, max_size=32)
modes = st.integers(0, 0o7777)
sizes = st.integers(0, 1 << 40)
times = st.integers(0, 1 << 61)
links = st.binary(min_size=1, max_size=50).filter(lambda link: b"\0" not in link)
numbers = st.integers(1, 1 << 50)
trees = st.integers(0, 1023)

files = st.builds(
    lambda mode, size, time, digest: Entry(FILE, mode, size, time, b"", digest),
    modes,
    sizes,
    times,
    digests,
)
directories = st.builds(lambda mode, time: Entry(DIRECTORY, mode, 0, time), modes, times)
symlinks = st.builds(lambda time, link: Entry(SYMLINK, 0, 0, time, link), times, links)
entries = files | directories | symlinks
listed = st.builds(Listed, paths, entries, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))

any_change = st.one_of(
    st.builds(changes.PutFile, numbers, trees, paths, modes, sizes, times, digests),
    st.builds(changes.MakeDirectory, numbers, trees, paths, modes, times),
    st.builds(changes.MakeSymlink, numbers, trees, paths, times, links),
    st.builds(
        changes.SetAttributes,
        numbers,
        trees,
        paths,
        modes,
        sizes,
        times,
        times,
        digests | st.just(b""),
    ),
    st.builds(changes.Delete, numbers, trees, paths),
    st.builds(changes.Move, numbers, trees, paths, paths),
    st.builds(changes.Link, numbers, trees, paths, modes, sizes, times, paths, st.booleans()),
)
