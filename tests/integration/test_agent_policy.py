"""What a pinned agent may do is decided where it is pinned; and whatever others do there, it works, and ends when its input does."""

import os
import subprocess
import sys

import pytest

from replicator.wire import messages
from replicator.wire.changes import SetAttributes
from replicator.wire.messages import Batch, Hello, ListTree
from tests.support.pinned import DIGEST, HELLO, Agent, put
from tests.support.tools import missing
from tests.support.waiting import wait_for

OTHER_USER = 12345
LOCK_ALL = (
    "import fcntl, os, struct, sys\n"
    "fd = os.open(sys.argv[1], os.O_RDONLY)\n"  # before: the way there is closed to other users in tests
    f"if os.geteuid() == 0: os.setgroups([]); os.setgid({OTHER_USER}); os.setuid({OTHER_USER})\n"
    "fcntl.fcntl(fd, 37, struct.pack('hhqqi', fcntl.F_RDLCK, 0, 0, 0, 0))\n"
    "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "print('locked', flush=True); sys.stdin.read()"
)


@pytest.fixture
def root(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "root/site").mkdir(parents=True)
    return tmp_path / "root"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could give files away")
@pytest.mark.parametrize(
    ("asked", "option"),
    [
        ({"owner": f"{OTHER_USER}:{OTHER_USER}"}, "--owner"),
        ({"owner": f":{OTHER_USER}"}, "--owner"),
        ({"setid": True}, "--allow-setid"),
        ({"owner": "root:root", "setid": True}, "--allow-setid"),
    ],
)
def test_what_the_frontend_has_not_allowed_is_refused_and_nothing_is_written(root, asked, option):
    with Agent(root) as agent:
        assert option in agent.open(**asked).error
        agent.send(Batch((put(b"f"),)), HELLO)
        assert agent.answers(1) is None
    assert list((root / "site").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_fixed_on_the_frontend_replaces_the_requested_one(root):
    fixed = ["--owner", f"{OTHER_USER}:{OTHER_USER}", "--allow-setid"]
    with Agent(root, arguments=fixed) as agent:
        assert agent.open(owner="root:root").error
        assert agent.open(owner=f"{OTHER_USER}", setid=True)[:4] == (1, OTHER_USER, OTHER_USER, "")
        assert agent.open()[:4] == (1, OTHER_USER, OTHER_USER, "")
        agent.send(Batch((put(b"f")._replace(mode=0o4755),)), HELLO)
        assert agent.answers(1) == {1: ""}
    status = (root / "site/f").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (
        OTHER_USER,
        OTHER_USER,
        0o755,
    )


def test_only_trees_that_the_frontend_names_are_served(root):
    (root / "other").mkdir()
    with Agent(root, arguments=["--tree", "site", "--tree", str(root / "deep/er")]) as agent:
        assert agent.open(b"/site").error == ""
        assert agent.open(os.fsencode(root / "deep/er"), tree=2).error == ""
        for target in (b"/other", b"/site/sub", os.fsencode(root), b"/deep"):
            assert "--tree" in agent.open(target, tree=3).error, target


@pytest.mark.parametrize(
    "arguments",
    [["--owner", "nobody-of-that-name:root"], ["--owner", "4294967295"], ["--no-such-option"]],
)
def test_a_wrong_option_is_an_error_and_the_agent_does_not_start(root, arguments):
    with pytest.raises(AssertionError, match=r"no user|not a valid user id|unrecognized"):
        Agent(root, arguments=arguments)


def test_a_root_that_holds_the_home_is_refused_with_what_to_use_instead(root):
    prelude = f"import os; os.environ['HOME'] = {str(root)!r}"
    with pytest.raises(AssertionError, match=r"holds the home directory .* /var/www/shop/upload"):
        Agent(root, prelude=prelude)
    Agent(root / "site", prelude=prelude).__exit__()


def test_a_lock_on_the_target_by_another_user_stops_no_agent(root):
    """The target can be opened by everybody, and what can be opened can be locked."""
    if os.geteuid() != 0:
        missing("root, who can be somebody else as well")
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", LOCK_ALL, root / "site"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as other:
        assert other.stdout.readline() == b"locked\n"
        with Agent(root) as agent:
            assert agent.open().error == ""
            agent.send(ListTree(1, 1, b"", digest=False, credit=9))
            assert agent.hear().end
            agent.send(Batch((put(b"f"),)), HELLO)
            assert agent.answers(1) == {1: ""}
            assert agent.end() == (0, "")
        other.stdin.close()
    assert (root / "site/f").read_bytes() == HELLO


def test_of_two_agents_of_one_backend_the_newer_may_write(root):
    with Agent(root) as old, Agent(root) as new:
        for agent in (old, new):
            agent.send(Hello(messages.VERSION, messages.FEATURES, "backend"))
            assert agent.open().error == ""
            agent.send(Batch((put(b"f"),)), HELLO)
            assert agent.answers(1) == {1: ""}
            assert os.listdir(root / "site") == ["f"]  # what is locked does not lie in a target
        old.send(Batch((put(b"g", 2),)), HELLO)
        assert old.answers(2) is None
        assert "newer agent" in old.end()[1]
        assert new.end() == (0, "")


@pytest.mark.parametrize("busy", ["idle", "listing", "transfer", "hashing"])
def test_an_agent_ends_when_its_input_ends(root, busy):
    for number in range(3000):
        (root / "site" / f"{number}").touch()
    with Agent(root) as agent:
        agent.open()
        if busy == "listing":
            agent.send(ListTree(1, 1, b"", digest=True, credit=1))
        if busy == "transfer":
            agent.send(messages.BeginFile(put(b"f", size=10), delta=False))
        if busy == "hashing":  # a minute and more of it
            (root / "site/large").touch()
            os.truncate(root / "site/large", 200 << 30)
            agent.send(Batch((SetAttributes(1, 1, b"large", 0o644, 200 << 30, 5, 0, DIGEST),)))
        agent.process.stdin.close()
        wait_for(lambda: agent.process.poll() is not None, "its end")
