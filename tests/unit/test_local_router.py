"""The loop that decides which frontends of `deploy/local` are in service."""

import importlib.util
import socket
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "deploy" / "local" / "router" / "upstream.py"


@pytest.fixture(scope="module")
def router():
    spec = importlib.util.spec_from_file_location("upstream", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_good_answer_takes_a_frontend_in_and_one_bad_answer_takes_it_out(router):
    frontends = router.Frontends()
    assert frontends.judge({"a": True, "b": False}) == {"a"}
    assert frontends.judge({"a": False, "b": True}) == {"b"}


def test_a_frontend_is_taken_out_when_it_gives_no_answer_twice_in_a_row(router):
    frontends = router.Frontends()
    frontends.judge({"a": True, "b": True})
    assert frontends.judge({"a": None, "b": True}) == {"a", "b"}
    assert frontends.judge({"a": True, "b": None}) == {"a", "b"}
    assert frontends.judge({"a": None, "b": None}) == {"a"}
    assert frontends.judge({"a": None, "b": None}) == frozenset()


def test_a_frontend_that_never_answered_is_not_taken_in(router):
    frontends = router.Frontends()
    assert frontends.judge({"a": None}) == frozenset()


def test_a_frontend_that_is_gone_and_returns_is_judged_anew(router):
    frontends = router.Frontends()
    frontends.judge({"a": True})
    assert frontends.judge({}) == frozenset()
    assert frontends.judge({"a": None}) == frozenset()


def test_without_frontends_the_upstream_is_the_server_that_answers_503(router):
    text = router.upstreams(["10.0.0.1"], [])
    assert "upstream backend {\n  server 10.0.0.1 max_fails=0;\n}\n" in text
    assert "upstream frontends {\n  server unix:/run/nobody.sock max_fails=0;\n}\n" in text


def test_the_file_is_replaced_only_if_its_content_changes(router, tmp_path):
    file = tmp_path / "upstream.conf"
    assert router.publish(file, "one")
    assert not router.publish(file, "one")
    assert router.publish(file, "two")
    assert file.read_text() == "two"


@pytest.mark.parametrize(
    ("error", "known"),
    [(socket.EAI_AGAIN, ["10.0.0.7"]), (socket.EAI_NONAME, []), (socket.EAI_FAIL, [])],
)
def test_frontends_stay_known_while_dns_does_not_answer(router, monkeypatch, error, known):
    def fail(*_):
        raise socket.gaierror(error, "as the resolver reports it")

    monkeypatch.setattr(router.socket, "getaddrinfo", fail)
    assert router.addresses("frontend", ["10.0.0.7"]) == known
