"""A process that publishes and prunes a base until it is killed. `python -m tests.support.base_child DIRECTORY ENDPOINT KILLS`.

Prints a line for each kill: the step at which it came. Each round, a child is forked from this process, which has imported everything
(the import of boto3 takes longer than a round); it changes files, publishes and prunes again and again, and is killed after a random time.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from replicator.base import packer, publication
from replicator.base.prefix import Prefix
from replicator.base.prune import prune
from replicator.base.publication import TreeBase
from replicator.store.s3 import S3Store
from tests.support import published, weed

FILES = 40
KEEP = 1.0
"""Seconds for which a replaced manifest is kept: short, so that each round has something to remove."""

LONGEST = 0.6
"""Seconds until a child is killed, at most: it publishes and prunes about three times in it."""

packer.PACK = packer.BATCH = 60_000
publication.MOST_SMALL = 8


class Counting(S3Store):
    """Notes each step in a file, so that the parent knows what a kill has interrupted."""

    def note(self, step):
        os.pwrite(NOTE, step.ljust(16).encode(), 0)

    def put(self, name, body, pace):
        self.note(f"put {name.partition('/')[0]}")
        super().put(name, body, pace)
        self.note("publish")

    def swap(self, name, body, version):
        self.note(f"swap {name.partition('/')[0]}")
        done = super().swap(name, body, version)
        self.note("publish")
        return done

    def delete(self, names):
        self.note("delete" if names else "prune")
        super().delete(names)
        self.note("prune")


def store(endpoint):
    return Counting(weed.BUCKET, "site/", endpoint=endpoint)


def change(directory):
    """Write some files anew and remove some."""
    for _ in range(random.randrange(1, 8)):
        path = directory / f"d{random.randrange(4)}" / f"f{random.randrange(FILES // 4)}"
        path.parent.mkdir(exist_ok=True)
        if random.random() < 0.2:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(random.randbytes(random.randrange(20_000)))


def child(source, state, objects):
    """Publish and prune until killed."""
    random.seed()
    tree = published.PublishedTree(source)
    prefix = Prefix(objects, "me", lambda _: None)
    prefix.open()
    base = TreeBase(tree, prefix, state, lambda: None, KEEP)
    tables = {}
    while True:
        change(source)
        tree.scan()
        base.publish()
        prune(prefix, tables, {base.published.manifest}, KEEP)


def kill_one(source, state, objects):
    """Fork a child and kill it; return the step that was interrupted."""
    os.pwrite(NOTE, b"start".ljust(16), 0)
    pid = os.fork()
    if not pid:
        try:
            child(source, state, objects)
        finally:
            os._exit(1)  # only after an error: the parent expects a kill
    time.sleep(random.uniform(0.01, LONGEST))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the child has failed by itself"
    return os.pread(NOTE, 16, 0).decode().strip()


def main():
    directory, endpoint, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    source, state = directory / "source", directory / "state"
    source.mkdir()
    state.mkdir()
    change(source)
    reader, objects = store(endpoint), store(endpoint)
    objects.url("x", 1)  # makes its client, without a connection, which children would share
    for number in range(kills):
        step = kill_one(source, state, objects)
        pointers = published.pointers(reader)
        complete = [published.restored(reader, one.manifest) for one in pointers]
        row = {"kill": number, "step": step, "pointers": len(pointers)}
        print(json.dumps({**row, "entries": [len(rows) for rows in complete]}), flush=True)


NOTE = os.memfd_create("step")
if __name__ == "__main__":
    main()
