"""The restrictions of an agent are effective, what it needs still works, and what a kernel lacks is reported."""

import ctypes
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from replicator.agent import sandbox
from replicator.wire.messages import BeginFile, Data, ListTree, OpenTree
from tests.support import PROJECT
from tests.support.descriptors import files_open
from tests.support.pinned import Agent, put
from tests.support.sshd import find_python
from tests.support.tools import missing

BEGIN = """
import json, os, resource, socket, subprocess, sys
from replicator.agent import sandbox
os.chdir(sys.argv[1])
if sys.argv[2] == "pinned":
    os.umask(0o077)
words = sandbox.restrict(os.getcwd() if sys.argv[2] != "streamed" else None, connects=sys.argv[2] == "connects")

def tried(act, *arguments, **settings):
    try:
        act(*arguments, **settings)
    except OSError as error:
        return type(error).__name__
    return ""
"""


@pytest.fixture(params=["this", "3.9"])
def python(request):
    return sys.executable if request.param == "this" else find_python(request.param)


@pytest.fixture
def jail(tmp_path):
    """A directory to be confined to, beside a secret."""
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 2:
        missing("a kernel with Landlock")
    (tmp_path / "jail").mkdir()
    (tmp_path / "outside").write_text("secret")
    return tmp_path / "jail"


def run(directory, code, *, python=sys.executable, mode="pinned"):
    """Run `code` in a restricted child in `directory`; return the words, and what it put into `found`."""
    done = subprocess.run(
        [python, "-c", f"{BEGIN}\n{code}\nprint(json.dumps([words, found]))", directory, mode],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_outside_the_root_can_be_opened_made_or_removed(jail, python):
    code = """
found = {
    "read": tried(open, "/etc/passwd"),
    "beside": tried(open, "../outside"),
    "overwrite": tried(open, "../outside", "r+"),
    "truncate": tried(os.truncate, "../outside", 0),
    "make": tried(open, "../new", "w"),
    "mkdir": tried(os.mkdir, "../new"),
    "symlink": tried(os.symlink, "x", "../new"),
    "unlink": tried(os.unlink, "../outside"),
    "list": tried(os.listdir, "/"),
    "out": (open("mine", "w").close(), tried(os.rename, "mine", "../mine"))[1],
    "in": tried(os.rename, "../outside", "stolen"),
    "hard link": tried(os.link, "../outside", "stolen"),
    "execute": tried(subprocess.run, ["/bin/true"]),
    "device": tried(os.mknod, "fifo", 0o010600),
}
"""
    words, found = run(jail, code, python=python)
    assert "landlock" in words
    assert "no landlock" not in words
    assert set(found.values()) <= {"PermissionError", "OSError"}, found  # EXDEV for some renames
    assert (jail.parent / "outside").read_text() == "secret"
    assert sorted(os.listdir(jail.parent)) == ["jail", "outside"]


def test_all_that_a_tree_needs_works_inside(jail, python):
    (jail / "a").mkdir()
    (jail / "b").mkdir()
    code = """
found = [
    tried(open, "a/f", "w"),
    tried(os.rename, "a/f", "a/g"),
    tried(os.rename, "a/g", "b/g"),
    tried(os.truncate, "b/g", 5),
    tried(os.chmod, "b/g", 0o640),
    tried(os.utime, "b/g", ns=(5, 5)),
    tried(os.symlink, "../outside", "b/link"),
    tried(os.rename, "b/link", "a/link"),
    tried(os.mkdir, "b/new"),
    tried(os.rename, "b", "a/b"),
    tried(os.listdir, "a/b"),
    tried(os.unlink, "a/link"),
    tried(os.rmdir, "a/b/new"),
]
import wave  # a module of Python's own that nobody has asked for before
"""
    _, found = run(jail, code, python=python)
    assert set(found) == {""}, found
    status = (jail / "a/b/g").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns, status.st_size) == (0o640, 5, 5)


def test_no_socket_is_bound_or_connected(jail):
    code = """
found = [tried(socket.socket().bind, ("127.0.0.1", 0)), tried(socket.socket().connect, ("127.0.0.1", 9))]
"""
    words, found = run(jail, code)
    if int(words.rpartition(" ")[2]) < 4:
        missing("a kernel whose Landlock knows TCP")
    assert found == ["PermissionError", "PermissionError"]


def test_an_agent_that_connects_can_look_up_and_verify_its_store_and_read_nothing_else(jail):
    code = """
import glob
looked_up = [path for path in sandbox._LOOKED_UP if os.path.exists(path)]
found = {
    "looked up": {path: tried(os.listdir if os.path.isdir(path) else open, path) for path in looked_up},
    "secret": tried(open, "../outside"),
    "passwords": tried(open, "/etc/passwd"),
    "connect": tried(socket.socket().connect, ("127.0.0.1", 9)),
    "name": tried(socket.getaddrinfo, "localhost", 80),
}
"""
    _, found = run(jail, code, mode="connects")
    assert "/etc/hosts" in found["looked up"]
    assert set(found["looked up"].values()) == {""}, found["looked up"]
    assert (found["secret"], found["passwords"]) == ("PermissionError", "PermissionError")
    assert (found["connect"], found["name"]) == ("ConnectionRefusedError", "")


