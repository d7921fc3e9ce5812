"""What a sysadmin relies on at 3 a.m.: ends, restarts, a second daemon, the service manager, rights, secrets, the log."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support import PROJECT
from tests.support.daemon import one_line
from tests.support.looking import temporaries_below
from tests.support.sshd import needs_namespaces
from tests.support.tools import find, missing
from tests.support.unprivileged import NOBODY, run_unprivileged
from tests.support.waiting import FOREVER, wait_for

UNIT = PROJECT / "deploy/replicator.service"
GIB = 1 << 30
LARGE = 2 * GIB if os.environ.get("CI") else GIB // 2
"""Bytes of the file in whose middle the daemon ends: more than a signed 32-bit number, where nobody waits for it."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def two(fleet):
    return [fleet.add(f"operated-{i}", f"127.0.2.{i}") for i in (1, 2)]


# --- SIGTERM, SIGKILL, and a second daemon ---


@pytest.mark.timeout(400)
def test_sigterm_in_the_middle_of_gigabytes(make, two):
    backend = make(two[:1])
    backend.fill(20)
    backend.start()
    backend.wait_until_equal()
    backend.stop()
    copy = backend.copy(two[0])
    old = (copy / "big.bin").read_bytes()
    new = backend.source / "big.new"
    with new.open("wb") as file:
        file.truncate(LARGE)  # sparse here; the frontend gets every byte
        file.seek(LARGE // 2)
        file.write(b"in the middle")
    new.rename(backend.source / "big.bin")
    try:
        # It would take a minute and more, if it were let.
        backend.tables["bootstrap"] = {"bandwidth": "8MiB/s"}
        backend.configure()
        backend.start()
        wait_for(lambda: backend.row(two[0])["bytes_sent"] > 24 << 20, "the middle")
        assert temporaries_below(copy)
        begun = time.monotonic()
        assert backend.stop() == 0
        assert time.monotonic() - begun < 30, "it sent the rest"
        wait_for(lambda: not two[0].sessions(), lambda: f"{two[0].sessions()} to end")
        assert not temporaries_below(copy)
        assert (copy / "big.bin").read_bytes() == old

        del backend.tables["bootstrap"]
        backend.configure()
        backend.start()
        wait_for(backend.quiet, lambda: json.dumps(backend.row(two[0])), 200, pause=0.1)
        assert not backend.differences()
        row = backend.row(two[0])
        assert row["files_sent"] == 1, "what is right is not sent again"
        assert LARGE < row["bytes_sent"] < 1.02 * LARGE
    finally:
        backend.kill()
        (copy / "big.bin").unlink()


def test_a_crash_in_the_middle_leaves_nothing_that_a_web_server_would_show(make, two):
    backend = make(two[1:])
    backend.fill(5)
    backend.start()
    backend.wait_until_equal()
    backend.stop()
    copy = backend.copy(two[1])
    (backend.source / "large").write_bytes(os.urandom(48 << 20))
    backend.tables["bootstrap"] = {"bandwidth": "4MiB/s"}
    backend.configure()
    backend.start()
    server = two[1]
    wait_for(lambda: temporaries_below(copy), "a transfer to begin", FOREVER)
    backend.daemon.send_signal(signal.SIGSTOP)
    # The frontend crashes: none of its processes has a moment to clean up after another.
    with server.frozen():
        begun = temporaries_below(copy)
        server.cut()
    wait_for(lambda: not server.sessions(), lambda: f"{server.sessions()} to end")
    left = temporaries_below(copy)
    assert left == begun != []
    assert all(path.name.startswith(".") for path in left), "no web server serves dot-files"
    assert {path.stat().st_dev for path in left} == {copy.stat().st_dev}
    backend.kill()
    del backend.tables["bootstrap"]
    backend.configure()
    backend.start()
    backend.wait_until_equal()
    assert not temporaries_below(copy)


def test_a_second_daemon_is_refused_until_the_first_is_killed(make, two):
    backend = make(two[:1])
    backend.start()
    second = backend.run("serve")
    assert second.returncode == 1
    assert one_line(second.stderr), second.stderr
    assert f"another replicator (pid {backend.daemon.pid}) owns this state" in second.stderr
    backend.kill()
    backend.start()
    (backend.source / "after").write_text("the kill")
    backend.wait_until_equal()
    assert backend.stop() == 0


# --- the service manager ---


class Manager:
    """The receiving end of sd_notify."""

    def __init__(self, directory):
        self.place = str(directory / "notify")
        self.lines = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(self.place)

    def hears(self, line):
        """True if a datagram with this line has come since the last time that it was true; what came before it is forgotten."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.lines += self._socket.recv(4096).decode().splitlines()
        if line not in self.lines:
            return False
        del self.lines[: self.lines.index(line) + 1]
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()


def test_the_service_manager_hears_of_every_turn(make, two, tmp_path):
    backend = make(two[:1])
    with Manager(tmp_path) as manager:
        backend.env = {"NOTIFY_SOCKET": manager.place, "WATCHDOG_USEC": "200000"}
        backend.start()
        wait_for(lambda: manager.hears("READY=1"), "READY")
        wait_for(lambda: manager.hears("STATUS=frontends: 1 live"), lambda: str(manager.lines))
        wait_for(lambda: manager.hears("WATCHDOG=1"), "a heartbeat")

        backend.daemon.send_signal(signal.SIGHUP)
        wait_for(lambda: manager.hears("RELOADING=1"), "RELOADING")
        wait_for(lambda: manager.hears("READY=1"), "READY again")

        backend.daemon.send_signal(signal.SIGTERM)
        wait_for(lambda: manager.hears("STOPPING=1"), "STOPPING")
        assert backend.daemon.wait(FOREVER) == 0


# --- rights ---


def assignments(unit):
    """Return the unit's directives: (section, name, value)."""
    section = ""
    for line in unit.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line.strip() and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, f"no directive: {line!r}"
            yield section, name, value


def test_the_unit_starts_commands_that_exist():
    found = list(assignments(UNIT.read_text()))
    assert {section for section, _, _ in found} == {"Unit", "Service", "Install"}
    directives = {name: value for _, name, value in found}
    assert directives["Type"] == "notify"
    _, command = directives["ExecStart"].split()
    assert subprocess.run(
        [sys.executable, "-m", "replicator", command, "--help"], check=False, capture_output=True
    ).returncode == 0  # fmt: skip
    assert shutil.which(directives["ExecReload"].split()[0])
    assert directives["StateDirectory"] == "replicator"
    assert directives["StateDirectoryMode"] == "0700"


def test_systemd_understands_the_unit(tmp_path):
    analyze = find("systemd-analyze") or missing("systemd-analyze (apt-get install systemd)")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/replicator/bin/replicator", "/bin/true"))
    verified = subprocess.run(
        [analyze, "verify", copy], check=False, capture_output=True, text=True
    )
    assert verified.returncode == 0
    about_us = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert not about_us, verified.stderr
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", copy],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if "unrecognized option" in rated.stderr:
        pytest.skip("this systemd-analyze rates no files")
    assert rated.returncode == 0, rated.stdout[-200:] + rated.stderr


DROP = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # MemoryDenyWriteExecute, where the kernel has it (6.3)
    print("no MDWE", file=sys.stderr)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@needs_root
def test_the_rights_of_the_unit_suffice_and_less_does_not(make, two):
    setpriv = shutil.which("setpriv") or missing("setpriv (util-linux)")
    directives = {name: value for _, name, value in assignments(UNIT.read_text())}
    kept = directives["AmbientCapabilities"].lower().replace("cap_", "+").split()
    backend = make(two[:1])
    private = backend.source / "private"
    private.mkdir(mode=0o700)
    (private / "upload").write_text("of somebody else, mode 0600")
    (private / "upload").chmod(0o600)
    os.chown(private / "upload", 12345, 12345)
    backend.state.mkdir(mode=0o700)
    os.chown(backend.state, NOBODY, NOBODY)
    base = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    few = ["--inh-caps=-all," + ",".join(kept), "--ambient-caps=-all," + ",".join(kept)]
    few += ["--bounding-set=-all," + ",".join(kept)]
    show = ["/bin/grep", "-E", "^Cap(Inh|Prm|Eff|Amb)", "/proc/self/status"]
    backend.tables["[hook]"] = {"event": "frontend-live", "command": show, "batch": 0.0}
    backend.configure()
    backend.start([*base, *few, sys.executable, "-c", DROP])
    backend.wait_until_equal()
    rights = Path(f"/proc/{backend.daemon.pid}/status").read_text()
    assert re.search(r"CapEff:\s+0*10000004\n", rights), rights  # lease and dac_read_search
    # Hooks do not get them, although they are ambient.
    wait_for(lambda: "CapAmb" in backend.log.read_text(), backend.log.read_text)
    assert re.findall(r"Cap(\w+):\\+t(\w+)", backend.log.read_text()) == [
        (kind, "0" * 16) for kind in ("Inh", "Prm", "Eff", "Amb")
    ]
    # A file that is still open for writing is distinguished from a finished one, though it belongs to another user.
    with (private / "growing").open("wb", buffering=0) as file:
        os.chown(private / "growing", 12345, 12345)
        file.write(b"first half")
        lease = f"import os; from replicator.source.snapshot import has_writer\nfd = os.open({str(private / 'growing')!r}, os.O_RDONLY)\nprint(has_writer(fd))"
        asked = subprocess.run(
            [*base, *few, sys.executable, "-c", lease], check=False, capture_output=True, text=True
        )
        assert asked.stdout == "True\n", asked.stderr
        less = [argument.replace("+dac_read_search,+lease", "+dac_read_search") for argument in few]
        asked = subprocess.run(
            [*base, *less, sys.executable, "-c", lease], check=False, capture_output=True, text=True
        )
        assert asked.stdout == "False\n", "without CAP_LEASE the kernel does not report it"
    assert "no MDWE" not in backend.log.read_text() or os.uname().release < "6.3"
    assert backend.stop() == 0


def test_no_other_user_can_read_the_state_even_with_umask_000(make, two):
    backend = make(two[:1])
    backend.tables["state"] = {"directory": "made/on/the/way/state"}
    backend.configure()
    state = backend.state
    backend.start(umask=0)
    (backend.source / "file").write_text("x")
    backend.wait_until_equal()
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [state, *state.rglob("*")]}
    assert modes.pop(state) == 0o700
    assert stat.S_IMODE(state.parent.stat().st_mode) == 0o700
    assert modes.keys() >= {state / name for name in ("control.sock", "lock", "catalog.sqlite")}
    assert set(modes.values()) == {0o600}, modes
    assert backend.stop() == 0


