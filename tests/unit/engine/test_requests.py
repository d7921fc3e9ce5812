"""Requests: what the control socket may ask for."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator import __version__
from replicator.engine.requests import Requests, _address
from replicator.engine.service import Service
from replicator.errors import ControlError
from replicator.ports import Address
from tests.support.frontends import Backdrop


def test_a_request_names_a_frontend():
    assert _address({"host": "a", "user": "u", "port": 22}) == Address("a", "u", 22)
    assert _address({"host": "a"}) == Address("a")


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"host": 1},
        {"user": None},
        {"port": "22"},
        {"port": True},
        {"port": -1},
        {"port": 65536},
    ],
)
def test_what_is_no_address_is_refused(wrong):
    with pytest.raises(ControlError, match="names no host"):
        _address({"host": "a", "user": "", "port": 0} | wrong)


@pytest.fixture
async def ask():
    """Ask a service that has neither trees nor frontends; return all lines of its answer."""
    with ThreadPoolExecutor(1) as pool:
        commons = Backdrop(pool).commons
        commons.plots.clear()
        requests = Requests(Service(commons, {}), commons)

        async def collect(**request):
            return [line async for line in requests.handle(request)]

        yield collect


async def test_each_question_has_its_answer(ask):
    (status,) = await ask(command="status")
    assert status.pop("uptime_seconds") >= 0
    assert status == {
        "ok": True,
        "version": __version__,
        "frontends": [],
        "trees": [],
        "bootstrapping": 0,
        "discovery": [],
    }
    assert await ask(command="resume") == []
    assert await ask(command="verify") == []


async def test_what_cannot_be_answered_is_said(ask):
    with pytest.raises(ControlError, match="unknown command 'dance'"):
        await ask(command="dance")
    with pytest.raises(ControlError, match="elsewhere: not one of the frontends"):
        await ask(command="verify", host="elsewhere")
    with pytest.raises(ControlError, match="names no host"):
        await ask(command="bootstrap")
