"""A reason is logged once, and shown until the work succeeds."""

import pytest
from structlog.testing import capture_logs

from replicator.base.last_error import LastError
from replicator.errors import StoreError


def fail(error, reason):
    with pytest.raises(StoreError, match=reason), error.recorded():
        raise StoreError(reason)


def succeed(error):
    with error.recorded():
        pass


def test_a_reason_is_logged_again_only_after_another_one_or_a_success():
    error = LastError("not done", tree="/a")
    with capture_logs() as logs:
        for reason in ("full", "full", "denied", "full"):
            fail(error, reason)
        succeed(error)
        fail(error, "full")
    assert [line["reason"] for line in logs] == ["full", "denied", "full", "full"]
    assert {(line["event"], line["tree"], line["log_level"]) for line in logs} == {
        ("not done", "/a", "warning")
    }


def test_the_last_reason_is_kept_until_a_success():
    error = LastError("not done")
    assert error.reason == ""
    fail(error, "full")
    fail(error, "denied")
    assert error.reason == "denied"
    succeed(error)
    assert error.reason == ""


def test_only_the_first_success_after_a_failure_is_logged():
    error = LastError("not done", "done again", tree="/a")
    with capture_logs() as logs:
        succeed(error)
        assert logs == []
        fail(error, "full")
        succeed(error)
        succeed(error)
    assert [line["event"] for line in logs] == ["not done", "done again"]
    assert logs[-1] == {"event": "done again", "tree": "/a", "log_level": "info"}


def test_an_error_of_another_kind_is_neither_a_failure_of_the_store_nor_a_success():
    error = LastError("not done")
    fail(error, "full")
    with capture_logs() as logs, pytest.raises(KeyError), error.recorded():
        raise KeyError
    assert logs == []
    assert error.reason == "full"
