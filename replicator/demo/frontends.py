"""Embedded frontends: SSH servers on loopback, each of which runs the real agent on a directory of its own.

Run as a process of their own (`python -m replicator.demo.frontends`), so that their work does not count as the backend's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path

import asyncssh

Reader = asyncio.StreamReader | asyncssh.SSHReader[bytes]
Writer = asyncio.StreamWriter | asyncssh.SSHWriter[bytes]

_AGENT = (
    "import sys; from replicator.agent.main import main; sys.exit(main(['--root', sys.argv[1]]))"
)


async def _run_agent(process: asyncssh.SSHServerProcess[bytes], root: Path) -> None:
    """Serve one login: what a forced command does on a real frontend."""
    agent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _AGENT,
        str(root),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert agent.stdin
    assert agent.stdout
    assert agent.stderr
    await asyncio.gather(
        _pump(process.stdin, agent.stdin),
        _pump(agent.stdout, process.stdout),
        _pump(agent.stderr, process.stderr),
    )
    process.exit(await agent.wait())


async def _pump(source: Reader, sink: Writer) -> None:
    """Carry bytes until the source ends, or nobody takes them any more."""
    with suppress(ConnectionError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.write_eof()


async def serve(directory: Path, count: int) -> None:
    """Listen on `count` ports, print them as one JSON line, and serve until standard input ends.

    `directory` holds the keys `host` and `client.pub`; the roots `frontend-1`, `frontend-2`, ... are made in it.
    """
    acceptors: list[asyncssh.SSHAcceptor] = []
    for number in range(1, count + 1):
        root = directory / f"frontend-{number}"
        root.mkdir()
        acceptor = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[str(directory / "host")],
            authorized_client_keys=str(directory / "client.pub"),
            process_factory=lambda process, root=root: _run_agent(process, root),
            encoding=None,
        )
        acceptors.append(acceptor)
    sys.stdout.write(json.dumps([acceptor.get_port() for acceptor in acceptors]) + "\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for acceptor in acceptors:
        acceptor.close()
        await acceptor.wait_closed()


def make_keys(directory: Path) -> None:
    """Make the host's key and the client's."""
    for name in ("host", "client"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(directory / name)
        key.write_public_key(directory / f"{name}.pub")
        (directory / name).chmod(0o600)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
