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
        self._running: dict[Runner, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def start(self, settings: tuple[HookSettings, ...]) -> None:
        """Run these hooks from now on instead of the earlier ones; `check` must have accepted them.

        One with the same event and command goes on with what it runs and what waits for it; others are ended.
        """
        earlier, self._running = self._running, {}
        is_subscribed = bool(earlier)
        for one in settings:
            runner = next((known for known in earlier if known.is_of(one.event, one.command)), None)
            if runner is None:
                runner = _runner(one)
                self._running[runner] = asyncio.get_running_loop().create_task(runner.follow())
            else:
                runner.batch, runner.seconds = one.batch, one.timeout
                self._running[runner] = earlier.pop(runner)
        for task in earlier.values():
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        if is_subscribed != bool(self._running):
            # Without hooks, events cost nothing.
            change = self._events.unsubscribe if is_subscribed else self._events.subscribe
            change(self._take)

    async def close(self) -> None:
        """End all hooks with what they have started."""
        self.start(())
        await asyncio.gather(*self._ending, return_exceptions=True)

    def describe(self) -> list[dict[str, Any]]:
        """Return a row for each hook, for `status`."""
        return [runner.describe() for runner in self._running]

    def _take(self, event: Event) -> None:
        for runner in self._running:
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
