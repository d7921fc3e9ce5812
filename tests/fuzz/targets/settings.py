"""Fuzz what the operator writes: the configuration file, addresses, rates and exclude patterns."""

import math
import os
import tempfile
import warnings
from pathlib import Path

from replicator.config import load, parse_address, parse_rate
from replicator.core.filters import Filter
from replicator.errors import ConfigError
from replicator.model import DIRECTORY, FILE
from replicator.ports import Address
from tests.fuzz import mutate
from tests.fuzz.target import sentence, target

STARS = 5
"""Maximum number of `*` in a pattern to try: matching time grows exponentially with it. Patterns come from the operator only."""

PATHS = (b"a", b"dir/file.tmp", b"dir/sub/\xff\xfe", b"new\nline", b"cache/x", b"a" * 60)

TREE = b'[[tree]]\nsource = "/srv/www"\n'
FULL = b"""
[[tree]]
source = "~/www"
target = "/var/www"
exclude = ["*.tmp", "cache/", "!keep"]
delete = true
delete_guard = 0.5
owner = "www-data:33"
ready_file = ".replicator/ready"
[[tree]]
source = "relative/../dir"
target = "/other"
setid = false
[discovery]
provider = "alb"
frontends = ["10.0.0.1", "deploy@web:2222", "[fd00::1]:22", "fd00::2"]
target_groups = "arn"
interval = 15.0
exclude = []
[ssh]
user = "deploy"
port = 22
identity = "key"
host_keys = "console"
connect_timeout = 1
[bootstrap]
concurrency = 2
bandwidth = "40MiB/s"
[settle]
cooldown = 0.5
max_wait = 10.0
[retry]
first = 0.5
cap = 30.0
[state]
directory = "/var/lib/replicator"
[log]
level = "info"
format = "json"
"""


@target(
    TREE,
    FULL,
    TREE + b"target = '''\\u0000'''\nready_max_lag = 1e3\n",
    mutate=mutate.lines,
    limit=8192,
    effort=200,
)
def config(data):
    """Raise nothing; catches ConfigError. Assert that accepted settings have absolute paths and finite numbers."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        file = Path(directory) / "replicator.toml"
        file.write_bytes(data)
        try:
            settings = load(file)
        except ConfigError as error:
            str(error)
            return
    for tree in settings.tree:
        assert os.path.isabs(tree.source)
        assert os.path.isabs(tree.target)
        assert "\0" not in tree.source + tree.target
        assert 0 < tree.delete_guard <= 1
    assert os.path.isabs(settings.state.directory)
    rate = settings.bootstrap.bytes_per_second
    assert rate is None or 0 < rate < math.inf
    for text in settings.discovery.frontends:
        parse_address("", text)


@target(
    b"10.0.0.1", b"deploy@web-1.example:2222", b"[fd00::1%eth0]:22", b"::1", b"40MiB/s", b"1.5 gb"
)
def address(data):
    """Raise nothing; catches ConfigError. Assert that addresses survive formatting and parsing, and that rates are finite."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        user, host, port = parse_address("HOST", text)
        assert host
        assert not (user + host).startswith("-")
        assert 0 <= port < 65536
        assert parse_address("HOST", str(Address(host, user, port))) == (user, host, port)
    except ConfigError as error:
        sentence(error)
    try:
        assert 0 < parse_rate("RATE", text) < math.inf
    except ConfigError as error:
        sentence(error)


@target(
    b"*.tmp\n/cache/\n!keep\n# comment\n\\#name\ndir/**/x\n[a-c]?\n",
    b"**/foo\nfoo/**\na/**/b\n\\ \n!\n",
    mutate=mutate.lines,
    limit=1024,
)
def filters(data):
    """Raise nothing; catches ConfigError. Assert that accepted patterns can be matched against any path."""
    patterns = data.decode("utf-8", "replace").split("\n")
    if any(pattern.count("*") > STARS for pattern in patterns):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of `re`, about a bracket in brackets
            made = Filter(patterns)
    except ConfigError:
        return
    for path in PATHS:
        for kind in (FILE, DIRECTORY):
            assert made.excluded(path, kind) in (True, False)
