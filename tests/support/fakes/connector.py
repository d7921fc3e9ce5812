"""A connector to agents in threads."""

from replicator.errors import ConnectFailed
from tests.support.fakes.agent_channel import AgentChannel


class FakeConnector:
    """A connector to agents in threads; each host has its own directory as file system root.

    Attributes:
        refused: hosts that refuse connections.
        made: the channels by host, in order.
        make: if set, called with the host to create a channel instead of an agent.
    """

    def __init__(self, directory):
        self.directory = directory
        self.refused = set()
        self.made = {}
        self.make = None

    def root(self, host):
        return self.directory / host

    async def connect(self, address, identity=""):
        host = address.host
        if host in self.refused:
            raise ConnectFailed(f"{host}: refused by the test")
        if self.make is not None:
            channel = self.make(host)
        else:
            self.root(host).mkdir(exist_ok=True)
            channel = await AgentChannel(self.root(host)).start()
        self.made.setdefault(host, []).append(channel)
        return channel
