"""The bar of `verify` and `check`: on a terminal only, on standard error, and gone before anything else is printed."""

import io
import sys

import pytest

from replicator.cli.progress import Meter


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def shown(request, monkeypatch):
    """Show progress, and clear it; return what standard error got until then, and in all."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal() if request.param else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    meter = Meter()
    meter.show("[red]web1", 3, 10, "paths compared")
    before = stream.getvalue()
    meter.clear()
    meter.clear()
    return request.param, before, stream.getvalue()


def test_progress_is_shown_on_a_terminal_only_and_is_removed(shown, capsys):
    is_terminal, before, after = shown
    if not is_terminal:
        assert after == ""
        return
    assert "[red]web1" in before  # names are not markup
    assert "3 of 10 paths compared" in before
    assert after.endswith("\x1b[2K")  # the line is erased
    assert capsys.readouterr().out == ""