@pytest.mark.parametrize("mode", ["pinned", "streamed"])
def test_privileges_core_files_and_resources_are_given_up_in_both_modes(tmp_path, python, mode):
    code = """
found = [open("/proc/self/status").read() if mode == "streamed" else "",
         [resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_DATA)]]
"""
    words, (status, limits) = run(tmp_path, f"mode = {mode!r}{code}", python=python, mode=mode)
    assert words.startswith("no_new_privs, not dumpable, limits, ")
    assert limits == [0, limits[1], sandbox.MAX_MEMORY]
    assert 200 < limits[1] <= sandbox.MAX_DESCRIPTORS
    if mode == "streamed":
        assert words.endswith("no landlock (streamed)")
        assert "NoNewPrivs:\t1" in status


def test_a_pinned_agent_reports_its_restrictions_and_the_kernel_agrees(jail):
    with Agent(jail) as agent:
        assert "; no_new_privs, not dumpable, limits, landlock " in agent.about
        status = Path(f"/proc/{agent.process.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        limits = Path(f"/proc/{agent.process.pid}/limits").read_text()
        assert "Max core file size        0                    0" in limits


def test_a_restricted_agent_on_the_oldest_python_hashes_and_resolves_owners(jail):
    """A large delta, a name with a control character, an owner by name: what imports or reads late."""
    content = b"x" * (1 << 20)
    with Agent(jail, python=find_python("3.9")) as agent:
        agent.send(OpenTree(1, b"/site", "root:root"))
        assert agent.hear()[:4] == (1, 0, 0, "")
        large = put(b"large", 1, size=len(content))._replace(
            digest=hashlib.sha256(content).digest()
        )
        agent.send(BeginFile(large, delta=False))
        agent.send(Data(1, [[-1, len(content)]], end=True), content)
        assert agent.answers(1) == {1: ""}
        (jail / "site/fifo\x1b\n").mkdir()
        agent.send(ListTree(1, 1, b"", digest=True, credit=5))
        assert [line.path for line in agent.hear().lines] == [b"fifo\x1b\n", b"large"]
        agent.send(BeginFile(put(b"fifo\x1b\n", 2), delta=True))
        assert agent.answers(2) == {2: "path_refused"}
        assert agent.end() == (0, "")


def test_a_restricted_agent_knows_its_private_group_on_the_way_to_its_root(jail, python):
    """A 0775 directory of a private group with a `current` symlink, as Capistrano and Deployer leave it."""
    if os.geteuid() != 0:
        missing("root, whose group has no other members")
    (jail / "1").mkdir()
    (jail / "current").symlink_to("1")
    jail.chmod(0o775)
    with Agent(jail / "current", python=python) as agent:
        assert "; no_new_privs, not dumpable, limits, landlock " in agent.about
        assert agent.open()[:4] == (1, -1, -1, "")
    assert (jail / "1/site").is_dir()


@pytest.mark.parametrize(
    ("version", "words"),
    [(1, "no landlock (version 1 forbids renames)"), (-1, "no landlock ({errno})")],
)
def test_a_kernel_that_lacks_it_is_no_obstacle(tmp_path, version, words):
    report = sandbox.landlock(lambda *_: version, str(tmp_path))
    assert report == words.format(errno=os.strerror(ctypes.get_errno()))


def test_a_kernel_that_refuses_half_way_leaves_no_descriptor(tmp_path):
    before = files_open()

    def kernel(number, *_):
        if number.value == 444:
            return 2 if _[0] is None else os.open("/dev/null", os.O_RDONLY)
        ctypes.set_errno(1)
        return -1

    assert sandbox.landlock(kernel, str(tmp_path)) == f"no landlock ({os.strerror(1)})"
    assert files_open() == before


@pytest.mark.parametrize("version", range(2, 12))
def test_every_version_is_asked_for_what_it_knows_and_no_more(tmp_path, version):
    asked, allowed = [], []

    def kernel(number, *rest):
        if number.value == 444 and rest[0] is None:
            return version
        if number.value == 444:
            asked.extend(memoryview(rest[0]).cast("Q"))
            return os.open("/dev/null", os.O_RDONLY)
        if number.value == 445:
            allowed.append(int.from_bytes(rest[2][:8], sys.byteorder))
        return 0

    assert sandbox.landlock(kernel, str(tmp_path)) == f"landlock {version}"
    bits = {2: 14, 3: 15, 4: 15}.get(version, 16)
    assert asked == [2**bits - 1, 3 * (version >= 4), 3 * (version >= 6)]
    assert [rights & ~asked[0] for rights in allowed] == [0, 0]  # the kernel would refuse
    assert not any(rights & 1 for rights in allowed)  # nothing may be executed


def test_a_python_without_ctypes_is_no_obstacle(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox, "ctypes", None)
    assert sandbox.restrict(str(tmp_path)).startswith("no sandbox")
