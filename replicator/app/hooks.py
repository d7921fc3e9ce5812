"""The hooks of the configuration: passes the engine's events to them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable
from typing import Any

from replicator.config import HookSettings
from replicator.core.hook_queue import DeliveredPaths, LatestStates
from replicator.engine.events import DELIVERED, Event, Events
from replicator.errors import ConfigError
from replicator.hooks.runner import Runner
from replicator.model import printable


class Hooks:
    """The running hooks.

    Args:
        events: the events.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._settings: tuple[HookSettings, ...] = ()
        self._runners: list[Runner] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, settings: tuple[HookSettings, ...]) -> None:
        """Run these hooks from now on instead of the earlier ones; `check` must have accepted them."""
        if settings == self._settings:
            return
        self._stop()
        self._settings = settings
        self._runners = list(map(_runner, settings))
        loop = asyncio.get_running_loop()
        self._tasks += [loop.create_task(runner.follow()) for runner in self._runners]
        if self._runners:
            self._events.subscribe(self._take)

    def _stop(self) -> None:
        if self._runners:
            self._events.unsubscribe(self._take)
        for task in self._tasks:
            task.cancel()
        self._tasks = [task for task in self._tasks if not task.done()]
        self._runners = []

    async def close(self) -> None:
        """End all hooks with what they have started."""
        self._stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def describe(self) -> list[dict[str, Any]]:
        """Return a row for each hook, for `status`."""
        return [runner.describe() for runner in self._runners]

    def _take(self, event: Event) -> None:
        for runner in self._runners:
            if runner.event == event.name:
                _add(runner, event)
                runner.wake()


def check(settings: Iterable[HookSettings]) -> None:
    """Check that the programs exist.

    Raises:
        ConfigError: if one does not, or must not be executed.
    """
    for index, hook in enumerate(settings):
        program = hook.command[0]
        if shutil.which(program) is None:
            why = "must not be executed" if os.path.exists(program) else "does not exist"
            raise ConfigError(f"hook[{index}].command", f"{program} {why}")


def _runner(settings: HookSettings) -> Runner:
    name = settings.event
    queue = DeliveredPaths(name) if name == DELIVERED else LatestStates()
    return Runner(name, settings.command, queue, batch=settings.batch, seconds=settings.timeout)


def _add(runner: Runner, event: Event) -> None:
    if isinstance(runner.queue, DeliveredPaths):
        path, target = event.path, event.target
        runner.queue.add(event.tree, path, target, event.at, is_delete=event.is_delete)
    elif isinstance(runner.queue, LatestStates):
        kind, subject = (
            ("frontend", event.frontend) if event.frontend else ("tree", printable(event.tree))
        )
        fields = {"event": event.name, kind: subject, "reason": event.reason, "at": event.at}
        runner.queue.add(subject, fields)
