"""The real agent in a thread."""

import asyncio
import os
import socket
import threading
from contextlib import suppress

from replicator.agent.server import Server
from replicator.errors import ChannelLost, ProtocolError


class AgentChannel:
    """A channel to the real agent, which runs in a thread at the other end of a socket pair."""

    def __init__(self, jail, session=b"in-process"):
        self._ours, self._theirs = socket.socketpair()
        self.failure = None
        self.written = 0
        self._server = Server(
            self._theirs.fileno(),
            self._theirs.fileno(),
            session=session,
            pin_root=os.fsencode(jail),
        )
        self._thread = threading.Thread(target=self._serve)
        self._reader = self._writer = None

    def _serve(self):
        try:
            self._server.run()
        except (ProtocolError, OSError) as error:  # OSError: closed before it could send hello
            self.failure = error
        finally:
            self._theirs.close()

    async def start(self):
        self._reader, self._writer = await asyncio.open_connection(sock=self._ours)
        self._thread.start()
        return self

    async def read(self):
        try:
            return await self._reader.read(1 << 18)
        except ConnectionError:
            return b""

    async def write(self, data):
        self.written += len(data)
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError as error:
            raise ChannelLost("the agent has ended") from error

    def kill(self):
        """Close both directions at once, as when the agent is killed."""
        with suppress(OSError):
            self._theirs.shutdown(socket.SHUT_RDWR)

    def diagnosis(self):
        return str(self.failure or "")

    async def close(self):
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
        await asyncio.to_thread(self._thread.join)
