"""What the engine may rely on in any Channel: the same suite for a child process and for a real OpenSSH server."""

import asyncio
import contextlib
import hashlib
import os
import sys
import time
from pathlib import Path

import pytest

from replicator.config import SSHSettings
from replicator.errors import AgentFailed, AgentMissing, ChannelLost
from replicator.ports import Address
from replicator.transport import bundle, stream
from replicator.transport.ssh import SSHConnector
from replicator.wire.frames import MARKER
from tests.support.child_agent import LocalConnector
from tests.support.sshd import Sshd
from tests.support.waiting import FOREVER, eventually, turns

BULK = 64 << 20

SAY = f"""
import os, sys, hashlib, time
def say(data):
    data = memoryview(data)
    while data: data = data[os.write(1, data):]
def begin(): say({MARKER!r})
"""

ECHO = (
    SAY
    + """
begin()
while True:
    data = os.read(0, 65536)
    if not data: break
    say(data)
"""
)

COUNT = (
    SAY
    + f"""
begin()
got, digest = 0, hashlib.sha256()
while got < {BULK}:
    data = os.read(0, 1 << 20)
    if not data: break
    got += len(data)
    digest.update(data)
say(digest.hexdigest().encode())
"""
)


def giving(file):
    """An agent that sends all, and keeps in a file how many MiB it has got rid of."""
    return (
        SAY
        + f"""
begin()
block = bytes(range(256)) * 4096
for number in range({BULK >> 20}):
    say(block)
    with open({str(file)!r}, "w") as file: file.write(str(number + 1))
"""
    )


def sleeping(file):
    """An agent that reads nothing until a file appears, and then all."""
    return (
        SAY
        + f"""
begin()
while not os.path.exists({str(file)!r}): time.sleep(0.01)
while os.read(0, 1 << 20): pass
"""
    )


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(params=["local", "ssh"])
def connect(request, tmp_path):
    """Return a function: source of an agent -> channel to it."""
    if request.param == "local":

        async def connect(source):
            return await LocalConnector(code=bundle.pack(source)).connect(Address("here"))

        return connect
    server = request.getfixturevalue("sshd")
    known = tmp_path / "known_hosts"
    known.write_text(server.known_hosts_line())
    settings = SSHSettings(
        user="root" if os.geteuid() == 0 else "",
        identity=str(server.keys.identity),
        known_hosts=str(known),
    )

    async def connect(source):
        connector = SSHConnector(settings, code=bundle.pack(source))
        return await connector.connect(Address(server.address, port=server.port))

    return connect


@pytest.fixture(autouse=True)
async def nothing_stays(request):
    if "connect" in request.fixturenames:
        request.getfixturevalue("connect")  # what it starts may stay
    """No task, descriptor or process of ours may outlive a channel."""
    tasks, files = asyncio.all_tasks(), _sockets()

    def more():
        return asyncio.all_tasks() - tasks - {asyncio.current_task()}

    children = _children()
    yield
    await eventually(lambda: not more(), lambda: f"{more()} to end")
    await eventually(lambda: _sockets() <= files, lambda: f"{_sockets() - files} to be closed")
    await eventually(lambda: _children() <= children, "children to be gone")


