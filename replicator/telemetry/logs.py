"""Configure logging: one line per event on standard error, text on a terminal and JSON otherwise; with priorities if journald reads it."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from replicator.telemetry import journal
from replicator.telemetry.limit import Limiter
from replicator.telemetry.recent import RECENT


def configure(level: str, form: str) -> None:
    """Set up structlog and the standard library's loggers.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `text`, `json`, or `auto` (text on a terminal, JSON otherwise).
    """
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    to_journal = journal.stderr_is_journal(sys.stderr)
    renderers = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if text
        else [
            structlog.processors.format_exc_info,
            _event_first,
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.configure(
        processors=[
            Limiter(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            RECENT,
            *([_with_priority(renderers)] if to_journal else renderers),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # asyncssh logs every connection and channel at info level; replicator itself logs the events that matter.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    if to_journal:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(journal.Formatter())
    logging.getLogger("asyncssh").setLevel(logging.ERROR)


def _event_first(
    _: Any,
    __: str,
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Put the event and the level before the other fields, and the time behind them."""
    first = {name: event.pop(name) for name in ("event", "level") if name in event}
    last = {"timestamp": event.pop("timestamp")} if "timestamp" in event else {}
    return {**first, **event, **last}


def _with_priority(renderers: list[Any]) -> Any:
    """Return a processor that renders a line and puts the journal's priority before it."""

    def render(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        level, line = str(event.get("level", name)), event
        for renderer in renderers:
            line = renderer(logger, name, line)
        return journal.prefixed(level, str(line))

    return render
