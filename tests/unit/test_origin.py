"""The identity of the sources, as the agents get it."""

import asyncio
import os
import threading

from replicator.app import origin
from replicator.app.origin import Origins
from replicator.files import kin
from tests.support.waiting import turns


def identity(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino


async def test_a_source_is_reported_as_missing_and_later_as_present(tmp_path):
    root = tmp_path / "late"
    origins = Origins(lambda: [os.fsencode(root)])
    before = await origins.now()
    assert before.missing == ((*identity(tmp_path), b"late"),)
    assert identity(tmp_path) in before.above
    assert not before.sources
    root.mkdir()
    after = await origins.now()
    assert after.sources == (identity(root),)
    assert not after.missing
    origins.close()


async def test_a_source_that_hangs_delays_no_check_of_another(tmp_path, monkeypatch):
    hung, other = os.fsencode(tmp_path / "hung"), os.fsencode(tmp_path / "other")
    goes_on = threading.Event()
    place_of = kin.place_of

    def hang_or_place_of(path):
        if path == hung:
            goes_on.wait()
        return place_of(path)

    origins = Origins(lambda: [hung, other])
    known = await origins.now()
    assert len(known.missing) == 2
    monkeypatch.setattr(origin.kin, "place_of", hang_or_place_of)
    monkeypatch.setattr(origin, "WITHIN", 0.05)
    try:
        for directory in (hung, other):
            os.mkdir(directory)
        async with asyncio.timeout(30):
            while not (
                found := await origins.now()
            ).sources:  # a thread may begin later than WITHIN
                await turns()
        assert found.sources == (identity(other),)
        assert found.missing == ((*identity(tmp_path), b"hung"),)  # as it was known last
        monkeypatch.setattr(origin, "WITHIN", 60.0)
        async with asyncio.timeout(30):  # what hangs already is not waited for again
            assert (await origins.now()).sources == (identity(other),)
    finally:
        goes_on.set()
    while len((await origins.now()).sources) < 2:
        await turns()
    origins.close()
