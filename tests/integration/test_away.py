"""What a frontend missed of a large file comes as a delta against what it has, and whatever goes wrong, the right content comes in the end."""

import os
import random
from contextlib import contextmanager

import pytest

from replicator.engine.frontend import preparation
from replicator.wire import frames, messages
from replicator.wire.messages import BeginFile, SumBlocks
from tests.support.backend import Backend, LocalFleet
from tests.support.releases import MixedFleet
from tests.support.waiting import wait_for

MIB = 1 << 20
SIZE = 64 * MIB


def edit(path, edits=8, seed=7):
    made = random.Random(seed)
    with path.open("r+b") as file:
        for _ in range(edits):
            file.seek(made.randrange(path.stat().st_size - 100))
            file.write(made.randbytes(100))


class Recorded(LocalFleet):
    """Records the messages to the agents, and calls `before_sending` with each."""

    def __init__(self, directory):
        super().__init__(directory)
        self.sent = []
        self.before_sending = lambda message: None

    async def connect(self, address, identity=""):
        channel = await super().connect(address, identity)
        write = channel.write

        async def recording(data):
            for message in messages_in(data):
                self.sent.append(message)
                self.before_sending(message)
            await write(data)

        channel.write = recording
        return channel


def messages_in(data):
    decoder = frames.Decoder()
    decoder.receive(data)
    return [messages.decode(frame.header) for frame in decoder.frames()]


@contextmanager
def away(backend, host="one"):
    """Let a frontend be away for as long as the context lasts."""
    backend.connector.refused.add(host)
    backend.connector.kill(host)
    wait_for(lambda: backend.row(host)["state"] != "live", "the connection to be lost")
    yield
    wait_for(
        lambda: backend.row(host)["dirty"] and not any(map(_pending, backend.status()["trees"])),
        backend.explain_status,
    )
    backend.connector.refused.discard(host)


def _pending(tree):
    return tree["pending"]


def bytes_for(backend, host="one"):
    return backend.row(host)["bytes_sent"]


@pytest.fixture
def fleet(tmp_path):
    return Recorded(tmp_path)


@pytest.fixture
def backend(tmp_path, fleet):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/big").write_bytes(random.Random(1).randbytes(SIZE))
    with Backend(tmp_path, ["one"], fleet) as backend:
        backend.wait_until_equal()
        yield backend


@pytest.mark.parametrize("change", ["in place", "inserted", "appended", "replaced"])
def test_of_a_large_file_that_changed_while_the_frontend_was_away_only_the_difference_is_sent(
    backend, change
):
    big, before = backend.source / "big", bytes_for(backend)
    with away(backend):
        if change == "in place":
            edit(big)
        elif change == "inserted":
            content = big.read_bytes()
            big.write_bytes(content[:MIB] + b"some more" + content[MIB:])
        elif change == "appended":
            with big.open("ab") as file:
                file.write(b"some more" * 1000)
        else:
            # Not in the tree, which would send it as another file.
            new = backend.source.parent / "new"
            new.write_bytes(big.read_bytes())
            edit(new)
            new.rename(big)
    backend.wait_until_equal()
    assert bytes_for(backend) - before < SIZE // 20
    assert backend.row("one")["bytes_saved"] > SIZE * 9 // 10
    assert backend.row("one")["last_error"] == ""


def test_of_a_large_file_in_an_older_image_only_the_difference_is_sent(tmp_path, fleet):
    (tmp_path / "source").mkdir()
    big = tmp_path / "source/big"
    big.write_bytes(random.Random(1).randbytes(SIZE))
    (tmp_path / "one/site").mkdir(parents=True)
    (tmp_path / "one/site/big").write_bytes(big.read_bytes())
    os.utime(tmp_path / "one/site/big", (1, 1))
    (tmp_path / "source/longer").write_bytes(big.read_bytes()[: 8 * MIB] + b"some more")
    (tmp_path / "one/site/longer").write_bytes(big.read_bytes()[: 8 * MIB])
    edit(big)
    with Backend(tmp_path, ["one"], fleet) as backend:
        backend.wait_until_equal()
        assert bytes_for(backend) < SIZE // 20
        assert backend.row("one")["last_error"] == ""


def test_many_parts_of_a_large_file_are_sent_a_few_at_a_time(backend, fleet):
    """More is lacking than a delta in memory may hold: the limit of live deltas is 4 MiB."""
    before = bytes_for(backend)
    with away(backend):
        edit(backend.source / "big", edits=1500)
    backend.wait_until_equal()
    assert 5 * MIB < bytes_for(backend) - before < SIZE // 5


def test_a_file_of_which_nothing_is_left_is_sent_whole(backend, fleet):
    with away(backend):
        (backend.source / "big").write_bytes(random.Random(2).randbytes(SIZE))
    backend.wait_until_equal()
    assert [one.delta for one in begun(fleet)][-1] is False
    assert backend.row("one")["last_error"] == ""


