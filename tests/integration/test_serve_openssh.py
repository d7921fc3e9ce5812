"""The daemon as it is run, with a configuration file, against real OpenSSH servers: see tests/support/daemon.py."""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import time
from pathlib import Path

import inotify_simple
import pytest

from replicator.demo.trees import difference
from tests.support.daemon import one_line, pinned, without_progress
from tests.support.sshd import find_python, free_port, needs_namespaces
from tests.support.waiting import FOREVER, wait_for

ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
ROW_KEYS = {
    "host", "state", "dirty", "lag_seconds", "queue_position", "files_sent", "bytes_sent", "last_error",
}  # fmt: skip


@pytest.fixture(scope="module")
def three(fleet):
    return [fleet.add(f"frontend-{i}", address) for i, address in enumerate(ADDRESSES)]


# --- the ordinary day ---


def test_an_ordinary_day(make, three):
    before = [server.logins() for server in three]
    backend = make(three)
    backend.fill()
    backend.start()
    backend.wait_until_equal()

    source = backend.source
    for number in range(60):
        (source / "d1" / f"upload-{number}.jpg").write_bytes(os.urandom(2000 + number))
    (source / "d2").rename(source / "renamed")
    shutil.rmtree(source / "d3")
    with (source / "big.bin").open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"in the middle")
    (source / "d4/e1/file-4.bin").chmod(0o640)
    (source / "link").unlink()
    (source / "link").symlink_to("renamed")
    (source / "deep/er/and/deeper").mkdir(parents=True)
    (source / "deep/er/and/deeper/x").write_text("x")
    backend.wait_until_equal()
    os.replace(source / "d1/upload-7.jpg", source / "renamed/moved.jpg")
    (source / "empty").rmdir()
    backend.wait_until_equal()

    assert [server.logins() - old for server, old in zip(three, before, strict=True)] == [1, 1, 1]
    answer = json.loads(backend.ok_status("--json"))
    assert [row["host"] for row in answer["frontends"]] == list(ADDRESSES)
    for row in answer["frontends"]:
        assert row.keys() >= ROW_KEYS
        assert row["state"] == "live"
        assert row["dirty"] == 0
        assert row["last_error"] == ""
        assert row["files_sent"] >= 60
        assert row["logins"] == 1
    assert answer["trees"][0]["source"] == str(source)
    assert backend.ok_status()

    for name, kind in (("control.sock", stat.S_ISSOCK), ("lock", stat.S_ISREG)):
        mode = (backend.state / name).stat().st_mode
        assert kind(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(backend.state.stat().st_mode) == 0o700

    begun = time.monotonic()
    assert backend.stop() == 0
    assert time.monotonic() - begun < 30
    assert not (backend.state / "control.sock").exists()
    for server in three:
        wait_for(lambda s=server: not s.sessions(), lambda s=server: f"{s.sessions()} to end")
    log = [json.loads(line) for line in backend.log.read_text().splitlines()]
    assert not [line for line in log if line["level"] in ("warning", "error")]
    nobody = backend.run("status", "--json")
    assert nobody.returncode == 1
    assert one_line(nobody.stderr)
    assert "no daemon" in nobody.stderr


def test_names_arrive_byte_for_byte(make, three):
    backend = make(three)
    source = os.fsencode(backend.source)
    names = [
        b"new\nline", b'dou"ble and \'single\' quotes', b"-rf", b"--", b"$(reboot)`reboot`", b"\xff\xfe\x80",
        b"caf\xc3\xa9", b"cafe\xcc\x81", b"x" * 255, b"\x01\x1b[31m", b" ", b"back\\slash", b"a;b|c&d", b"*?[x]", b".hidden",
        b"~", b"tab\t", b"end ", b"%s%n",
    ]  # fmt: skip
    for name in names[::2]:
        Path(os.fsdecode(os.path.join(source, name))).write_bytes(name * 3)
    backend.start()
    backend.wait_until_equal()
    for number, name in enumerate(names):
        directory = os.path.join(source, b"D%02d" % number + name[3:])
        os.mkdir(directory)
        Path(os.fsdecode(os.path.join(directory, name))).write_bytes(name)
        Path(os.fsdecode(os.path.join(source, name))).write_bytes(name)
    os.symlink(b"\xff to \n nowhere", os.path.join(source, b"l\xffnk"))
    backend.wait_until_equal()
    for server in three:
        assert sorted(os.listdir(os.fsencode(backend.copy(server)))) == sorted(os.listdir(source))
    shutil.rmtree(os.path.join(source, b"D00" + names[0][3:]))
    os.rename(os.path.join(source, names[5]), os.path.join(source, b"\x80\xff"))
    backend.wait_until_equal()


def test_verify_and_repair(make, three):
    backend = make(three)
    backend.fill(20)
    backend.start()
    backend.wait_until_equal()
    equal = backend.run("verify")
    assert equal.returncode == 0, equal.stdout + equal.stderr
    assert equal.stdout.count("equal") == 3

    victim = backend.copy(three[1]) / "big.bin"
    status = victim.stat()
    with victim.open("r+b") as file:
        file.seek(2 << 20)
        file.write(bytes(16))
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    found = backend.run("verify")
    assert found.returncode == 3, found.stdout + found.stderr
    assert f"{three[1].address}: 1 paths differ" in found.stdout
    assert "big.bin" in found.stdout
    alone = backend.run("verify", three[1].frontend)
    assert alone.returncode == 1
    assert difference(backend.source, backend.copy(three[1])) == ["big.bin"], (
        "verify changes nothing"
    )

    mended = backend.run("verify", "--repair")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    backend.wait_until_equal()
    assert backend.run("verify").returncode == 0
    unknown = backend.run("verify", "127.0.0.77")
    assert unknown.returncode == 1
    assert one_line(unknown.stderr)
    backend.stop()

    with victim.open("r+b") as file:
        file.write(bytes(16))
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    without = backend.run("verify")
    assert without.returncode == 3, without.stdout + without.stderr
    mended = backend.run("verify", three[1].frontend, "--repair")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert backend.run("verify").returncode == 0, "the repair was reported as done"


# --- other kinds of frontends ---


def test_pinned_frontends_have_their_own_roots(make, fleet, tmp_path):
    roots = [tmp_path / "one", tmp_path / "two"]
    servers = []
    for number, root in enumerate(roots):
        root.mkdir()
        name, address = f"pinned-{number}", f"127.0.1.{number + 1}"
        servers.append(fleet.add(name, address, forced_command=pinned(root)))
    backend = make(servers)
    backend.fill(20)
    backend.start()
    copies = [root / str(backend.target).lstrip("/") for root in roots]

    def equal():
        return backend.quiet() and not any(difference(backend.source, c) for c in copies)

    wait_for(equal, lambda: json.dumps(backend.status(), indent=1), FOREVER)
    (backend.source / "later").write_text("later")
    wait_for(equal, lambda: json.dumps(backend.status(), indent=1), FOREVER)
    assert not backend.target.exists(), "nothing may be written outside the root"


def test_a_frontend_with_the_oldest_python(make, fleet):
    old = fleet.add("old", "127.0.1.9", python=find_python("3.9"), **unpinned(fleet))
    backend = make([old])
    backend.fill(20)
    backend.start()
    backend.wait_until_equal()
    with (backend.source / "big.bin").open("r+b") as file:
        file.write(b"a delta, please")
    (backend.source / "d1").rename(backend.source / "moved")
    backend.wait_until_equal()
    assert "3.9" in backend.row(old)["agent"]
    assert backend.row(old)["bytes_saved"] > 1 << 20


def unpinned(fleet):
    """Options for a server that must run the streamed agent, whichever user runs the tests."""
    if not fleet.namespaces:
        needs_namespaces()
    return {}


def test_a_frontend_with_a_full_disk(make, fleet, three):
    needs_namespaces()
    full = fleet.add("full", "127.0.1.10", tmpfs={fleet.root: "8m"})
    backend = make([three[0], full])
    backend.fill(10)  # 3 MiB and a little
    backend.start()
    backend.wait_until_equal()
    ballast = full.see(fleet.root) / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
            if os.statvfs(ballast).f_bavail * os.statvfs(ballast).f_frsize < 1 << 20:
                break

    (backend.source / "large").write_bytes(os.urandom(2 << 20))
    (backend.source / "medium").write_bytes(os.urandom(1200 << 10))
    wait_for(
        lambda: {p["path"] for p in backend.row(full)["problems"]} == {"large", "medium"},
        lambda: json.dumps(backend.row(full)),
        FOREVER,
    )
    row = backend.row(full)
    assert row["dirty"] == 2
    assert all("space" in p["reason"].lower() for p in row["problems"]), row
    assert "space" in row["last_error"].lower()
    backend.wait_until_equal([three[0]])
    (backend.source / "small").write_text("flows")
    wait_for((backend.copy(full) / "small").exists, "a small file to arrive", FOREVER)
    assert row["logins"] == backend.row(full)["logins"], "a full disk is no reason to hang up"
    names = os.listdir(backend.copy(full))
    assert not {"large", "medium"} & set(names)
    assert len([n for n in names if n.startswith(".")]) <= 2, names

    ballast.unlink()
    backend.wait_until_equal()
    assert backend.row(full)["last_error"] == ""
    assert backend.row(full)["problems"] == []
    assert backend.row(full)["logins"] == 1


def test_bad_frontends_delay_no_other(make, fleet, three):
    unauthorized = fleet.add("unauthorized", "127.0.1.11")
    unauthorized.authorize(fleet.keys.make("somebody-else"))
    port = free_port("127.0.1.12")
    backend = make([*three, unauthorized])
    backend.configure(f"127.0.1.12:{port}", "no-such-host.invalid")
    backend.fill(30)
    backend.start()
    backend.wait_until_equal(three)
    (backend.source / "later").write_text("later")
    backend.wait_until_equal(three)

    def is_reported():
        return all(
            backend.row(host)["last_error"]
            for host in ("127.0.1.11", "127.0.1.12", "no-such-host.invalid")
        )

    wait_for(is_reported, lambda: json.dumps(backend.status()), FOREVER)
    answer = backend.run("status", "--json")
    assert answer.returncode == 3
    rows = {row["host"]: row for row in json.loads(answer.stdout)["frontends"]}
    assert "authorized_keys" in rows["127.0.1.11"]["last_error"]
    assert "refused" in rows["127.0.1.12"]["last_error"]
    assert "no-such-host.invalid" in rows["no-such-host.invalid"]["last_error"]
    assert all(rows[s.address]["last_error"] == "" for s in three)
    assert all(rows[s.address]["logins"] == 1 for s in three)

    # It connects without a command to the daemon.
    unauthorized.authorize(fleet.keys.identity)
    if not fleet.namespaces:
        unauthorized.authorize(fleet.keys.identity, pinned(fleet.directory / "world-unauthorized"))
    backend.wait_until_equal()
    begun = time.monotonic()
    assert backend.stop() == 0
    assert time.monotonic() - begun < 30


def test_a_frontend_that_crashes_and_comes_back(make, fleet):
    server = fleet.add("crashing", "127.0.1.13")
    backend = make([server])
    backend.fill(20)
    backend.start()
    backend.wait_until_equal()
    server.stop()
    wait_for(lambda: backend.row(server)["state"] == "retrying", "the loss to be seen", FOREVER)
    for number in range(20):
        (backend.source / f"missed-{number}").write_text("missed")
    shutil.rmtree(backend.source / "d1")
    wait_for(lambda: backend.row(server)["dirty"] >= 20, "changes to be dirty", FOREVER)
    assert backend.row(server)["last_error"]
    server.start()
    backend.wait_until_equal()
    server.cut()
    (backend.source / "one more").write_text("x")
    backend.wait_until_equal()


# --- bootstrap by hand ---


with_and_without_daemon = pytest.mark.parametrize(
    "with_daemon", [False, True], ids=["alone", "daemon"]
)


@with_and_without_daemon
def test_bootstrap_of_an_unreachable_host_is_an_error(make, three, with_daemon):
    backend = make([three[0]])
    backend.fill(5)
    if with_daemon:
        backend.start()
        backend.wait_until_equal()
    with socket.create_server(("127.0.1.20", 0)) as silent:
        backend.configure(connect_timeout=5.0)  # one of the hosts must get as far as its key
        if with_daemon:
            backend.daemon.send_signal(signal.SIGHUP)
            wait_for(lambda: "reloaded" in backend.log.read_text(), "a reload")
        hosts = {
            "no-such-host.invalid": "no-such-host.invalid",
            f"127.0.1.19:{free_port('127.0.1.19')}": "refused",
            f"127.0.1.20:{silent.getsockname()[1]}": "no answer in time",
            three[1].frontend: "is not in",
        }
        for host, words in hosts.items():
            begun = time.monotonic()
            result = backend.run("bootstrap", host)
            assert result.returncode == 1, (host, result.stdout, result.stderr)
            assert "Traceback" not in result.stderr
            last = result.stderr.splitlines()[-1]
            assert last.startswith("replicator: ")
            assert words in last
            assert one_line(without_progress(result.stderr)) or not with_daemon  # alone, see below
            assert time.monotonic() - begun < 30
    wrong = backend.run("bootstrap", "-x@:")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
    if with_daemon:
        assert [row["host"] for row in backend.status()["frontends"]] == [three[0].address]
        assert backend.row(three[0])["logins"] == 1


@with_and_without_daemon
def test_bootstrap_of_a_host_that_discovery_does_not_name(make, three, with_daemon):
    backend = make(three)
    backend.configure(servers=three[:1])
    backend.fill(20)
    if with_daemon:
        backend.start()
        backend.wait_until_equal(three[:1])
    stray = backend.copy(three[1])
    stray.mkdir(parents=True)
    (stray / "stray").write_text("goes")
    result = backend.run("bootstrap", three[1].frontend)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith(f"{three[1].address}: ")
    assert without_progress(result.stderr) == "" or not with_daemon  # alone, see below
    assert not backend.differences([three[1]])
    if with_daemon:
        known = backend.run("bootstrap", three[0].frontend)
        assert known.returncode == 0
        assert backend.row(three[0])["logins"] == 1
        assert [row["host"] for row in backend.status()["frontends"]] == [three[0].address]


def test_bootstrap_without_a_daemon_prints_no_log(make, three):
    backend = make(three[:1])
    done = backend.run("bootstrap", three[0].frontend)
    assert done.returncode == 0
    failed = backend.run("bootstrap", "no-such-host.invalid")
    assert failed.returncode == 1
    assert without_progress(done.stderr) == ""
    assert one_line(without_progress(failed.stderr)), failed.stderr


def test_bootstrap_names_the_host_once(make):
    backend = make([])
    failed = backend.run("bootstrap", "no-such-host.invalid")
    assert failed.stderr.splitlines()[-1].count("no-such-host.invalid") == 1


# --- the daemon's own life ---


def test_a_second_daemon_is_refused(make, three):
    backend = make(three[:1])
    backend.start()
    second = backend.run("serve")
    assert second.returncode == 1
    assert one_line(second.stderr), second.stderr
    assert f"pid {backend.daemon.pid}" in second.stderr
    assert backend.status(), "the first goes on, with its socket"
    backend.wait_until_equal()


def test_killed_and_restarted_it_reads_only_what_changed(make, three):
    backend = make(three)
    backend.fill(40)
    backend.start()
    backend.wait_until_equal()
    # What was hashed in the moment of its change is hashed once more; this is not that moment.
    (backend.source / "last").write_text("x")
    backend.wait_until_equal()
    backend.kill()

    (backend.source / "d1/e1/new").write_text("new while the daemon was stopped")
    (backend.source / "big.bin").unlink()
    changed = next((backend.source / "d5").rglob("*.bin"))
    changed.write_bytes(b"changed while the daemon was stopped")
    tampered = backend.copy(three[2]) / "d0/e0/file-0.bin"
    tampered.write_bytes(b"somebody else wrote here")
    reads = Reads(backend.source)
    backend.start()
    # Nobody may compare before the reads are counted: that reads everything.
    wait_for(backend.quiet, lambda: json.dumps(backend.status(), indent=1), FOREVER)
    read = reads.stop()
    backend.wait_until_equal()
    assert {"new", changed.name} <= read
    # Made again for one frontend, or still unproven when the daemon was killed.
    assert read <= {"new", changed.name, "file-0.bin", "last"}, read
    assert backend.stop() == 0


class Reads:
    """Collects the names of the files below a directory that any process reads."""

    def __init__(self, root) -> None:
        self._inotify = inotify_simple.INotify()
        for directory in [root, *(p for p in root.rglob("*") if p.is_dir() and not p.is_symlink())]:
            self._inotify.add_watch(directory, inotify_simple.flags.ACCESS)

    def stop(self):
        names = set()
        while events := self._inotify.read(timeout=0):
            names |= {e.name for e in events if not e.mask & inotify_simple.flags.ISDIR}
        self._inotify.close()
        return names


def test_sighup_adds_and_removes_frontends(make, three):
    backend = make(three)
    backend.configure(servers=three[:2])
    backend.fill(20)
    before = [server.logins() for server in three]
    backend.start()
    backend.wait_until_equal(three[:2])
    backend.configure(servers=three)
    backend.daemon.send_signal(signal.SIGHUP)
    wait_for(lambda: len(backend.status()["frontends"]) == 3, "the third frontend", FOREVER)
    backend.wait_until_equal()
    backend.configure(servers=three[1:])
    backend.daemon.send_signal(signal.SIGHUP)
    wait_for(lambda: len(backend.status()["frontends"]) == 2, "the first to leave", FOREVER)
    (backend.source / "later").write_text("later")
    backend.wait_until_equal(three[1:])
    assert not (backend.copy(three[0]) / "later").exists()
    wait_for(lambda: not three[0].sessions(), "its session to end")

    backend.config.write_text("nonsense =")
    backend.daemon.send_signal(signal.SIGHUP)
    wait_for(lambda: "not reloaded" in backend.log.read_text(), "a refusal")
    (backend.source / "still").write_text("still")
    backend.wait_until_equal(three[1:])
    assert [server.logins() - old for server, old in zip(three, before, strict=True)] == [1, 1, 1]


def test_no_frontends_is_fine(make, three):
    backend = make([])
    backend.fill(5)
    backend.start()
    wait_for(lambda: backend.status()["trees"][0]["state"] == "watching", "the scan")
    assert backend.run("status", "--json").returncode == 0
    assert backend.stop() == 0


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ('[[tree]]\nsource = "source"\nsuorce = "x"\n', "tree[0]"),
        ('[[tree]]\nsource = "source"\ntarget = "/"\n', "tree[0].target"),
        ('[[tree]]\nsource = "source"\ntarget = "relative"\n', "tree[0].target"),
        ('[[tree]]\nsource = "source"\n[ssh]\nport = "22"\n', "ssh.port"),
        ('[[tree]]\nsource = "source"\n[discovery]\nfrontends = ["-oProxy=x"]\n', "frontends[0]"),
        ("", "tree"),
        ("not toml", "replicator.toml"),
    ],
)
def test_a_wrong_configuration(make, wrong, where):
    backend = make([])
    backend.config.write_text(wrong)
    result = backend.run("serve")
    assert result.returncode == 2, result.stderr
    assert where in result.stderr
    assert one_line(result.stderr), result.stderr


def test_a_state_directory_with_too_long_a_name(make):
    backend = make([])
    name = "state-" + "x" * 120
    backend.config.write_text(backend.config.read_text().replace('"state"', f'"{name}"'))
    result = backend.run("serve")
    assert result.returncode in (1, 2)
    assert one_line(result.stderr), result.stderr
