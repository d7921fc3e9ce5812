"""The backend among its own frontends: an agent refuses a target that shares files with a source of the same machine."""

import signal
import subprocess
from pathlib import Path

import pytest

from replicator.demo.trees import fingerprint
from tests.support.looking import below
from tests.support.sshd import needs_namespaces
from tests.support.waiting import FOREVER, wait_for


@pytest.fixture
def two(fleet):
    """This very machine, and another one as far as mounts go."""
    needs_namespaces()
    ours = fleet.add("ours", "127.0.0.5", tmpfs={"/mnt": "1m"})  # sees all directories as they are
    other = fleet.add("other", "127.0.0.6")
    return ours, other


def refused(backend, server, words):
    def is_reported():
        row = backend.row(server)
        return row["state"] == "retrying" and words in row["last_error"]

    wait_for(is_reported, backend.status, FOREVER)
    check = backend.run("check")
    assert check.returncode in (1, 3), check.stdout  # 1: the source is missing, too
    assert words in check.stdout


def mount(server, directory, place):
    """Let the logins of a server see a directory at another place."""
    inside = f"/proc/{server.pid}/ns/mnt"
    command = ["nsenter", f"--mount={inside}", "mount", "--bind", str(directory), str(place)]
    subprocess.run(command, check=True)


def target_of_two_machines(backend, two, other):
    """Set `place/copy` as the target and return `place`: a directory of this machine, and for the second frontend one in `other`."""
    place = backend.directory / "place"
    (place / "copy").mkdir(parents=True)
    (other / "copy").mkdir()
    mount(two[1], other, place)
    backend.target = place / "copy"
    return place


def lines(path):
    return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("source", "source", "is the source"),
        ("source", "source/new", "lies in the source"),
        ("source/inner", "source", "holds the source"),
    ],
)
def test_a_target_that_shares_files_with_the_source_is_refused_and_another_machine_is_served(
    make, two, tmp_path, source, target, words
):
    backend = make(two)
    backend.source = backend.directory / source
    backend.source.mkdir(exist_ok=True)
    backend.tree = {"source": str(backend.source), "target": str(backend.directory / target)}
    backend.fill(files=10)
    backend.configure()
    (tmp_path / "source").mkdir()
    mount(two[1], tmp_path, backend.directory)  # there, all of this is another directory
    before = fingerprint(backend.directory / "source")
    backend.start()
    refused(backend, two[0], words)
    with (backend.source / "log").open("a") as log:
        for number in range(5):
            log.write(f"line {number}\n")
            log.flush()
            wait_for(lambda n=number: lines(tmp_path / target / "log") > n, backend.status, FOREVER)
    wait_for(lambda: backend.row(two[1])["state"] == "live", backend.status, FOREVER)
    wait_for(lambda: backend.row(two[1])["dirty"] == 0, backend.status, FOREVER)
    assert lines(backend.source / "log") == 5
    after = fingerprint(backend.directory / "source")
    assert {path for path in before if before[path] != after.get(path)} <= {"", ".", "inner"}
    assert not (backend.source / "new").exists()
    assert (tmp_path / target / "big.bin").stat().st_size == 3 << 20


def test_another_directory_of_the_same_machine_is_a_good_target(make, two):
    backend = make([two[0]])
    backend.fill(files=10)
    backend.target = backend.directory / "copy"
    backend.configure()
    backend.start()
    wait_for(backend.quiet, backend.status, FOREVER)
    assert fingerprint(backend.target).keys() >= fingerprint(backend.source).keys()


def test_a_source_that_is_mounted_elsewhere_is_the_source(make, fleet, two):
    backend = make([two[1]])
    backend.fill(files=3)
    server = fleet.add("mounted", "127.0.0.7", tmpfs={"/mnt": "1m"})
    place = fleet.directory / "place"
    place.mkdir()
    mount(server, backend.source, place)
    backend.servers = [server, two[1]]
    backend.target = place
    backend.configure()
    backend.start()
    refused(backend, server, "is the source")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("copy", "is the source"),
        ("copy/inner", "holds the source"),
        (".", "lies in the source"),
    ],
)
def test_a_source_that_is_added_where_a_target_is_open_takes_the_target_out_of_service(
    make, two, tmp_path, source, words
):
    backend = make(two)
    backend.tree = {"delete": True}
    backend.fill(files=10)
    place = target_of_two_machines(backend, two, tmp_path)
    backend.configure()
    backend.start()
    wait_for(
        lambda: all(backend.row(one)["state"] == "live" for one in two), backend.status, FOREVER
    )
    (place / "copy" / "inner").mkdir(exist_ok=True)
    (place / "copy" / "inner" / "precious").write_text("of the new source")

    target = backend.directory / "elsewhere"
    backend.more_trees = [{"source": str(place / source), "target": str(target)}]
    backend.configure()
    backend.daemon.send_signal(signal.SIGHUP)

    def is_reported():
        row = backend.row(two[0])
        return words in row["last_error"] and str(place / "copy") in row["last_error"]

    wait_for(is_reported, backend.status, FOREVER)
    before = fingerprint(place / "copy")
    (backend.source / "late").write_text("not for this machine")
    other = f"/proc/{two[1].pid}/root"
    wait_for(lambda: Path(f"{other}{place}/copy/late").exists(), backend.status, FOREVER)
    wait_for(lambda: below(target, "precious"), backend.status, FOREVER)
    assert fingerprint(place / "copy") == before
    assert (place / "copy" / "inner" / "precious").read_text() == "of the new source"
    assert backend.row(two[1])["logins"] == 1


