"""The agent's main loop, on two pipes."""

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from replicator.agent import results
from replicator.agent.server import Server
from replicator.errors import ProtocolError
from replicator.wire import changes, frames, messages
from replicator.wire.messages import Acks, Batch, Hello, OpenTree
from tests.support.pinned import HELLO, put


@pytest.fixture
def other_device(tmp_path):
    directory = tempfile.mkdtemp(dir="/dev/shm")
    assert os.stat(directory).st_dev != tmp_path.stat().st_dev
    yield directory
    shutil.rmtree(directory)


def served(*sent):
    """Return what an agent answers to messages, each with its payload, before the backend hangs up."""
    source, theirs = os.pipe()
    ours, sink = os.pipe()
    for message, *payload in sent:
        os.write(theirs, frames.encode(message.header(), payload))
    os.close(theirs)
    try:
        Server(source, sink, session=b"test").run()
        decoder = frames.Decoder()
        decoder.receive(os.read(ours, 1 << 20))
        return [messages.decode(frame.header) for frame in decoder.frames()]
    finally:
        for fd in (source, ours, sink):
            os.close(fd)


def test_a_file_system_that_cannot_be_synced_refuses_only_its_own_changes(
    tmp_path, other_device, monkeypatch
):
    failing = os.stat(other_device).st_dev

    def sync(fd):
        if os.fstat(fd).st_dev == failing:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(results, "sync", sync)
    for name in ("here", "unsynced"):
        (tmp_path / name).mkdir()
    roots = [
        (1, tmp_path / "here", True),
        (2, other_device, True),
        (3, tmp_path / "unsynced", False),
    ]
    files = [put(b"f", number)._replace(tree=number) for number in (1, 2, 3)]
    *_, acks = served(
        (Hello(messages.VERSION, messages.FEATURES, "test"),),
        *[(OpenTree(n, os.fsencode(root), durable=durable),) for n, root, durable in roots],
        (Batch(tuple(files)), HELLO * 3),
    )
    assert isinstance(acks, Acks)
    assert sorted(acks.done) == [1, 3]
    assert acks.refused == ((2, changes.FAILED, "Input/output error"),)


def test_a_backend_that_hung_up_before_the_hello_ends_the_agent_in_silence():
    source, theirs = os.pipe()
    ours, sink = os.pipe()
    os.close(theirs)
    os.close(ours)
    Server(source, sink, session=b"test").run()
    os.close(source)
    os.close(sink)


def test_a_backend_that_hung_up_before_the_marker_ends_the_agent_in_silence():
    ours, sink = os.pipe()
    os.close(ours)
    code = "import sys; from replicator.agent.main import serve; sys.exit(serve(None))"
    ended = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.PIPE,
        timeout=60, check=False,
    )  # fmt: skip
    os.close(sink)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_message_that_only_agents_send_is_a_violation():
    with pytest.raises(ProtocolError, match="unexpected message Acks"):
        served((Acks((), (), 0),))


def test_a_stamp_file_is_replaced_only_if_something_was_changed(tmp_path):
    root = os.fsencode(tmp_path)
    opened = OpenTree(1, root, stamp=b".replicator/stamp")
    served(
        (Hello(messages.VERSION, messages.FEATURES),),
        (opened,),
        (Batch((changes.Delete(1, 1, b"gone"),)),),
    )
    stamp = tmp_path / ".replicator" / "stamp"
    first = int(stamp.read_text())
    before = os.stat(tmp_path).st_mtime_ns
    wrong = put(b"f", 2)._replace(digest=bytes(32))
    served(
        (Hello(messages.VERSION, messages.FEATURES),),
        (opened,),
        (Batch((wrong,)), HELLO),
    )
    assert int(stamp.read_text()) == first
    served(
        (Hello(messages.VERSION, messages.FEATURES),),
        (opened,),
        (Batch((changes.Delete(3, 1, b"gone"),)),),
    )
    assert int(stamp.read_text()) > first
    assert os.stat(tmp_path).st_mtime_ns == before


def test_a_stamp_file_that_cannot_be_written_hinders_no_change(tmp_path):
    (tmp_path / "stamp").mkdir()
    (tmp_path / "stamp" / "full").write_text("x")
    (tmp_path / "f").write_text("x")
    opened = OpenTree(1, os.fsencode(tmp_path), stamp=b"stamp")
    answers = served(
        (Hello(messages.VERSION, messages.FEATURES),),
        (opened,),
        (Batch((changes.Delete(1, 1, b"f"),)),),
    )
    assert answers[-1].done == (1,)
    assert not (tmp_path / "f").exists()


def test_a_stamp_file_outside_of_the_root_is_an_error(tmp_path):
    opened = OpenTree(1, os.fsencode(tmp_path), stamp=b"../stamp")
    assert (
        "not a path below"
        in served((Hello(messages.VERSION, messages.FEATURES),), (opened,))[-1].error
    )