@needs_root
def test_another_user_cannot_use_the_control_socket(make, two, tmp_path):
    backend = make([])
    backend.start()
    for path in [backend.state, *backend.state.parents]:
        if path != backend.state and path.is_relative_to(backend.directory.parent.parent):
            path.chmod(path.stat().st_mode | 0o055)  # to the state directory, and no further
    code = f"""
for path in ({str(backend.state / "control.sock")!r},):
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
        print("talked")
    except OSError as error:
        print(type(error).__name__)
"""
    assert run_unprivileged("import socket", code, tmp_path) == "PermissionError\n"
    backend.state.chmod(0o755)  # the socket has modes of its own
    assert run_unprivileged("import socket", code, tmp_path) == "PermissionError\n"
    backend.state.chmod(0o700)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_state_directory_that_others_can_write_is_refused(make, mode):
    backend = make([])
    backend.state.mkdir()
    backend.state.chmod(mode)
    result = backend.run("serve")
    assert result.returncode == 2
    assert one_line(result.stderr), result.stderr
    assert f"chmod 700 {backend.state}" in result.stderr
    assert list(backend.state.iterdir()) == [], "nothing was begun there"
    assert stat.S_IMODE(backend.state.stat().st_mode) == mode, "it is not ours to mend"


@needs_root
def test_a_state_directory_of_another_user_is_refused(make):
    backend = make([])
    backend.state.mkdir(mode=0o700)
    os.chown(backend.state, NOBODY, NOBODY)
    result = backend.run("serve")
    assert result.returncode == 2
    assert one_line(result.stderr), result.stderr
    assert f"belongs to user {NOBODY}" in result.stderr


