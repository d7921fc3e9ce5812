"""tests/guarantees.toml is complete: it names existing tests for each promise and each scenario of the documents."""

import ast
import re
import tomllib
from functools import cache

import pytest

from tests.support import PROJECT

LISTED = tomllib.loads((PROJECT / "tests/guarantees.toml").read_text())
NAMED = sorted({name for group in LISTED.values() for tests in group.values() for name in tests})


@cache
def names_in(path):
    """Return the names of all tests in a file: functions, methods of classes, state machines."""
    found = []
    for node in ast.parse((PROJECT / path).read_text()).body:
        if isinstance(node, ast.ClassDef):
            found += [f"{node.name}::{inner}" for inner in functions(node.body)]
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found += [node.targets[0].id] * node.targets[0].id.startswith("Test")
    return found + functions(ast.parse((PROJECT / path).read_text()).body)


def functions(body):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [n.name for n in body if isinstance(n, kinds) and n.name.startswith("test_")]


@pytest.mark.parametrize("reference", NAMED)
def test_a_listed_test_exists(reference):
    path, _, name = reference.partition("::")
    assert (PROJECT / path).is_file()
    assert [one for one in names_in(path) if not name or one == name or one.startswith(f"{name}::")]


def test_every_promise_has_tests():
    text = (PROJECT / "docs/guarantees.md").read_text()
    section = text.partition("## Promises")[2].partition("\n## ")[0]
    stated = [
        " ".join(one.split())
        for one in re.findall(r"^\*\*(.+?)\.\*\*", section, re.MULTILINE | re.DOTALL)
    ]
    assert stated == list(LISTED["promises"])
    assert not [promise for promise, tests in LISTED["promises"].items() if not tests]


def test_every_scenario_is_listed_and_one_without_tests_has_a_reason():
    rows = dict(
        re.findall(
            r"^\| ([A-Z]\d+) \| (.*) \|$", (PROJECT / "docs/scenarios.md").read_text(), re.MULTILINE
        )
    )
    assert list(rows) == list(LISTED["scenarios"])
    untested = {name for name, tests in LISTED["scenarios"].items() if not tests}
    assert untested == {"S22"}
    assert "Does not apply" in rows["S22"]
