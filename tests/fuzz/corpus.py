"""The corpus: a minimal set of inputs, each of which covers a step of replicator's code that no smaller input covers."""

import hashlib
import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import replicator

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FINDINGS = HERE / "findings"
"""Directory of inputs that made a target fail. After the bug is fixed, move the input into the corpus under a descriptive name."""

MOST = 40
"""Maximum number of corpus files of a target, not counting those with descriptive names."""

_OURS = os.path.dirname(replicator.__file__)


def files(name):
    """Return the corpus files of a target, smallest first."""
    return sorted((CORPUS / name).glob("*"), key=lambda path: (path.stat().st_size, path.name))


def keep(target, found):
    """Rebuild the corpus of a target from its current files and newly found inputs; return the names of new files.

    Args:
        target: the target.
        found: inputs that the target handled.
    """
    old = {path.name: path.read_bytes() for path in files(target.name)}
    given = {name: data for name, data in old.items() if not _is_digest(name)}
    known = set().union(*(_ways(target, data) for data in (*target.seeds, *given.values())))
    others = {data for name, data in old.items() if name not in given} | set(found)
    chosen = {}
    for data in sorted(others, key=lambda data: (len(data), data)):
        ways = _ways(target, data)
        if len(chosen) < MOST and not ways <= known:
            known |= ways
            chosen[hashlib.sha1(data).hexdigest()] = data
    directory = CORPUS / target.name
    directory.mkdir(parents=True, exist_ok=True)
    for name in old.keys() - given.keys() - chosen.keys():
        (directory / name).unlink()
    for name, data in chosen.items():
        (directory / name).write_bytes(data)
    return sorted(chosen.keys() - old.keys())


def _is_digest(name):
    return len(name) == 40 and set(name) <= set("0123456789abcdef")


def _ways(target, data):
    """Return the coverage of an input: pairs of consecutive lines (file, line, next line) in replicator's code."""
    with _traced() as steps:
        target(data)
    return steps


@contextmanager
def _traced():
    steps = set()

    def call(frame, _event, _argument):
        file = frame.f_code.co_filename
        if not file.startswith(_OURS):
            return None
        last = 0

        def line(frame, event, _argument):
            nonlocal last
            if event == "line":
                steps.add((file, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    before = sys.gettrace()
    sys.settrace(call)
    threading.settrace(call)
    try:
        yield steps
    finally:
        sys.settrace(before)
        threading.settrace(before)
