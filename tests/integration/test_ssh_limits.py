"""What an SSH connection may cost, whatever the server does: memory for those that fail, turns of the loop for floods."""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
from pathlib import Path

import asyncssh
import pytest
import uvloop

from replicator.config import SSHSettings
from replicator.errors import ConnectFailed, TransportError
from replicator.ports import Address
from replicator.transport import cork
from replicator.transport.pins import Pins
from replicator.transport.ssh import SSHConnector
from replicator.transport.trust import HostKeyPolicy
from tests.support import PROJECT
from tests.support.hostile import resident
from tests.support.sshd import Keys, Sshd, free_port

LOOPS = [asyncio.run, uvloop.run]
MEMORY = 16 << 20
FLOODS = ["global-requests", "silent-requests", "ignored", "debug", "window", "opens", "channel-requests", "no-data",
    "crumbs", "errors", "unknown", "rekeys"]  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def connector(keys, tmp_path):
    known = tmp_path / "known_hosts"
    known.touch()
    settings = SSHSettings(
        user="root" if os.geteuid() == 0 else "",
        identity=str(keys.identity),
        known_hosts=str(known),
        host_keys="accept-new",
    )
    return SSHConnector(
        settings, HostKeyPolicy(str(known), mode="accept-new", pins=Pins(tmp_path / "p"))
    )


@contextlib.contextmanager
def flooder(kind):
    command = [sys.executable, "-m", "tests.support.flooder", kind]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe) as process:
        try:
            yield Address("127.0.0.1", port=int(process.stdout.readline()))
        finally:
            process.kill()


@pytest.mark.parametrize("run", LOOPS)
def test_a_thousand_refused_connections_leave_nothing_behind(connector, run, tmp_path):
    known = tmp_path / "known_hosts"
    key = " ".join(Path(f"{connector._settings.identity}.pub").read_text().split()[:2])
    known.write_text("".join(f"10.1.{n >> 8}.{n & 255} {key}\n" for n in range(600)))
    where = Address("127.0.0.1", port=free_port())

    async def refused():
        with pytest.raises(ConnectFailed, match="connection refused"):
            await connector.connect(where)

    async def main():
        await refused()
        gc.collect()
        gc.disable()  # nothing may have to wait for the collector, whose full runs are rare in the daemon
        try:
            before = resident()
            for _ in range(50):
                await asyncio.gather(*(refused() for _ in range(20)))
            assert resident() - before < MEMORY
        finally:
            gc.enable()
        made = [o for o in gc.get_objects() if isinstance(o, asyncssh.SSHClientConnection)]
        assert made == []

    run(main())


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("kind", FLOODS)
def test_a_server_that_floods_is_left_and_others_are_served_meanwhile(connector, kind, run):
    async def flooded(where):
        channel = await connector.connect(where)
        while await channel.read():
            pass
        diagnosis = channel.diagnosis()
        await channel.close()
        raise ConnectFailed(diagnosis)

    async def main(honest, evil):
        other = await connector.connect(honest)
        before = resident()
        attack = asyncio.create_task(flooded(evil))
        rounds = 0
        while not attack.done():
            await asyncio.sleep(0.01)
            await other.write(b"x")
            rounds += 1
        with pytest.raises(TransportError, match=r"floods us|does not read"):
            await attack
        assert resident() - before < MEMORY
        assert rounds > 1
        await other.close()

    with flooder("honest") as honest, flooder(kind) as evil:
        run(main(honest, evil))


@pytest.mark.parametrize("run", LOOPS)
def test_without_the_cork_everything_works(keys, connector, tmp_path, monkeypatch, run):
    monkeypatch.setattr(cork, "_has_all", lambda _: False)

    async def main(server):
        channel = await connector.connect(Address(server.address, port=server.port))
        assert not channel._cork.works
        await channel.close()

    with Sshd(tmp_path / "sshd", keys=keys) as server:
        run(main(server))
