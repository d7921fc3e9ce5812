"""Nothing is deleted in doubt: a tree that loses most of its files at once waits for an operator, whatever removed them, and when."""

import shutil

import pytest

from replicator.demo.trees import difference
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


def test_a_mass_deletion_pauses_and_uploads_continue(backend):
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
    wait_for(lambda: tree(backend)["state"] == "watching", backend.explain_status)
    backend.wait_until_equal()
    assert pictures(backend) == MANY
    assert tree(backend)["held_deletions"] == 0
    assert backend.ask(command="resume") == []


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


def test_an_empty_source_halts_until_an_operator_confirms_it(tmp_path):
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


def test_resume_while_the_source_is_missing_does_not_allow_to_empty_the_frontends(
    backend, tmp_path
):
    backend.source.rename(tmp_path / "unmounted")
    wait_for(lambda: tree(backend)["state"] == "halted", backend.status)
    missing = tree(backend)["problems"]
    backend.ask(command="resume")
    wait_for(
        lambda: not backend.app.service.pipelines[1].deletions.source_confirmed,
        "a check of the root",
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
        assert pictures(backend) == MANY


@pytest.fixture
def two(tmp_path):
    """Two trees on two frontends: a shop, and pictures."""
    shop, pictures = tmp_path / "shop", tmp_path / "pictures"
    shop.mkdir()
    fill(shop / "modules")
    fill(pictures)
    trees = [
        {"source": str(shop), "target": "/shop"},
        {"source": str(pictures), "target": "/pictures"},
    ]
    with Backend(tmp_path, trees=trees) as backend:
        wait_for(lambda: backend.status()["ok"], backend.explain_status)
        yield backend


def copy(backend, host, name):
    return backend.connector.root(host) / name


def states(backend):
    return [row["state"] for row in backend.status()["trees"]]


def equal(backend, source, name):
    copies = [copy(backend, host, name) for host in backend.hosts]
    return not any(difference(source, there) for there in copies) and backend.status()["ok"]


def test_a_directory_that_is_removed_and_made_anew_does_not_leave_deletions_paused(
    two, tmp_path, monkeypatch
):
    """`npm ci`: everything is removed, and there again some time later; meanwhile the frontends keep what they have."""
    monkeypatch.setattr("replicator.engine.ingest.deletions.STEADY", 1.0)
    modules = tmp_path / "shop" / "modules"
    for turn in range(2):
        shutil.rmtree(modules)
        wait_for(lambda: states(two) == ["paused", "watching"], two.explain_status)
        assert not two.status()["ok"]
        # The pause begins when too much is missing; the rest of the directory is noticed after that.
        wait_for(
            lambda: two.status()["trees"][0]["held_deletions"] > MANY - 100, two.explain_status
        )
        assert len(list(copy(two, "two", "shop/modules").iterdir())) >= MANY - 100
        (tmp_path / "pictures" / "0.jpg").unlink(missing_ok=True)
        fill(modules)
        (modules / f"new-{turn}.jpg").write_text("new")
        wait_for(lambda: equal(two, tmp_path / "shop", "shop"), two.explain_status)
        assert states(two) == ["watching", "watching"]
    assert equal(two, tmp_path / "pictures", "pictures")

    (modules / "7.jpg").unlink()
    wait_for(lambda: not copy(two, "one", "shop/modules/7.jpg").exists(), two.explain_status)


def test_what_comes_back_in_part_releases_nothing_while_too_much_is_missing(two, tmp_path):
    shop = tmp_path / "shop"
    shutil.rmtree(shop / "modules")
    wait_for(lambda: states(two) == ["paused", "watching"], two.explain_status)
    before = [len(list(copy(two, host, "shop/modules").iterdir())) for host in two.hosts]
    fill(shop / "modules", 100)
    fill(shop / "uploads", 5 * MANY)  # as many as ever: they are not what is missing
    missing = lambda: two.status()["trees"][0]["held_deletions"]
    wait_for(lambda: copy(two, "two", "shop/uploads/1499.jpg").exists(), two.explain_status)
    wait_for(lambda: missing() <= MANY - 100, two.explain_status)
    assert 100 < missing() <= MANY - 100
    (shop / "modules" / "0.jpg").unlink()
    wait_for(lambda: not two.status()["trees"][0]["lag_seconds"], two.explain_status)
    assert states(two) == ["paused", "watching"]
    for host, many in zip(two.hosts, before, strict=True):
        assert len(list(copy(two, host, "shop/modules").iterdir())) >= many


def test_a_few_held_deletions_are_sent_when_no_more_files_return(two, tmp_path, monkeypatch):
    monkeypatch.setattr("replicator.engine.ingest.deletions.STEADY", 1.0)
    shop = tmp_path / "shop"
    shutil.rmtree(shop / "modules")
    wait_for(lambda: states(two) == ["paused", "watching"], two.explain_status)
    fill(shop / "modules", MANY - 20)
    wait_for(lambda: equal(two, shop, "shop"), two.explain_status)
    assert not copy(two, "two", f"shop/modules/{MANY - 1}.jpg").exists()
    assert states(two) == ["watching", "watching"]


def test_what_comes_back_while_the_daemon_is_down_ends_the_pause(tmp_path):
    fill(tmp_path / "source")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        remove(backend.source, keep=20)
        paused(backend)
    with Backend(tmp_path) as backend:
        paused(backend)
        wait_for(lambda: tree(backend)["held_deletions"] > 150, backend.explain_status)
    fill(tmp_path / "source")
    with Backend(tmp_path) as backend:
        wait_for(lambda: tree(backend)["state"] == "watching", backend.explain_status)
        backend.wait_until_equal()
        assert backend.status()["ok"]


def test_surplus_of_a_disconnected_frontend_is_deleted_after_a_pause(tmp_path):
    """A frontend that was away during the whole deployment is compared when it comes back, and the former pause does not affect it."""
    fill(tmp_path / "source")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        backend.connector.refused.add("two")
        backend.connector.kill("two")
        shutil.copytree(backend.source, tmp_path / "backup")
        remove(backend.source)
        paused(backend)
        shutil.copytree(tmp_path / "backup", backend.source, dirs_exist_ok=True)
        (backend.site("two") / "only-there.jpg").write_text("left over")
        backend.connector.refused.clear()
        backend.wait_until_equal()
        assert backend.status()["ok"]
