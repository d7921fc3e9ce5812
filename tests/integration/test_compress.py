"""`tree.compress` and `ssh.compress`: less is sent, the same arrives, also at an agent of a release that cannot decompress."""

import os

import pytest

from tests.support.backend import Backend
from tests.support.releases import MixedFleet

LINES = b"".join(
    b"function translate_%d($key) { return lookup($key, %d); }\n" % (n, n) for n in range(40_000)
)
"""2.6 MB of source code, of which zlib leaves less than a fifth."""


def fill(directory):
    (directory / "deep").mkdir(parents=True)
    for number in range(40):
        (directory / "deep" / f"{number}.php").write_bytes(LINES[number * 5000 : number * 7000])
        (directory / "deep" / f"{number}.jpg").write_bytes(os.urandom(3000))
    (directory / "large.js").write_bytes(LINES)


def sent(backend):
    return {host: backend.row(host)["bytes_sent"] for host in backend.hosts}


@pytest.mark.parametrize("where", ["tree", "ssh"])
def test_less_is_sent_and_the_same_arrives_in_a_bootstrap_and_live(tmp_path, where):
    fill(tmp_path / "source/filled")
    fleet = MixedFleet(tmp_path)
    with Backend(tmp_path, ["old", "new"], fleet, **{where: {"compress": True}}) as backend:
        backend.wait_until_equal()
        filled = sent(backend)
        assert filled["new"] < filled["old"] / 3, filled
        fill(backend.source / "live")
        backend.wait_until_equal()
        live = {host: size - filled[host] for host, size in sent(backend).items()}
        assert live["new"] < live["old"] / 3, live
        with (backend.source / "filled/large.js").open("r+b") as file:  # a delta
            file.seek(1 << 20)
            file.write(LINES[:300_000].swapcase())
        (backend.source / "live/deep/0.php").write_bytes(LINES[:200_000])
        backend.wait_until_equal()
        delta = {host: size - live[host] - filled[host] for host, size in sent(backend).items()}
        assert delta["new"] < delta["old"] / 3 < len(LINES) / 3, delta
        for host in backend.hosts:
            assert (backend.row(host)["last_error"], backend.row(host)["logins"]) == ("", 1)


def test_nothing_is_compressed_unless_it_is_asked_for(tmp_path):
    fill(tmp_path / "source/filled")
    with Backend(tmp_path, ["one"]) as backend:
        backend.wait_until_equal()
        assert sent(backend)["one"] > len(LINES)
