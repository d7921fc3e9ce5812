"""The frame cache: values are made once, are limited in bytes, and a failure affects only its caller."""

import threading

import pytest

from replicator.engine.changes.frame_cache import FrameCache
from tests.support.waiting import wait_for


def test_a_kept_value_is_not_made_again():
    cache, made = FrameCache(100, len), []

    def make():
        made.append(1)
        return b"frame"

    assert [cache.get("k", make) for _ in range(3)] == [b"frame"] * 3
    assert len(made) == 1


def test_the_least_recently_used_values_are_dropped_at_the_limit():
    cache = FrameCache(10, len)
    for key in "abc":
        cache.get(key, lambda: b"xxxx")
    for key in "bcb":
        cache.get(key, pytest.fail)
    cache.get("d", lambda: b"xxxx")
    for key in "bd":
        cache.get(key, pytest.fail)
    assert cache.get("c", lambda: b"made again") == b"made again"
    assert cache.get("a", lambda: b"as well") == b"as well"


def test_a_value_larger_than_the_cache_is_returned_and_not_kept():
    cache = FrameCache(3, len)
    assert cache.get("k", lambda: b"large") == b"large"
    assert cache.get("k", lambda: b"anew!") == b"anew!"


def test_none_is_not_kept():
    cache = FrameCache(10, len)
    assert cache.get("k", lambda: None) is None
    assert cache.get("k", lambda: b"now") == b"now"


def test_threads_that_ask_at_once_share_the_value_that_is_being_made():
    cache, release, made = FrameCache(100, len), threading.Event(), []

    def make():
        made.append(1)
        release.wait(10)
        return b"frame"

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.get("k", make))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: made, "the first to begin")
    release.set()
    for thread in threads:
        thread.join()
    assert found == [b"frame"] * 5
    assert len(made) == 1


def test_a_thread_that_waited_for_a_failure_makes_the_value_itself():
    cache, release = FrameCache(100, len), threading.Event()
    begun = threading.Event()

    def fail():
        begun.set()
        release.wait(10)
        raise OSError("disk")

    def first():
        with pytest.raises(OSError, match="disk"):
            cache.get("k", fail)

    found = []
    one = threading.Thread(target=first)
    one.start()
    begun.wait(10)
    other = threading.Thread(target=lambda: found.append(cache.get("k", lambda: b"frame")))
    other.start()
    release.set()
    one.join()
    other.join()
    assert found == [b"frame"]
