"""A directory that turns into a symlink to the outside and back, as fast as it can, while changes below it arrive.

The length of each race in seconds is taken from REPLICATOR_RACE_SECONDS.
"""

import hashlib
import os
import subprocess
import sys
import time

import pytest

from replicator.wire.changes import Delete, MakeDirectory, MakeSymlink, Move, SetAttributes
from replicator.wire.messages import Acks, Batch, BeginFile, Data, Listing, ListTree
from tests.support.pinned import HELLO, OPEN, Agent, make_outside, picture, put, strays
from tests.support.tools import missing
from tests.support.waiting import wait_for

SECONDS = float(os.environ.get("REPLICATOR_RACE_SECONDS", "3"))
SECRET = b"what nobody inside may learn"

FLIPPER = """
import ctypes, os, sys
kind, sub, other, count = sys.argv[1:]
exchange = ctypes.CDLL(None, use_errno=True).renameat2
a, b = os.fsencode(sub), os.fsencode(other)
flips = 0
while True:
    if kind == "exchange":
        exchange(-100, a, -100, b, 2)
    else:  # with moments in which there is nothing, and the agent may make a directory of its own
        for source, target in ((sub, sub + ".kept"), (other, sub), (sub, other), (sub + ".kept", sub)):
            try:
                os.rename(source, target)
            except OSError:
                pass
    flips += 1
    if flips % 256 == 0:
        with open(count + ".new", "w") as file:
            file.write(str(flips))
        os.rename(count + ".new", count)
"""

FOLLOWING = "from replicator.files import confined, walk\nconfined._DIRECTORY &= ~os.O_NOFOLLOW\n"
NO_WALK = f"import os\n{FOLLOWING}walk.DIRECTORY_FLAGS &= ~os.O_NOFOLLOW"
"""A prelude that takes away what the agent's own walk relies on: with it, only the sandbox is left."""


@pytest.fixture
def world(tmp_path):
    site = tmp_path / "root/site"
    (site / "sub/dir").mkdir(parents=True)
    (site / "swap").symlink_to(make_outside(tmp_path / "outside"))
    (tmp_path / "outside/canary").write_bytes(SECRET)
    return tmp_path


class Flipper:
    """Swaps `sub` and `swap` in a process of its own.

    Args:
        kind: `exchange` both at once, or `rename` one after the other.
    """

    def __init__(self, world, kind):
        self.count = world / "flips"
        site = world / "root/site"
        self.process = subprocess.Popen(
            [sys.executable, "-c", FLIPPER, kind, site / "sub", site / "swap", self.count]
        )
        wait_for(self.count.exists, "the first flips")

    def flips(self):
        return int(self.count.read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def barrage(number):
    """Return one of each change below `sub`, under names that are outside too."""
    return (
        put(b"sub/canary", number),
        SetAttributes(number + 1, 1, b"sub/canary", 0o600, 5, 1, 0, b""),
        SetAttributes(
            number + 2, 1, b"sub/canary", 0o640, len(SECRET), 1, 0, hashlib.sha256(SECRET).digest()
        ),
        MakeDirectory(number + 3, 1, b"sub/dir", 0o711, 1),
        MakeDirectory(number + 4, 1, b"sub/empty", 0o711, 1),
        MakeSymlink(number + 5, 1, b"sub/link", 1, b"elsewhere"),
        Move(number + 6, 1, b"sub/canary", b"sub/dir/moved"),
        Move(number + 7, 1, b"sub/dir/inner", b"stolen"),
        Delete(number + 8, 1, b"sub/empty"),
        Delete(number + 9, 1, b"sub/link"),
        put(b"sub/dir/inner", number + 10),
        put(b"sub/new", number + 11),
    )


def race(agent, seconds):
    """Send all that there is to send below `sub`; return (outcomes seen, lines listed). The agent must not end."""
    outcomes, lines = set(), []
    deadline = time.monotonic() + seconds
    number = 100
    while time.monotonic() < deadline:
        changes = barrage(number)
        large = number + len(changes)
        agent.send(Batch(changes), HELLO, HELLO, HELLO)
        agent.send(BeginFile(put(b"sub/large", large), delta=False))
        agent.send(Data(large, [[-1, 5]], end=True), HELLO)
        agent.send(BeginFile(put(b"sub/canary", large + 1), delta=True))
        agent.send(Data(large + 1, [[0, 5]], end=True))
        agent.send(ListTree(number, 1, b"", digest=True, credit=9))
        waiting, number = set(range(number, large + 2)), large + 2
        listed = False
        while waiting or not listed:
            message = agent.hear()
            assert message is not None, agent.end()
            if isinstance(message, Listing):
                lines += message.lines
                listed = message.end
            elif isinstance(message, Acks):
                outcomes |= {"done"} if message.done else set()
                outcomes |= {reason for _, reason, _ in message.refused}
                waiting -= {*message.done, *(refused for refused, _, _ in message.refused)}
    return outcomes, lines


def learned(lines):
    """Return the lines that contain something from outside the root."""
    digest = hashlib.sha256(SECRET).digest()
    return [
        line for line in lines if line.entry.digest == digest or line.path.endswith(b"/only-here")
    ]


@pytest.mark.parametrize("kind", ["exchange", "rename"])
@pytest.mark.parametrize("prelude", [OPEN, ""], ids=["the walk alone", "walk and sandbox"])
def test_a_directory_that_flips_to_the_outside_and_back_leads_nowhere(world, kind, prelude):
    (world / "outside/only-here").write_text("x")
    before = picture(world / "outside")
    with Agent(world / "root", prelude=prelude) as agent:
        assert agent.open().error == ""
        with Flipper(world, kind) as flipper:
            outcomes, lines = race(agent, SECONDS / 2)
            flips = flipper.flips()
        assert flips >= 256
        assert len(outcomes) > 1
        assert "done" in outcomes
        assert learned(lines) == []
        assert picture(world / "outside") == before
        agent.send(Batch((put(b"after", 9),)), HELLO)
        assert agent.answers(9) == {9: ""}
        assert agent.end() == (0, "")
    assert strays(world) == []
    for path in (world / "root").rglob("*"):
        assert path.is_symlink() or path.is_dir() or SECRET not in path.read_bytes()


@pytest.mark.parametrize("sandboxed", [False, True])
def test_without_the_walk_the_race_is_lost_unless_the_agent_is_sandboxed(world, sandboxed):
    """With a walk that follows symlinks the outside is hit within moments: so the test above can fail."""
    outside = world / "outside"
    (outside / "only-here").write_text("x")
    before = contents(outside)
    with Agent(world / "root", prelude=NO_WALK if sandboxed else f"{OPEN}\n{NO_WALK}") as agent:
        if sandboxed and ", landlock " not in agent.about:
            missing("a kernel with Landlock")
        assert agent.open().error == ""
        with Flipper(world, "exchange"):
            hit = False
            deadline = time.monotonic() + (SECONDS / 2 if sandboxed else 20.0)
            while not hit and time.monotonic() < deadline:
                hit = bool(learned(race(agent, 0.2)[1])) or contents(outside) != before
    assert hit is not sandboxed


def contents(directory):
    """Return what can be read below a directory: Landlock holds back neither chmod nor touch."""
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