def begun(fleet):
    return [one for one in fleet.sent if isinstance(one, BeginFile)]


def test_new_and_small_files_are_sent_without_asking(backend, fleet):
    fleet.sent.clear()
    (backend.source / "new").write_bytes(random.Random(3).randbytes(8 * MIB))
    (backend.source / "small").write_bytes(b"small")
    backend.wait_until_equal()
    with away(backend):
        (backend.source / "small").write_bytes(b"another")
    backend.wait_until_equal()
    assert not [one for one in fleet.sent if isinstance(one, SumBlocks)]


@pytest.mark.parametrize("when", [SumBlocks, BeginFile])
def test_a_file_that_changes_on_the_frontend_between_sums_and_patch_has_the_right_content_in_the_end(
    backend, fleet, when
):
    there = backend.site("one") / "big"

    def tamper(message):
        if isinstance(message, when) and not done and (when is BeginFile or message.first > 0):
            done.append(message)
            edit(there)

    done = []
    with away(backend):
        edit(backend.source / "big")
        fleet.before_sending = tamper
    backend.wait_until_equal()
    assert done
    assert [one.delta for one in begun(fleet)][-1] is False
    assert backend.row("one")["last_error"] == ""


def test_a_file_that_changes_unnoticed_after_it_was_summed_is_refused_and_sent_whole(
    backend, fleet, monkeypatch
):
    there = backend.site("one") / "big"

    def tamper(message):
        if isinstance(message, BeginFile) and message.delta:
            edit(there, edits=200)
            done.append(message)

    done = []
    # No version is named, as if the change had left it equal: only the digest of the result tells.
    begin = preparation.begin_frame
    monkeypatch.setattr(
        preparation, "begin_frame", lambda put, *, delta, base: begin(put, delta=delta)
    )
    with away(backend):
        edit(backend.source / "big")
        fleet.before_sending = tamper
    backend.wait_until_equal()
    assert done
    assert [one.delta for one in begun(fleet)][-2:] == [True, False]


def test_a_file_that_is_gone_or_another_thing_on_the_frontend_is_sent_whole(backend, fleet):
    there = backend.site("one") / "big"
    with away(backend):
        edit(backend.source / "big")
        there.unlink()
        os.mkfifo(there)
    backend.wait_until_equal()


def test_a_file_that_changes_on_the_backend_while_it_is_compared_arrives(backend, fleet):
    big = backend.source / "big"

    def tamper(message):
        if isinstance(message, SumBlocks) and not done:
            done.append(message)
            edit(big, seed=9)

    done = []
    with away(backend):
        edit(big)
        fleet.before_sending = tamper
    backend.wait_until_equal()
    assert done


def test_an_agent_of_the_last_release_gets_the_whole_file(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/big").write_bytes(random.Random(1).randbytes(16 * MIB))
    with Backend(tmp_path, ["old"], MixedFleet(tmp_path)) as backend:
        backend.wait_until_equal()
        before = bytes_for(backend, "old")
        with away(backend, "old"):
            edit(backend.source / "big")
        backend.wait_until_equal()
        assert bytes_for(backend, "old") - before > 16 * MIB
        assert backend.row("old")["last_error"] == ""


def test_frontends_with_the_same_version_share_one_search(tmp_path):
    (tmp_path / "source").mkdir()
    big = tmp_path / "source/big"
    big.write_bytes(random.Random(1).randbytes(SIZE))
    hosts = ["one", "two", "three"]
    for host in hosts:
        (tmp_path / host / "site").mkdir(parents=True)
        (tmp_path / host / "site/big").write_bytes(big.read_bytes())
    with big.open("ab") as file:
        file.write(b"some more")
    with Backend(tmp_path, hosts, Recorded(tmp_path)) as backend:
        backend.wait_until_equal()
        (tree,) = backend.app.service.pipelines.values()
        # Once for its digest, once for the search, and what the frontends lack.
        assert tree.tree.source.bytes_read < 2 * SIZE + 10 * MIB


def test_live_changes_are_not_delayed_while_a_file_is_summed_and_patched(backend, fleet):
    """Between two stretches that are summed, and between two parts of the delta, the agent applies what has come meanwhile."""
    uploads = []

    def upload(message):
        if isinstance(message, SumBlocks | messages.Data):
            number = len(uploads)
            (backend.source / f"live-{number}").write_text("live")
            uploads.append(number)

    with away(backend):
        edit(backend.source / "big")
        fleet.before_sending = upload
    backend.wait_until_equal()
    fleet.before_sending = lambda message: None
    order = [type(one) for one in fleet.sent]
    last_data = max(place for place, kind in enumerate(order) if kind is messages.Data)
    first_sums = order.index(SumBlocks)
    live = [
        place
        for place, one in enumerate(fleet.sent)
        if isinstance(one, messages.Batch)
        and any(change.path.startswith(b"live-") for change in one.changes)
    ]
    assert any(first_sums < place < last_data for place in live)
