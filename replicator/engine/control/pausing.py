"""`pause` and `unpause`: stop replication to one frontend or of one tree, and start it again."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from typing import Any

import structlog

from replicator.engine.control.names import Name, find
from replicator.engine.paused import Machine, Pause, Paused, prolonged
from replicator.engine.service import Service
from replicator.errors import ControlError
from replicator.model import printable

log = structlog.get_logger()

LONGEST = 10 * 365 * 86400.0
"""Longest duration of a pause in seconds."""


class Pausing:
    """Changes what is paused: first in the state file, then in effect.

    Args:
        service: the service.
        paused: what is paused.
        pool: a thread that writes the file.
    """

    def __init__(self, service: Service, paused: Paused, pool: Executor) -> None:
        self._service = service
        self._paused = paused
        self._pool = pool
        self._changing = asyncio.Lock()

    async def pause(self, request: dict[str, Any]) -> dict[str, Any]:
        """Pause what a request names; return its row.

        What is paused already stays so; only the end of the pause changes.

        Raises:
            ControlError: if the name is unknown or ambiguous, or the pause cannot be saved.
        """
        seconds = _seconds(request.get("seconds"))
        by = request.get("by", "")
        async with self._changing:
            named = find(Name.of(request), self._service, self._paused)
            changed = self._paused.copy()
            known = _remove(changed, named)
            pause = prolonged(known, by if isinstance(by, str) else "", seconds)
            if isinstance(named, Machine):
                changed.frontends[named] = pause
            else:
                changed.trees[named] = pause
            await self._apply(changed)
        log.warning("paused", what=_text(named), reason=str(pause))
        return {"what": _text(named), "before": known is not None, **pause.row()}

    async def unpause(self, request: dict[str, Any]) -> dict[str, Any]:
        """End the pause of what a request names; return its row, with `before`: whether it was paused.

        Raises:
            ControlError: if the name is unknown or ambiguous, or the change cannot be saved.
        """
        async with self._changing:
            named = find(Name.of(request), self._service, self._paused)
            changed = self._paused.copy()
            known = _remove(changed, named)
            if known is not None:
                await self._apply(changed)
                log.warning("unpaused", what=_text(named), reason="it was asked for")
        return {"what": _text(named), "before": known is not None}

    async def _apply(self, changed: Paused) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, changed.save, changed)
        except OSError as error:
            raise ControlError(
                f"the pauses cannot be saved in the state directory, so nothing is changed: {error.strerror}"
            ) from error
        self._paused.become(changed)
        self._service.fleet.apply_pauses()

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each pause of what is not served any more, for `status`: it applies if that returns."""
        fleet = [replica.candidate for replica in self._service.fleet]
        roots = {pipeline.tree.root for pipeline in self._service.pipelines.values()}
        gone: list[tuple[Machine | bytes, Pause]] = [
            (one, pause)
            for one, pause in self._paused.frontends.items()
            if not any(map(one.is_of, fleet))
        ]
        gone += [(root, one) for root, one in self._paused.trees.items() if root not in roots]
        return [{"what": _text(one), **pause.row()} for one, pause in gone]


def _remove(paused: Paused, named: Machine | bytes) -> Pause | None:
    """Remove the pause of something, and return it; None if it is not paused."""
    if isinstance(named, bytes):
        return paused.trees.pop(named, None)
    same = [one for one in paused.frontends if one.is_same(named)]
    found = [paused.frontends.pop(one) for one in same]
    return found[0] if found else None


def _text(named: Machine | bytes) -> str:
    return printable(named) if isinstance(named, bytes) else str(named.address)


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= LONGEST:
        raise ControlError("seconds must be a number greater than 0, at most ten years")
    return float(value)
