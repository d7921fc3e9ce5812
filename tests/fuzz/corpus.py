"""Inputs that are worth keeping: each takes some way through our code that no smaller one takes."""

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
"""Where the engine leaves what broke a target. Once mended, it belongs in the corpus, under a name that says what it was."""

MOST = 40
"""Files that are kept for a target, besides those with names of their own."""

_OURS = os.path.dirname(replicator.__file__)


def files(name):
    """Return the corpus of a target, the smallest first."""
    return sorted((CORPUS / name).glob("*"), key=lambda path: (path.stat().st_size, path.name))


def keep(target, found):
    """Make the corpus of a target out of what it is and what was found; return the names of new files.

    Args:
        target: whose.
        found: inputs that did not break it.
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
    """Return the steps from line to line in our code that an input takes."""
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