def _sockets():
    """Open sockets and pipes, each by a name that is never used again."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {name for name in found if name.startswith(("socket:", "pipe:"))}


def _children():
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


async def _read_exactly(channel, count):
    data = b""
    while len(data) < count:
        piece = await channel.read()
        assert piece, f"ended after {len(data)} of {count}: {channel.diagnosis()}"
        data += piece
    assert len(data) == count
    return data


def _resident():
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_bytes_come_back_as_they_went(connect):
    channel = await connect(ECHO)
    sent = bytes(range(256)) * 300
    await channel.write(sent)
    assert await _read_exactly(channel, len(sent)) == sent
    await channel.write(b"x")
    assert await channel.read() == b"x"
    await channel.close()


async def test_what_follows_the_marker_at_once_is_not_lost(connect):
    channel = await connect(SAY + f"say({MARKER!r} + b'and at once'); os.read(0, 1)")
    assert await _read_exactly(channel, 11) == b"and at once"
    await channel.close()


async def test_a_marker_in_pieces_behind_noise_is_found(connect):
    pieces = [b"Welcome!\n", MARKER[:3], MARKER[:9], MARKER[9:], b"rest"]
    # The third piece is a beginning that the fourth completes; the second must not mislead.
    source = SAY + f"for p in {pieces!r}: say(p); time.sleep(0.03)\nos.read(0, 1)"
    channel = await connect(source)
    assert await _read_exactly(channel, 4) == b"rest"
    await channel.close()


async def test_64_mib_go_up_whole(connect):
    channel = await connect(COUNT)
    block, digest = os.urandom(1 << 20), hashlib.sha256()
    before = _resident()
    for _ in range(BULK >> 20):
        digest.update(block)
        await channel.write(block)
    assert await _read_exactly(channel, 64) == digest.hexdigest().encode()
    assert _resident() - before < BULK // 2
    await channel.close()


async def test_64_mib_come_down_whole(connect, tmp_path):
    channel = await connect(giving(tmp_path / "given"))
    got, digest, before = 0, hashlib.sha256(), _resident()
    while data := await channel.read():
        got += len(data)
        digest.update(data)
    assert got == BULK
    wanted = hashlib.sha256()
    for _ in range(BULK >> 20):
        wanted.update(bytes(range(256)) * 4096)
    assert digest.digest() == wanted.digest()
    assert _resident() - before < BULK // 2
    await channel.close()


async def test_a_writer_waits_for_a_reader_that_sleeps(connect, tmp_path):
    wake = tmp_path / "wake"
    channel = await connect(sleeping(wake))
    written = 0

    async def write():
        nonlocal written
        for _ in range(BULK >> 20):
            await channel.write(bytes(1 << 20))
            written += 1

    writer = asyncio.create_task(write())
    await _stands_still(lambda: written)
    assert written < 16, "MiB were queued although nobody reads"
    assert not writer.done()
    wake.touch()
    await asyncio.wait_for(writer, FOREVER)
    assert written == BULK >> 20
    await channel.close()


async def test_a_peer_that_sends_waits_for_our_reading(connect, tmp_path):
    given = tmp_path / "given"
    channel = await connect(giving(given))
    before = _resident()

    def count():
        return int(given.read_text() or 0) if given.exists() else 0

    await _stands_still(count)
    assert count() < 24, "MiB arrived although we did not read"
    assert _resident() - before < 32 << 20
    got = 0
    while data := await channel.read():
        got += len(data)
    assert got == BULK
    await channel.close()


async def _stands_still(count):
    """Wait until a counter has not moved for a while."""
    last, since = 0, time.monotonic()

    def still():
        nonlocal last, since
        now = count()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 0.4

    await eventually(still, "a standstill")


async def test_an_agent_that_ends_closes_the_stream_and_the_error_has_its_reason(connect):
    channel = await connect(
        SAY
        + "begin(); say(b'last words'); sys.stderr.write('disk \\x1b[31mgone\\nreally'); sys.exit(3)"
    )
    assert await _read_exactly(channel, 10) == b"last words"
    assert await channel.read() == b""
    assert await channel.read() == b""
    await eventually(channel.diagnosis, "a diagnosis")
    assert "disk" in channel.diagnosis()
    assert "really" in channel.diagnosis()
    assert channel.diagnosis().isprintable()
    await channel.close()


async def test_endless_error_output_is_bounded_and_blocks_nobody(connect):
    channel = await connect(
        SAY
        + "begin(); sys.stderr.write('e' * (4 << 20)); sys.stderr.flush(); say(b'done'); os.read(0, 1)"
    )
    assert await _read_exactly(channel, 4) == b"done"
    assert len(channel.diagnosis()) <= stream.SHOWN + 50
    await channel.close()


async def test_writing_to_an_agent_that_has_ended_is_a_lost_channel(connect):
    channel = await connect(SAY + "begin(); sys.exit(0)")
    while await channel.read():
        pass

    async def write_on():
        while True:
            await channel.write(bytes(1 << 16))

    with pytest.raises(ChannelLost):
        await asyncio.wait_for(write_on(), FOREVER)
    with pytest.raises(ChannelLost):
        await channel.write(b"x")
    await channel.close()


async def test_a_writer_that_waits_hears_of_the_end(connect, tmp_path):
    die = tmp_path / "die"
    channel = await connect(
        SAY + f"begin()\nwhile not os.path.exists({str(die)!r}): time.sleep(0.01)\nos._exit(1)"
    )
    written = 0

    async def write():
        nonlocal written
        while True:
            await channel.write(bytes(1 << 18))
            written += 1

    writer = asyncio.create_task(write())
    await _stands_still(lambda: written)
    die.touch()
    with pytest.raises(ChannelLost):
        await asyncio.wait_for(writer, FOREVER)
    await channel.close()


async def test_a_reader_that_waits_hears_of_our_own_close(connect):
    channel = await connect(ECHO)
    reader = asyncio.create_task(channel.read())
    await turns()
    await channel.close()
    assert await asyncio.wait_for(reader, FOREVER) == b""
    with pytest.raises(ChannelLost):
        await channel.write(b"x")


async def test_closing_twice_is_fine_and_waits_for_no_reader_even_with_much_queued(
    connect, tmp_path
):
    later = tmp_path / "later"
    channel = await connect(sleeping(later))
    writer = asyncio.create_task(channel.write(bytes(16 << 20)))
    await turns()  # it writes, and its reader sleeps until `later`
    async with asyncio.timeout(FOREVER):
        await asyncio.gather(channel.close(), channel.close())
        await channel.close()
    writer.cancel()
    with contextlib.suppress(asyncio.CancelledError, ChannelLost):
        await writer
    later.touch()  # sshd ends nobody: the agent meets the end of its input by itself


async def test_a_cancelled_start_leaves_nothing(connect):
    starting = asyncio.create_task(connect("import time; time.sleep(60)"))
    await turns(3)  # in the middle of it: nothing has answered yet
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(starting, FOREVER)


async def test_an_agent_that_does_not_start_is_an_error_with_the_reason(connect):
    with pytest.raises(AgentFailed) as caught:
        await connect("raise RuntimeError('no luck today')")
    assert "no luck today" in str(caught.value)


async def test_too_much_noise_before_the_marker_is_refused(connect):
    with pytest.raises(AgentFailed, match="login prints more than 64 KiB"):
        await connect(SAY + "say(b'#' * 100_000); begin(); os.read(0, 1)")


async def test_a_missing_file_in_the_agents_words_is_not_a_missing_python(connect):
    with pytest.raises(AgentFailed) as caught:
        await connect("import sys; sys.exit('libcrypto.so.3: not found')")
    assert not isinstance(caught.value, AgentMissing)


async def test_a_child_of_another_python_runs_too():
    connector = LocalConnector(python=os.path.realpath(sys.executable), code=bundle.pack(ECHO))
    channel = await connector.connect(Address("here"))
    await channel.write(b"hello")
    assert await channel.read() == b"hello"
    await channel.close()


async def test_an_agent_that_only_stops_talking_makes_no_writer_spin(connect, tmp_path):
    """Its output ends, its process does not: a writer must wait or fail, but never hold the loop."""
    hush = tmp_path / "hush"
    channel = await connect(
        SAY
        + f"begin()\nwhile not os.path.exists({str(hush)!r}): time.sleep(0.01)\n"
        + "os.close(1); os.close(2); time.sleep(30)"
    )
    written = 0

    async def write():
        nonlocal written
        while True:
            await channel.write(bytes(1 << 18))
            written += 1

    writer = asyncio.create_task(write())
    await _stands_still(lambda: written)
    before = written
    hush.touch()
    assert await channel.read() == b""
    await asyncio.wait([writer], timeout=0.3)
    assert written <= before + 1, "memory would grow without end"
    await channel.close()
    with pytest.raises(ChannelLost):
        await asyncio.wait_for(writer, FOREVER)
