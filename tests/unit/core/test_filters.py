"""Patterns mean what they mean to git; the tests run git."""

import os
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicator.core.filters import Filter
from replicator.errors import ConfigError
from replicator.model import DIRECTORY, FILE, SYMLINK, parent
from tests.support.tools import missing


@pytest.mark.parametrize(
    ("patterns", "path", "kind", "expected"),
    [
        ([], b"a", FILE, False),
        (["", "# comment", "  "], b"# comment", FILE, False),
        (["*.tmp"], b"a/b.tmp", FILE, True),
        (["*.tmp"], b"a/b.tmp2", FILE, False),
        (["cache/"], b"cache", DIRECTORY, True),
        (["cache/"], b"cache", FILE, False),
        (["cache/"], b"cache", SYMLINK, False),
        (["cache/"], b"a/cache/x/y", FILE, True),
        (["/cache"], b"a/cache", DIRECTORY, False),
        (["a/b"], b"a/b/c", FILE, True),
        (["a/b"], b"x/a/b", FILE, False),
        (["foo/**", "!foo/keep"], b"foo", DIRECTORY, False),
        (["foo/**", "!foo/keep"], b"foo/keep", FILE, False),
        (["foo/**", "!foo/keep"], b"foo/lose", FILE, True),
        (["foo/", "!foo/keep"], b"foo/keep", FILE, True),
        (["/*", "!/keep/"], b"keep/x", FILE, False),
        (["/*", "!/keep/"], b"lose/x", FILE, True),
        (["*.log", "!important.log"], b"a/important.log", FILE, False),
        ([r"\!odd", r"\#odd"], b"!odd", FILE, True),
        (["caf\u00e9"], "caf\u00e9".encode(), FILE, True),
        (["*.tmp"], b"\xff\xfe.tmp", FILE, True),
        (["*.tmp"], b"new\nline/b.tmp", FILE, True),
        (["b.tmp"], b"b.tmp\n", FILE, False),
        (["*"], b"", DIRECTORY, False),
    ],
)
def test_patterns(patterns, path, kind, expected):
    assert Filter(patterns).excluded(path, kind) is expected


@pytest.mark.parametrize("pattern", ["!", "a[bc", "x\\", "[z-a]"])
def test_a_pattern_that_would_silently_do_nothing_is_refused(pattern):
    with pytest.raises(ConfigError) as caught:
        Filter(["fine", pattern])
    assert caught.value.where == "exclude"
    assert repr(pattern) in caught.value.reason


def test_a_very_deep_path_is_judged():
    assert Filter(["z"]).excluded(b"a/" * 2000 + b"z", FILE)


def test_a_directory_is_matched_once_for_all_that_it_holds():
    asked = Filter(["nothing"])
    for i in range(100):
        asked.excluded(b"a/b/c/%d" % i, FILE)
    assert asked._directory.cache_info().misses == 3


NAMES = st.sampled_from([b"a", b"b", b"ab", b"a.x", b"b.x", b".c"])
TOKENS = st.sampled_from(["a", "b", "a*", "*.x", "?", "**", "[ab]", "*", "ab", "[!a].x", ".c"])


@st.composite
def _pattern(draw):
    segments = draw(st.lists(TOKENS, min_size=1, max_size=3))
    negated, rooted, directory = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    return ("!" if negated else "") + "/" * rooted + "/".join(segments) + "/" * directory


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    if shutil.which("git") is None:
        missing("git")
    root = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q", root], check=True)
    return root


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    patterns=st.lists(_pattern(), min_size=1, max_size=4),
    paths=st.lists(st.lists(NAMES, min_size=1, max_size=3).map(b"/".join), min_size=1, max_size=6),
)
def test_git_agrees(repository, patterns, paths):
    files = {p for p in paths if not any(q.startswith(p + b"/") for q in paths)}
    directories = {above for path in files for above in _above(path)}
    for old in repository.iterdir():
        if old.name != ".git":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for path in files:
        where = os.path.join(os.fsencode(repository), path)
        os.makedirs(os.path.dirname(where), exist_ok=True)
        open(where, "wb").close()
    exclude = repository / ".git" / "info" / "exclude"
    exclude.write_text("\n".join(patterns) + "\n")
    asked = sorted(files | directories)
    answer = subprocess.run(
        ["git", "check-ignore", "--no-index", "-v", "-n", "-z", "--stdin"],
        cwd=repository, input=b"\0".join(asked), capture_output=True, check=False,
    ).stdout.split(b"\0")  # fmt: skip
    ignored = {
        path
        for pattern, path in zip(answer[2::4], answer[3::4], strict=False)
        if pattern and not pattern.startswith(b"!")
    }
    tested = Filter(patterns)
    for path in asked:
        kind = DIRECTORY if path in directories else FILE
        assert tested.excluded(path, kind) is (path in ignored), (patterns, path, kind)


def _above(path):
    while path := parent(path):
        yield path