@pytest.mark.parametrize("name", ["control.sock", "lock", "catalog.sqlite"])
def test_a_directory_in_the_place_of_a_file_of_the_state_is_reported_in_one_line(make, name):
    backend = make([])
    (backend.state / name / "something").mkdir(parents=True)
    backend.state.chmod(0o700)
    result = backend.run("serve")
    assert result.returncode != 0
    assert one_line(result.stderr), result.stderr
    assert str(backend.state) in result.stderr
    assert "a directory" in result.stderr.lower()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_state_directory_that_is_removed_ends_the_daemon_with_one_sentence(make, two, replaced):
    """In a new directory a second daemon would find no lock."""
    backend = make(two[:1])
    backend.fill(20)
    backend.start()
    backend.wait_until_equal()
    shutil.rmtree(backend.state)
    if replaced:
        backend.state.mkdir(mode=0o700)
    assert backend.daemon.wait(FOREVER) == 1
    log = backend.log.read_text()
    assert "was removed or replaced while the daemon ran" in log
    assert "Traceback" not in log
    backend.kill()
    backend.start()
    backend.wait_until_equal()
    assert backend.stop() == 0


def test_a_lock_that_is_a_link_is_not_followed(make, tmp_path):
    backend = make([])
    backend.state.mkdir(mode=0o700)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (backend.state / "lock").symlink_to(victim)
    result = backend.run("serve")
    assert result.returncode == 2
    assert one_line(result.stderr), result.stderr
    assert victim.read_text() == "precious"


