"""The value `ok`: False while anything is refused, dirty, unreadable, unknown, held back or not connected."""

import pytest

from replicator.engine.control.health import NOTHING, Tolerance, is_ok

FRONTEND = {
    "state": "live",
    "dirty": 0,
    "lag_seconds": 0.0,
    "excess": "",
    "unlisted": [],
    "verified": None,
}
TREE = {"state": "watching", "problems": [], "unreadable": [], "pending": 0, "lag_seconds": 0.0}
PROVIDER = {"error": "", "doubt": "", "answered": True}


def status(frontend=None, tree=None, provider=None, verify=None):
    """Two of everything, of which the second is as the test wants it."""
    return {
        "frontends": [FRONTEND, FRONTEND | (frontend or {})],
        "trees": [TREE, TREE | (tree or {})],
        "discovery": [PROVIDER, PROVIDER | (provider or {})],
        "verify": {"error": "", **(verify or {})},
    }


def test_ok_if_everything_is_known_and_nothing_is_dirty():
    assert is_ok(status(), NOTHING)
    assert is_ok(status(frontend={"verified": {"differing": 0}}), NOTHING)
    assert is_ok(status() | {"frontends": []}, NOTHING)


@pytest.mark.parametrize(
    "wrong",
    [
        {"frontend": {"state": state}}
        for state in ("connecting", "queued", "bootstrapping", "retrying", "halted", "paused")
    ]
    + [
        {"frontend": {"dirty": None, "lag_seconds": None}},
        {"frontend": {"excess": "60 of 80 paths there are not on the backend"}},
        {"frontend": {"state": "degraded", "unlisted": ["d: cannot be listed"]}},
        {"frontend": {"state": "degraded", "verified": {"differing": 1}}},
        {"tree": {"state": "scanning"}},
        {"tree": {"state": "halted"}},
        {"tree": {"state": "paused", "pending": 5}},
        {"tree": {"problems": ["10 directories are not watched"]}},
        {"provider": {"error": "no answer"}},
        {"provider": {"answered": False}},
        {"provider": {"doubt": "the answer was empty: keeping 3"}},
        {"verify": {"error": "internal error"}},
    ],
)
def test_not_ok_if_something_is_unknown_or_held_back(wrong):
    assert not is_ok(status(**wrong), NOTHING)
    assert not is_ok(status(**wrong), Tolerance(3600.0, 1_000_000))


@pytest.mark.parametrize(
    ("wrong", "tolerance", "well"),
    [
        ({"frontend": {"state": "degraded", "dirty": 2, "lag_seconds": 9.0}}, NOTHING, False),
        ({"frontend": {"dirty": 2, "lag_seconds": 9.0}}, Tolerance(max_lag=10.0), True),
        ({"frontend": {"dirty": 2, "lag_seconds": 11.0}}, Tolerance(max_lag=10.0), False),
        ({"frontend": {"dirty": 2, "lag_seconds": 9.0}}, Tolerance(max_dirty=2), True),
        ({"frontend": {"dirty": 3, "lag_seconds": 9.0}}, Tolerance(max_dirty=2), False),
        ({"frontend": {"dirty": 2, "lag_seconds": 11.0}}, Tolerance(10.0, 2), False),
        ({"tree": {"pending": 1, "lag_seconds": 0.0}}, NOTHING, False),
        ({"tree": {"pending": 1, "lag_seconds": 0.0}}, Tolerance(max_lag=10.0), True),
        ({"tree": {"unreadable": ["x"]}}, Tolerance(max_lag=10.0), False),
        ({"tree": {"unreadable": ["x"]}}, Tolerance(max_dirty=1), True),
    ],
)
def test_dirty_paths_are_ok_only_within_the_tolerance(wrong, tolerance, well):
    assert is_ok(status(**wrong), tolerance) is well
