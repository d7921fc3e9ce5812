"""Nothing is deleted in doubt: a tree that loses most of its files in one go waits for a person, whoever took them away, and when."""

import shutil

import pytest

from tests.support.backend import Backend
from tests.support.waiting import wait_for

MANY = 300


def fill(directory, many=MANY):
    directory.mkdir(exist_ok=True)
    for number in range(many):
        (directory / f"{number}.jpg").write_text(f"picture {number}")


@pytest.fixture
def backend(tmp_path):
    fill(tmp_path / "source")
    with Backend(tmp_path) as running:
        running.wait_until_equal()
        yield running


def tree(backend):
    return backend.status()["trees"][0]


def pictures(backend, host="one"):
    return len(list(backend.site(host).glob("*.jpg")))


def paused(backend):
    wait_for(lambda: tree(backend)["state"] == "paused", lambda: tree(backend))


def wait_for_upload(backend, name):
    (backend.source / name).write_text(name)
    for host in backend.hosts:
        there = backend.site(host) / name
        wait_for(there.exists, backend.explain)


def remove(directory, keep=0):
    for path in sorted(directory.glob("*.jpg"))[keep:]:
        path.unlink()


def test_who_removes_most_files_is_asked_and_uploads_go_on(backend):
    remove(backend.source, keep=20)
    paused(backend)
    assert "replicator resume" in tree(backend)["problems"][0]
    wait_for_upload(backend, "later.txt")
    assert all(pictures(backend, host) >= MANY - 100 for host in backend.hosts)

    (row,) = backend.ask(command="resume")
    assert "of 300 paths" in row["reason"]
    backend.wait_until_equal()
    assert tree(backend)["state"] == "watching"
    assert backend.ask(command="resume") == []


def test_files_that_are_put_back_after_an_accident_are_right_again(backend, tmp_path):
    shutil.copytree(backend.source, tmp_path / "backup")
    remove(backend.source)
    paused(backend)
    shutil.copytree(tmp_path / "backup", backend.source, dirs_exist_ok=True)
    backend.ask(command="resume")
    backend.wait_until_equal()
    assert pictures(backend) == MANY


def test_less_than_half_goes_without_a_question(backend):
    remove(backend.source, keep=170)
    backend.wait_until_equal()
    assert tree(backend)["state"] == "watching"


def test_a_renamed_directory_is_no_loss(backend, tmp_path):
    fill(backend.source / "album", 2 * MANY)
    backend.wait_until_equal()
    (backend.source / "album").rename(backend.source / "album-2026")
    backend.wait_until_equal()
    shutil.copytree(backend.source / "album-2026", backend.source / "copy")
    shutil.rmtree(backend.source / "album-2026")
    backend.wait_until_equal()
    assert tree(backend)["state"] == "watching"


def test_a_directory_that_is_moved_out_of_the_tree_waits_too(backend, tmp_path):
    fill(backend.source / "album", 2 * MANY)
    backend.wait_until_equal()
    (backend.source / "album").rename(tmp_path / "elsewhere")
    paused(backend)
    # The first hundred pass: if the stamps of new files are just being confirmed, some are missed one by one.
    assert len(list((backend.site("one") / "album").iterdir())) >= 2 * MANY - 100
    (tmp_path / "elsewhere").rename(backend.source / "album")
    backend.ask(command="resume")
    backend.wait_until_equal()


def test_what_was_removed_while_the_daemon_was_down_waits_over_restarts(tmp_path):
    fill(tmp_path / "source")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
    remove(tmp_path / "source", keep=10)
    for _ in range(2):
        with Backend(tmp_path) as backend:
            paused(backend)
            wait_for(lambda: backend.row("one")["state"] == "live", backend.status)
            assert pictures(backend) == MANY
    with Backend(tmp_path) as backend:
        paused(backend)
        backend.ask(command="resume")
        backend.wait_until_equal()
        assert pictures(backend) == 10


def test_a_lost_catalog_and_a_wrong_source_delete_nothing_that_the_frontends_have(tmp_path):
    fill(tmp_path / "source")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
    shutil.rmtree(tmp_path / "state")
    remove(tmp_path / "source", keep=10)
    with Backend(tmp_path) as backend:
        wait_for(lambda: all(backend.row(host)["excess"] for host in backend.hosts), backend.status)
        assert "290 of 30" in backend.row("one")["last_error"]
        wait_for_upload(backend, "later.txt")
        assert pictures(backend) >= MANY - 100
        backend.ask(command="resume")
        backend.wait_until_equal()
        assert backend.row("one")["last_error"] == ""


def test_an_empty_source_halts_until_a_person_says_that_it_is_empty(tmp_path):
    fill(tmp_path / "source")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
    remove(tmp_path / "source")
    with Backend(tmp_path) as backend:
        wait_for(lambda: tree(backend)["state"] == "halted", backend.status)
        assert pictures(backend) == MANY
        backend.ask(command="resume")
        backend.wait_until_equal()
        assert pictures(backend) == 0


def test_who_resumes_while_the_source_is_missing_has_not_allowed_to_empty_the_frontends(
    backend, tmp_path
):
    backend.source.rename(tmp_path / "unmounted")
    wait_for(lambda: tree(backend)["state"] == "halted", backend.status)
    missing = tree(backend)["problems"]
    backend.ask(command="resume")
    wait_for(
        lambda: not backend.app.service._commons.plots[1].intake.deletions.believed,
        "a look at the root",
    )
    backend.source.mkdir()
    wait_for(lambda: tree(backend)["problems"] != missing, backend.status)
    assert tree(backend)["state"] == "halted"
    assert pictures(backend) == MANY
    backend.source.rmdir()
    (tmp_path / "unmounted").rename(backend.source)
    backend.wait_until_equal()
    assert pictures(backend) == MANY


def test_verify_repairs_no_more_than_it_may(tmp_path):
    fill(tmp_path / "source")
    with Backend(tmp_path, tree={"delete_guard": 1.0}) as backend:
        backend.wait_until_equal()
    remove(tmp_path / "source", keep=10)
    shutil.rmtree(tmp_path / "state")
    with Backend(tmp_path) as backend:
        for host in ("one", "two"):
            wait_for(lambda host=host: backend.row(host)["excess"], backend.status)
        reports = backend.ask(command="verify", repair=True)
        assert all("replicator resume" in report["error"] for report in reports)
        assert pictures(backend) >= MANY - 200  # a hundred for each comparison