# --- secrets ---

CANARIES = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARYKEY0",
    "AWS_SECRET_ACCESS_KEY": "canary-secret-2f6b0f6a5d/wJalrXUtnFEMI",
    "AWS_SESSION_TOKEN": "canary-session-7a11b0c4d2/IQoJb3JpZ2lu",
}


class FailingCloud:
    """An endpoint of AWS that refuses everything, and quotes what it was sent, as a proxy in a debug mode would."""

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.calls = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                connection.recv(65536)
                self.calls += 1
                body = b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>The security token is invalid</Message></Error></ErrorResponse>"
                head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                connection.sendall(head % len(body) + body)

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def test_no_secret_is_in_any_output(make, fleet, two):
    identity = fleet.keys.make("canary")
    body = [line for line in identity.read_text().splitlines() if not line.startswith("-")]
    secrets = [*CANARIES.values(), *body]
    backend = make([])
    (backend.source / "file").write_text("x")
    outputs = []
    with FailingCloud() as cloud:
        backend.env = {
            **CANARIES,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }
        discovery = {"provider": "alb", "load_balancer": "shop", "endpoint_url": cloud.url}
        backend.tables = {"discovery": discovery, "log": {"level": "debug"}}
        backend.configure(identity=str(identity))
        configuration = backend.config.read_text()
        backend.config.write_text(configuration.replace("frontends = []\n", ""))
        backend.start()
        wait_for(lambda: "refused" in backend.log.read_text(), backend.log.read_text, FOREVER)
        # A login that fails, with this very key.
        failed = backend.run("bootstrap", two[0].frontend)
        assert failed.returncode == 1
        outputs += [failed.stdout, failed.stderr]
        for command in (["discover"], ["check"], ["status"], ["status", "--json"], ["verify"]):
            result = backend.run(*command)
            outputs += [result.stdout, result.stderr]
        outputs.append(Path(f"/proc/{backend.daemon.pid}/cmdline").read_text())
        outputs.append(json.dumps(backend.status()))
        assert backend.stop() == 0
        assert cloud.calls > 1
    outputs.append(backend.log.read_text())
    kept = [path.read_bytes().decode("latin-1") for path in backend.state.iterdir()]
    assert "InvalidClientTokenId" in "".join(outputs), "the failure itself is reported"
    for text in outputs + kept:
        assert not [secret for secret in secrets if secret in text], text


