"""Test each frontend as the daemon would use it: log in, start the agent, open each target, and write a file into it."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import os
import time
from collections.abc import Iterator

from replicator.app.origin import origin_of
from replicator.config import Config, TreeSettings
from replicator.doctor.finding import Finding
from replicator.engine.changes.create import delete_change, next_number
from replicator.engine.frontend.connection import Connection
from replicator.errors import ChannelLost, ReplicatorError, TransportError
from replicator.model import TEMPORARY_PREFIX, TEMPORARY_SUFFIX
from replicator.ports import Candidate
from replicator.transport.ssh import SSHConnector
from replicator.wire.changes import PutFile
from replicator.wire.messages import OpenTree, Origin

CONTENT = b"Written by `replicator check`, and removed again.\n"

AGENT = "/opt/replicator/bin/replicator agent --root"
"""Command of an agent that was installed as docs/operations.md describes."""


async def examine_frontend(
    connector: SSHConnector, candidate: Candidate, config: Config
) -> list[Finding]:
    """Connect to one frontend, test every target, and return the findings."""
    subject = f"frontend {candidate.address}"
    try:
        channel = await connector.connect(candidate.address, candidate.identity)
    except TransportError as error:
        why = "it gets no files; the daemon keeps trying to connect"
        return [Finding("fail", subject, str(error), why, frontend=True)]
    link = Connection(channel, lambda *_: None, lambda: None)
    loop = asyncio.get_running_loop()
    receiver, trying = loop.create_task(link.receive()), loop.create_task(_try_trees(link, config))
    try:
        async with asyncio.timeout(config.ssh.connect_timeout):
            await asyncio.wait([receiver, trying], return_when=asyncio.FIRST_COMPLETED)
        if not trying.done():
            raise ChannelLost("the connection was lost")
        refused = trying.result()
    except (ReplicatorError, TimeoutError) as error:
        reason = _reason_of(receiver) or str(error) or "no answer in time"
        return [Finding("fail", subject, reason, "it gets no files", frontend=True)]
    else:
        user = candidate.address.user or config.ssh.user or getpass.getuser()
        found = [one for trial in refused for one in trial.findings(subject, user)]
        return found or [Finding("ok", subject, link.agent.about, frontend=True)]
    finally:
        receiver.cancel()
        trying.cancel()
        await asyncio.gather(receiver, trying, return_exceptions=True)
        await channel.close()


def _reason_of(receiver: asyncio.Task[None]) -> str:
    """Return why the connection ended, such as the agent's last error output; empty if it did not end."""
    ended = receiver.done() and not receiver.cancelled()
    return str(receiver.exception() or "") if ended else ""


async def _try_trees(link: Connection, config: Config) -> list[Trial]:
    await link.exchange_hello()
    roots = [os.fsencode(tree.source) for tree in config.tree]
    origin = await asyncio.to_thread(origin_of, roots)
    trials = [Trial(link, number, tree, origin) for number, tree in enumerate(config.tree, 1)]
    for trial in trials:
        await trial.run()
    return trials


class Trial:
    """Writes a file into one target, with the configured owner, and removes it: every operation that replication needs.

    Args:
        link: connection to the frontend.
        number: number of the tree on the wire.
        settings: the settings of the tree.
        origin: device and inode numbers of the sources, so that an agent on this machine refuses to overwrite them.
    """

    def __init__(
        self, link: Connection, number: int, settings: TreeSettings, origin: Origin
    ) -> None:
        self._link = link
        self._number = number
        self._target = settings.target or settings.source
        self._owner = settings.owner
        self._setid = settings.setid
        self._origin = origin
        self._durable = settings.durable == "batch"
        self._denied = ""
        self._refused = ""
        self._lacking = ""

    async def run(self) -> None:
        """Test the target, and record what is refused.

        If the write is refused, repeat it without the owner, to tell whether only the change of owner is refused.

        Raises:
            ReplicatorError: if the target cannot be opened, or the connection is lost.
        """
        self._lacking = self._link.agent.unsupported(self._request(self._owner))
        self._refused = await self._put(self._owner)
        if self._refused and self._owner and not await self._put(""):
            self._denied, self._refused = self._refused, ""

    def findings(self, subject: str, user: str) -> Iterator[Finding]:
        """Yield what was refused, and how to fix it."""
        target = self._target
        command = f"{AGENT} {target}" + (f" --owner {self._owner}" if self._owner else "")
        in_sudoers = command.replace(":", "\\:")
        pinned = (
            f'let {user} run the agent as root, pinned to this directory: restrict,command="sudo -n {command}" in its'
            f" authorized_keys, and `{user} ALL=(root) NOPASSWD: {in_sudoers}` in /etc/sudoers.d/replicator there"
        )
        if self._lacking:
            yield Finding(
                "warn", subject, self._lacking, "it is served without that feature", frontend=True
            )
        if self._denied:
            yield Finding(
                "fail", subject, f"files in {target} cannot be given to {self._owner}: {self._denied}",
                "every file is refused", f'owner = "{user}:GROUP", with {user} a member of GROUP there; or {pinned}', frontend=True,
            )  # fmt: skip
        if self._refused:
            yield Finding(
                "fail", subject, f"{target} cannot be written: {self._refused}",
                "every file is refused", f"chown {user} {target} there; or {pinned}", frontend=True,
            )  # fmt: skip

    def _request(self, owner: str) -> OpenTree:
        place = os.fsencode(self._target)
        return OpenTree(self._number, place, owner, self._setid, self._durable, origin=self._origin)

    async def _put(self, owner: str) -> str:
        """Write and remove a file; return the reason if that is refused, otherwise an empty string."""
        name = TEMPORARY_PREFIX + b"check-%d" % os.getpid() + TEMPORARY_SUFFIX
        await self._link.open_tree(self._request(owner))
        now, digest = time.time_ns(), hashlib.sha256(CONTENT).digest()
        put = PutFile(next_number(), self._number, name, 0o600, len(CONTENT), now, digest)
        refused = await self._link.ask(put, CONTENT)
        removed = await self._link.ask(delete_change(self._number, name))
        return refused or removed
