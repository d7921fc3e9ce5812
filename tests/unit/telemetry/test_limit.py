"""Lines that are alike are few."""

import pytest
import structlog

from replicator.hooks.process import LINES as RUN
from replicator.telemetry import limit
from replicator.telemetry.limit import LINES, PERIOD, Limiter


class Log:
    """A limiter with a clock of its own, and what passed it."""

    def __init__(self):
        self.now = 100.0
        self.lines = []
        self._limiter = Limiter(lambda: self.now)

    def emit(self, event, **fields):
        try:
            self.lines.append(self._limiter(None, "warning", {"event": event, **fields}))
        except structlog.DropEvent:
            return False
        return True


@pytest.fixture
def log():
    return Log()


def test_the_last_line_announces_the_limit_and_the_next_has_the_number_left_out(log):
    for number in range(10_000):
        log.emit("not replicated", host="one", path=str(number))
    assert len(log.lines) == LINES
    assert ["more" in line for line in log.lines] == [False] * (LINES - 1) + [True]
    log.now += PERIOD
    assert log.emit("not replicated", host="one")
    assert log.lines[-1]["left_out"] == 10_000 - LINES
    log.now += PERIOD
    assert log.emit("not replicated", host="one")
    assert "left_out" not in log.lines[-1]


def test_another_frontend_state_or_event_has_its_own_lines(log):
    for _ in range(LINES):
        log.emit("frontend", host="one", state="live")
    assert not log.emit("frontend", host="one", state="live")
    assert log.emit("frontend", host="two", state="live")
    assert log.emit("frontend", host="one", state="retrying")
    assert log.emit("halted", host="one")


def test_each_hook_has_its_own_lines(log):
    for _ in range(LINES):
        log.emit("hook failed", hook="/etc/one", about="delivered")
    assert not log.emit("hook failed", hook="/etc/one", about="delivered")
    assert log.emit("hook failed", hook="/etc/two", about="delivered")
    assert log.emit("hook failed", hook="/etc/one", about="frontend-live")


def test_the_output_of_one_run_of_a_hook_is_logged_and_that_of_many_is_limited(log):
    logged = [log.emit("hook output", hook="/etc/one", line=str(n)) for n in range(1000)]
    assert logged == [True] * RUN + [False] * (1000 - RUN)
    assert "more" in log.lines[-1]
    log.now += PERIOD
    assert log.emit("hook output", hook="/etc/one", line="again")
    assert log.lines[-1]["left_out"] == 1000 - RUN


def test_the_period_begins_with_its_first_line(log):
    for _ in range(LINES + 1):
        log.emit("x")
    log.now += PERIOD - 1
    assert not log.emit("x")
    log.now += 1
    assert log.emit("x")


def test_its_memory_is_bounded(log):
    for number in range(limit.KINDS + 10):
        log.emit("frontend joined", host=f"host-{number}")
    assert len(log._limiter._seen) <= limit.KINDS