def test_a_password_in_a_url_is_refused_and_not_repeated(make):
    backend = make([])
    backend.tables = {
        "discovery": {
            "provider": "alb", "load_balancer": "x", "endpoint_url": "https://me:canary-word@proxy.example",
        }
    }  # fmt: skip
    backend.configure()
    backend.config.write_text(backend.config.read_text().replace("frontends = []\n", ""))
    for command in ("serve", "status"):
        result = backend.run(command)
        assert result.returncode == 2
        assert one_line(result.stderr), result.stderr
        assert "discovery.endpoint_url" in result.stderr
        assert "canary-word" not in result.stderr + result.stdout


# --- the log ---


def test_ten_thousand_refusals_log_a_few_lines_and_status_lists_them(make, fleet):
    needs_namespaces()
    small = fleet.add("small", "127.0.2.8", tmpfs={fleet.root: "1m"})
    backend = make([small])
    backend.tables["retry"] = {
        "first": 1.0,
        "cap": 10.0,
    }  # or ten thousand are tried again all the time
    backend.configure()
    count = 10_000
    for number in range(count):
        (backend.source / f"{number:05}").write_bytes(b"x" * 200)  # a page of its own each
    backend.start()
    held = 300  # a little more than the pages of 1 MiB

    def refused():
        row = backend.row(small)
        return (row["dirty"] or 0) > count - held and len(row["problems"]) == 10

    wait_for(refused, lambda: json.dumps(backend.row(small)), pause=0.1)
    row = backend.row(small)
    assert "space" in row["last_error"].lower()
    assert row["lag_seconds"] > 0
    lines = [json.loads(line) for line in backend.log.read_text().splitlines()]
    assert 1 <= sum(line["event"] == "not replicated" for line in lines) <= 10
    assert len(lines) < 40
    more = [line["more"] for line in lines if "more" in line]  # one for each minute
    assert more
    assert all("left out" in one for one in more)


def test_a_frontend_that_flaps_writes_few_lines(make, fleet):
    server = fleet.add("flapping", "127.0.2.9")
    backend = make([server])
    backend.tables["retry"] = {"first": 0.05, "cap": 0.05}
    backend.configure()
    backend.start()
    backend.wait_until_equal()
    turns = 0
    while turns < 12 or ("are left out" not in backend.log.read_text() and turns < 60):
        server.cut()
        turns += 1
        wait_for(lambda n=turns: backend.row(server)["logins"] > n, "another login", FOREVER)
    backend.wait_until_equal()
    lines = [json.loads(line) for line in backend.log.read_text().splitlines()]
    assert len(lines) <= 80, len(lines)
    kinds = {(line["event"], line.get("state")) for line in lines}
    for kind in kinds:
        assert sum((line["event"], line.get("state")) == kind for line in lines) <= 20, kind
    assert any("left out" in line.get("more", "") for line in lines)


# --- quiet operation ---


def test_a_thousand_small_changes_to_five_frontends_are_one_login_each(make, fleet):
    five = [fleet.add(f"five-{i}", f"127.0.2.{20 + i}") for i in range(5)]
    backend = make(five)
    backend.start()
    backend.wait_until_equal()
    for number in range(1000):
        (backend.source / f"change-{number}").write_text(str(number))
        if number % 250 == 249:
            backend.wait_until_equal()
    assert [server.logins() for server in five] == [1] * 5
    # Idle: nothing pending, nothing dirty, no lag.
    status = backend.status()
    assert [tree["pending"] for tree in status["trees"]] == [0]
    assert [(row["dirty"], row["lag_seconds"]) for row in status["frontends"]] == [(0, 0.0)] * 5


