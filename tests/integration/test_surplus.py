"""What a frontend has beyond the source: how much of it goes without a question, and when the question ends."""

import pytest

from tests.support.backend import Backend
from tests.support.waiting import wait_for

MANY, OURS = 300, 10


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr("replicator.engine.frontend.surplus.RECHECK", 0.2)
    monkeypatch.setattr("replicator.core.surplus.STEADY", 1.0)


def fill(directory, numbers, letter="a"):
    directory.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (directory / f"{letter}{number}.jpg").write_text(f"picture {number}")


def pictures(backend, host):
    return len(list(backend.site(host).glob("*.jpg")))


def wait_for_question(backend):
    wait_for(lambda: backend.row("one")["excess"], backend.explain_status)
    wait_for(lambda: backend.row("two")["state"] == "live", backend.explain_status)


def is_well(backend):
    return backend.status()["ok"] and not backend.differences()


@pytest.fixture
def asking(tmp_path):
    """One frontend of two has 290 pictures more than the source, which holds ten; that is found by a comparison."""
    fill(tmp_path / "source", range(OURS))
    fill(tmp_path / "one" / "site", range(MANY))
    with Backend(tmp_path) as backend:
        wait_for_question(backend)
        yield backend


def upload(backend, name):
    (backend.source / name).write_text(name)
    for host in backend.hosts:
        wait_for((backend.site(host) / name).exists, backend.explain_status)


def test_surplus_that_awaits_confirmation_survives_any_number_of_reconnects(tmp_path):
    """The first frames of the listing hold less surplus than would go without a question."""
    fill(tmp_path / "source", range(450))
    fill(tmp_path / "one" / "site", range(450))
    fill(tmp_path / "one" / "site", range(1000), "b")
    with Backend(tmp_path) as backend:
        wait_for_question(backend)
        for number in range(4):
            compared = backend.row("one")["reconciles"]
            backend.connector.kill("one")
            wait_for(
                lambda least=compared: backend.row("one")["reconciles"] > least,
                backend.explain_status,
            )
            upload(backend, f"upload-{number}")
        assert backend.row("one")["excess"]
        assert backend.row("one")["deletions_sent"] == 0
        assert pictures(backend, "one") == 1450


def test_the_question_ends_when_all_is_put_into_the_source(asking):
    compared = asking.row("two")["reconciles"]
    fill(asking.source, range(MANY))
    wait_for(lambda: is_well(asking), asking.explain_status)
    assert asking.row("one")["deletions_sent"] == 0
    assert asking.row("two")["reconciles"] == compared


def test_nothing_goes_while_it_is_put_into_the_source(asking, monkeypatch):
    # On a busy machine more than a second may pass between two parts.
    monkeypatch.setattr("replicator.core.surplus.STEADY", 60.0)
    for first in range(0, MANY, 50):
        fill(asking.source, range(first, first + 50))
        upload(asking, f"upload-{first}")
        assert pictures(asking, "one") == MANY
    wait_for(lambda: is_well(asking), asking.explain_status)
    assert asking.row("one")["deletions_sent"] == 0


def test_what_needs_no_question_goes_when_no_more_is_put_into_the_source(asking):
    fill(asking.source, range(MANY - 20))
    wait_for(lambda: is_well(asking), asking.explain_status)
    assert asking.row("one")["deletions_sent"] == 20


def test_other_paths_do_not_end_the_question(asking):
    compared = asking.row("one")["reconciles"]
    fill(asking.source, range(3 * MANY), "upload-")
    wait_for(lambda: asking.row("one")["reconciles"] > compared + 1, asking.explain_status)
    assert asking.row("one")["excess"]
    assert asking.row("one")["deletions_sent"] == 0
    (row,) = asking.ask(command="resume")
    assert row["what"] == "one"
    wait_for(lambda: is_well(asking), asking.explain_status)


@pytest.mark.parametrize("compared_by", ["itself", "verify"])
def test_the_question_ends_when_the_surplus_is_removed_on_the_frontend(
    asking, monkeypatch, compared_by
):
    if compared_by == "verify":
        monkeypatch.setattr("replicator.core.surplus.STEADY", 3600.0)
        asking.ask(command="bootstrap", host="one")  # the next comparison by itself is an hour away
        assert asking.row("one")["excess"]
    for picture in asking.site("one").glob("*.jpg"):
        if not (asking.source / picture.name).exists():
            picture.unlink()
    if compared_by == "verify":
        assert asking.ask(command="verify", host="one")[0]["differing"] == 0
    wait_for(lambda: is_well(asking), asking.explain_status)


def test_verify_deletes_no_surplus_that_awaits_confirmation(asking):
    (asking.site("one") / "a1.jpg").write_text("damaged")
    for _ in range(2):
        (report,) = asking.ask(command="verify", host="one", repair=True)
        assert "replicator resume" in report["error"]
    wait_for(
        lambda: (asking.site("one") / "a1.jpg").read_text() == "picture 1", asking.explain_status
    )
    assert pictures(asking, "one") == MANY
    assert not asking.status()["ok"]


def test_status_shows_the_surplus_that_verify_leaves_on_a_frontend(tmp_path):
    fill(tmp_path / "source", range(OURS))
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        fill(backend.site("one"), range(MANY))
        backend.ask(command="verify", host="one", repair=True)
        wait_for_question(backend)
        assert pictures(backend, "one") == MANY
