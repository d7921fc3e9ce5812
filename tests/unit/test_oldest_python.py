"""Constructs that Python 3.11.2 (Debian 12) gets wrong are not used; `make lint` runs this file too."""

import ast

import pytest

from tests.support import PROJECT

WRONG = {
    ast.TryStar: "`except*`: what is raised inside one stays wrapped in a group before 3.11.4; use engine.supervision.leaves",
    "wait_for": "`asyncio.wait_for` loses a cancellation that meets the result before 3.12; use asyncio.timeout",
}


def found(tree):
    """Yield the line and the reason of each construct that is wrong."""
    for node in ast.walk(tree):
        if type(node) in WRONG:
            yield node.lineno, WRONG[type(node)]
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "asyncio.wait_for":
            yield node.lineno, WRONG["wait_for"]
        if isinstance(node, ast.ImportFrom) and node.module == "asyncio":
            yield from ((node.lineno, WRONG[a.name]) for a in node.names if a.name in WRONG)


def test_no_construct_that_python_3_11_2_gets_wrong_is_used():
    files = sorted((PROJECT / "replicator").rglob("*.py"))
    assert files
    reported = [
        f"{path.relative_to(PROJECT)}:{line}: {reason}"
        for path in files
        for line, reason in found(ast.parse(path.read_bytes()))
    ]
    assert not reported, "\n".join(reported)


@pytest.mark.parametrize(
    "code",
    [
        "try: f()\nexcept* OSError: pass",
        "def f():\n  try: g()\n  except* OSError as e: raise ValueError from e",
        "import asyncio\nasync def f(): await asyncio.wait_for(g(), 1)",
        "from asyncio import wait_for",
    ],
)
def test_each_of_them_is_found(code):
    assert list(found(ast.parse(code)))
