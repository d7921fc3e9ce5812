"""A channel whose other end is the test."""

import asyncio

from replicator.errors import ChannelLost
from replicator.wire import frames, messages


class FakeChannel:
    """A channel whose other end is the test. Passes tests/contract/test_connector.py.

    Attributes:
        heard: the messages that were written.
        payloads: their payloads.
        closed: True once `close` was called.
        open: write() blocks while this event is not set.
    """

    def __init__(self):
        self.heard = []
        self.payloads = []
        self.closed = False
        self.open = asyncio.Event()
        self.open.set()
        self._incoming = asyncio.Queue()
        self._decoder = frames.Decoder()

    async def read(self):
        data = await self._incoming.get()
        if not data:
            self._incoming.put_nowait(b"")  # every later read is at the end as well
        return data

    async def write(self, data):
        if self.closed:
            raise ChannelLost("the channel is closed")
        self._decoder.receive(data)
        for frame in self._decoder.frames():
            self.heard.append(messages.decode(frame.header))
            self.payloads.append(frame.payload)
        await self.open.wait()

    def send(self, *sent):
        for message in sent:
            self._incoming.put_nowait(frames.encode(message.header()))

    def send_raw(self, data):
        self._incoming.put_nowait(data)

    def hang_up(self):
        self._incoming.put_nowait(b"")

    def of(self, kind):
        return [message for message in self.heard if isinstance(message, kind)]

    def diagnosis(self):
        return "last words"

    async def close(self):
        self.closed = True
        self._incoming.put_nowait(b"")
