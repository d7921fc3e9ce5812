"""Launch hooks in memory."""

from replicator.errors import DiscoveryError


class FakeLaunches:
    """Control of launch hooks. Passes tests/contract/test_launch_control.py.

    Args:
        waiting: the launches whose instances wait.

    Attributes:
        waiting: these, until they are completed.
        heartbeats: the launches that a heartbeat was accepted for, in order.
        completed: by launch, whether it was put into service.
        failure: if set, every call raises a DiscoveryError with this text.
    """

    def __init__(self, *waiting):
        self.waiting = set(waiting)
        self.heartbeats = []
        self.completed = {}
        self.failure = ""

    async def heartbeat(self, launch):
        self._check()
        if launch not in self.waiting:
            raise DiscoveryError("No active Lifecycle Action found")
        self.heartbeats.append(launch)

    async def complete(self, launch, *, ready):
        self._check()
        if launch in self.waiting:
            self.waiting.remove(launch)
            self.completed[launch] = ready
        elif any(other.instance == launch.instance for other in self.waiting):
            raise DiscoveryError("No active Lifecycle Action found, but the instance still waits")

    def _check(self):
        if self.failure:
            raise DiscoveryError(self.failure)
