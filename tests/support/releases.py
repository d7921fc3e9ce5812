"""The streamed agent code of the last release, made by `transport.bundle.agent_code()` of that release."""

import zlib

from replicator.transport.bundle import pack
from tests.support import PROJECT
from tests.support.backend import LocalFleet
from tests.support.child_agent import LocalConnector

LAST = PROJECT / "tests/data/agent-27b323c.bundle"


def source_of(bundle=LAST):
    """Return the Python source in a bundle."""
    return zlib.decompress(bundle.read_bytes().partition(b"\n")[2]).decode()


def code_of(jail, bundle=LAST):
    """Return the code for the loader of an agent that is confined to a directory."""
    source = source_of(bundle)
    assert "\nJAIL = None\n" in source
    return pack(source.replace("\nJAIL = None\n", f"\nJAIL = {str(jail)!r}\n"))


class MixedFleet(LocalFleet):
    """Frontends of which some run the agent of the last release, as pinned frontends do until they are upgraded."""

    def __init__(self, directory, old=("old",)):
        super().__init__(directory)
        self.old = old

    async def connect(self, address, identity=""):
        if address.host not in self.old:
            return await super().connect(address, identity)
        root = self.root(address.host)
        root.mkdir(exist_ok=True)
        channel = await LocalConnector(code=code_of(root)).connect(address)
        self.channels[address.host] = channel
        return channel
