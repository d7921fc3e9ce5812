"""One hook: what the log and the status report about it."""

from replicator.core.hook_queue import LatestStates
from replicator.hooks.runner import Runner

SECRET = "https://chat.example.com/hooks/s3cret"


def runner(*command):
    made = Runner("frontend-lost", command, LatestStates(), batch=0.0, seconds=30.0)
    made.queue.add("one", {"event": "frontend-lost"})
    return made


def test_arguments_may_be_secrets_and_are_not_in_the_status():
    row = runner("/bin/true", SECRET).describe()
    assert row["command"] == ["/bin/true"]
    assert SECRET not in str(row)