def test_a_reload_that_adds_the_backend_as_a_frontend_is_refused(make, two):
    backend = make(two[1:])
    backend.target = backend.source
    backend.fill(files=10)
    backend.servers = [two[1]]
    backend.configure()
    world = backend.directory / "world"
    world.mkdir()
    mount(two[1], world, backend.source)
    backend.start()
    wait_for(lambda: backend.row(two[1])["state"] == "live", backend.status, FOREVER)
    before = fingerprint(backend.source)
    backend.servers = list(two)
    backend.configure()
    backend.daemon.send_signal(signal.SIGHUP)
    refused_by = lambda: any(
        row["host"] == two[0].address and "is the source" in row["last_error"]
        for row in backend.status()["frontends"]
    )
    wait_for(refused_by, backend.status, FOREVER)
    assert fingerprint(backend.source) == before
    assert backend.row(two[1])["logins"] == 1


def test_a_source_that_is_missing_is_not_made_as_a_target_and_is_refused_when_it_appears(make, two):
    backend = make(two)
    backend.source = backend.directory / "late"
    backend.tree = {"source": str(backend.source), "target": str(backend.source)}
    backend.configure()
    world = backend.directory.parent / f"{backend.directory.name}-world"
    world.mkdir()
    mount(two[1], world, backend.directory)
    backend.start()
    refused(backend, two[0], "is the source")
    assert not backend.source.exists()
    backend.source.mkdir()
    (backend.source / "log").write_text("first\n")
    wait_for((world / "late" / "log").exists, backend.status, FOREVER)
    before = (backend.source / "log").stat()
    with (backend.source / "log").open("a") as log:
        log.write("second\n")
    wait_for(lambda: (world / "late" / "log").stat().st_size == 13, backend.status, FOREVER)
    assert (backend.source / "log").stat().st_ino == before.st_ino
    assert "is the source" in backend.row(two[0])["last_error"]


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("copy", "is the source"),
        ("copy/inner", "holds the source"),
        (".", "lies in the source"),
    ],
)
@pytest.mark.parametrize("before", ["missing", "dangling", "elsewhere"])
def test_a_symlink_that_comes_to_lead_a_source_to_an_open_target_takes_the_target_out_of_service(
    make, two, tmp_path, link, words, before
):
    backend = make(two)
    backend.fill(files=3)
    place = target_of_two_machines(backend, two, tmp_path)
    current = backend.directory / "current"
    release = backend.directory / "release"
    if before != "missing":
        current.symlink_to(release)
    if before == "elsewhere":
        release.mkdir()
        (release / "old").write_text("old")
    backend.more_trees = [{"source": str(current), "target": str(backend.directory / "elsewhere")}]
    backend.configure()
    backend.start()
    wait_for((place / "copy" / "big.bin").exists, backend.status, FOREVER)
    wait_for(
        lambda: all(row["reconciles"] and not row["dirty"] for row in map(backend.row, two)),
        backend.status,
        FOREVER,
    )
    (place / "copy" / "inner").mkdir()
    (place / "copy" / "inner" / "precious").write_text("of the new source")

    swapped = backend.directory / "swapped"
    swapped.symlink_to(place / link)
    swapped.rename(current)
    wait_for(lambda: words in backend.row(two[0])["last_error"], backend.status, FOREVER)
    held = fingerprint(place / "copy")
    (backend.source / "late").write_text("not for this machine")
    other = f"/proc/{two[1].pid}/root"
    wait_for(lambda: Path(f"{other}{place}/copy/late").exists(), backend.status, FOREVER)
    assert fingerprint(place / "copy") == held
    assert (place / "copy" / "inner" / "precious").read_text() == "of the new source"
    assert backend.row(two[1])["logins"] == 1
