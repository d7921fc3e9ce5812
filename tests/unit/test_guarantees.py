"""docs/guarantees.md is true: what it names exists, each promise names tests, and no scenario is left out."""

import ast
import re
from functools import cache

import pytest

from tests.support import PROJECT

TEXT = (PROJECT / "docs/guarantees.md").read_text()
REFERENCE = re.compile(r"`(tests/[\w/.-]+?\.py)(?:::([\w:]+))?`")
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("|--")
]


@cache
def names_in(path):
    """Return the names of all tests in a file: functions, methods of classes, state machines."""
    found = []
    for node in ast.parse((PROJECT / path).read_text()).body:
        if isinstance(node, ast.ClassDef):
            found += [f"{node.name}::{inner}" for inner in named_in(node.body)]
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found += [node.targets[0].id] * node.targets[0].id.startswith("Test")
    return found + named_in(ast.parse((PROJECT / path).read_text()).body)


def named_in(body):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [n.name for n in body if isinstance(n, kinds) and n.name.startswith("test_")]


def behind(path, name):
    """Return the tests that a reference means: a whole file, a class, or one test."""
    return [one for one in names_in(path) if not name or one == name or one.startswith(f"{name}::")]


@pytest.mark.parametrize("reference", sorted(set(REFERENCE.findall(TEXT))), ids="::".join)
def test_what_is_named_exists(reference):
    path, name = reference
    assert (PROJECT / path).is_file()
    assert behind(path, name)


def test_every_promise_names_its_tests():
    promises = [row for row in ROWS if len(row) == 3 and not re.fullmatch(r"[A-Z]\d+|id", row[0])]
    assert promises
    assert not [row[0] for row in promises if row[0] != "promise" and not REFERENCE.search(row[2])]


def test_every_scenario_has_its_line():
    wanted = {f"{group}{number}" for group, last in (("B", 9), ("C", 19), ("D", 7), ("G", 8)) for number in range(1, last + 1)}  # fmt: skip
    wanted |= {f"M{number}" for number in range(1, 13)} | {f"S{number}" for number in range(1, 29)}
    told = {row[0]: row[-1] for row in ROWS if re.fullmatch(r"[BCDGMS]\d+", row[0])}
    assert wanted == told.keys()
    silent = [name for name, how in told.items() if not REFERENCE.search(how) and len(how) < 20]
    assert not silent
