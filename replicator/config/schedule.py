"""When something recurs, written as text such as `daily 03:30`: in the backend's local time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from replicator.config.texts import SHOWN
from replicator.errors import ConfigError

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

INTERVALS = {"hourly": 3600, "daily": 86_400, "weekly": 7 * 86_400, "monthly": 31 * 86_400}
"""Longest time in seconds from one time to the next, apart from changes of the clock."""

_FORM = re.compile(
    r"(?P<every>hourly|(?:daily|weekly\s+(?P<weekday>[a-z]{3,9})|monthly\s+(?P<day>[0-9]{1,2}))\s+(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}))",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class Schedule:
    """Recurring times.

    Attributes:
        every: `hourly`, `daily`, `weekly` or `monthly`.
        day: weekly: 0 (Monday) to 6; monthly: day of the month, 1 to 28.
        at: time of the day; not for `hourly`, which is each full hour.
    """

    every: str
    day: int = 0
    at: time = time()

    @property
    def interval(self) -> int:
        """Seconds from one time to the next, at most."""
        return INTERVALS[self.every]

    def next(self, after: float) -> float:
        """Return the first time after another one; both in Unix seconds.

        A time that the clock skips, because summer time begins, counts as one hour later; of a time that occurs twice, the first counts.
        """
        local = datetime.fromtimestamp(after)  # noqa: DTZ006  # local time is what is asked for
        if self.every == "hourly":
            hour = local.replace(minute=0, second=0, microsecond=0).timestamp()
            while hour <= after:
                hour += 3600
            return hour
        day = local.date()
        while not (self._is_on(day) and _moment(day, self.at) > after):
            day += timedelta(days=1)
        return _moment(day, self.at)

    def _is_on(self, day: date) -> bool:
        if self.every == "weekly":
            return day.weekday() == self.day
        return self.every == "daily" or day.day == self.day


def _moment(day: date, at: time) -> float:
    return datetime.combine(day, at).timestamp()


def parse_schedule(where: str, text: str) -> Schedule:
    """Parse `hourly`, `daily HH:MM`, `weekly DAY HH:MM` (such as `sun` or `sunday`) or `monthly N HH:MM` (N from 1 to 28).

    Args:
        where: TOML path, for the error message.
        text: the schedule.

    Raises:
        ConfigError: if `text` is none.
    """
    match = _FORM.fullmatch(text.strip())
    if match is not None:
        every = match["every"].split()[0].lower()
        day = _day(every, (match["weekday"] or match["day"] or "").lower())
        hour, minute = int(match["hour"] or 0), int(match["minute"] or 0)
        if day is not None and hour < 24 and minute < 60:
            return Schedule(every, day, time(hour, minute))
    raise ConfigError(
        where,
        "expected 'hourly', 'daily 03:30', 'weekly sun 03:30' or 'monthly 1 03:30' (day 1 to 28),"
        f" got {text[:SHOWN]!r}",
    )


def _day(every: str, text: str) -> int | None:
    """Return the number of a day; None if there is no such day."""
    if every == "weekly":
        found = [number for number, name in enumerate(DAYS) if text in (name, name[:3])]
        return found[0] if found else None
    if every == "monthly":
        return int(text) if 1 <= int(text) <= 28 else None
    return 0