def test_status_shows_the_lag_of_each_frontend_that_is_behind(make, two):
    backend = make(two)
    backend.start()
    backend.wait_until_equal()
    with two[0].frozen():
        (backend.source / "news").write_text("news")
        wait_for(lambda: backend.row(two[0])["lag_seconds"] > 0.5, "lag to grow", FOREVER)
        wait_for(lambda: backend.row(two[1])["dirty"] == 0, "the other to have it", FOREVER)
        assert backend.row(two[1])["lag_seconds"] == 0.0
        assert backend.row(two[0])["dirty"] == 1
    backend.wait_until_equal()
    assert backend.row(two[0])["lag_seconds"] == 0.0


# --- what happens behind our back ---


def fill_never_empty(backend):
    """Fill the source; the file that is changed behind its size has one."""
    backend.fill(10)
    (backend.source / "d1/e1/file-1.bin").write_bytes(bytes(3000))


def stealthily(path, content):
    """Change a file's content, and put size and time back as they were."""
    status = path.stat()
    path.write_bytes(content.ljust(status.st_size, b".")[: status.st_size])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_a_stealthy_change_while_the_daemon_is_stopped_arrives(make, two):
    backend = make(two[:1])
    fill_never_empty(backend)
    backend.start()
    backend.wait_until_equal()
    assert backend.stop() == 0
    stealthily(backend.source / "d1/e1/file-1.bin", b"another content")
    backend.start()
    backend.wait_until_equal()
    assert backend.run("verify").returncode == 0
    assert backend.row(two[0])["files_sent"] <= 1


def test_verify_finds_and_repairs_what_a_frontend_lost_or_changed_stealthily(make, two):
    backend = make(two[:1])
    fill_never_empty(backend)
    backend.start()
    backend.wait_until_equal()
    copy = backend.copy(two[0])
    stealthily(copy / "d1/e1/file-1.bin", b"somebody was here")
    (copy / "big.bin").unlink()
    found = backend.run("verify", two[0].frontend)
    assert found.returncode == 1
    assert "2 paths differ" in found.stdout
    assert backend.run("verify", two[0].frontend, "--repair").returncode == 0
    backend.wait_until_equal()


def test_a_verification_that_the_daemon_does_not_finish_is_no_success(make, two):
    backend = make(two)
    fill_never_empty(backend)
    backend.start()
    backend.wait_until_equal()
    with (
        two[1].frozen(),
        subprocess.Popen(
            backend.command("verify"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as verify,
    ):
        assert verify.stdout.readline() == f"{two[0].address}: equal\n"
        backend.daemon.kill()
        backend.daemon.wait()
        _, error = verify.communicate(timeout=FOREVER)
    assert verify.returncode == 1
    assert "the daemon ended before its answer was complete" in error


TRACEBACK = """Traceback (most recent call last):
  File "agent.py", line 1, in <module>
ZeroDivisionError: division by zero"""


def test_an_agent_that_ends_with_a_traceback_degrades_only_its_own_frontend(make, fleet, two):
    script = fleet.directory / "dies"
    script.write_text(f"#!/bin/sh\ncat >&2 <<END\n{TRACEBACK}\nEND\nexit 1\n")
    script.chmod(0o755)
    broken = fleet.add("broken", "127.0.2.50", forced_command=str(script))
    backend = make([two[0], broken])
    fill_never_empty(backend)
    backend.start()
    backend.wait_until_equal(two[:1])
    wait_for(lambda: "ZeroDivisionError" in backend.row(broken)["last_error"], backend.status)
    row = backend.row(broken)
    assert row["state"] in ("retrying", "connecting")
    assert "\n" not in row["last_error"]
    (backend.source / "later").write_text("flows")
    backend.wait_until_equal(two[:1])
    assert backend.row(two[0])["logins"] == 1
    assert backend.run("status").returncode == 3
