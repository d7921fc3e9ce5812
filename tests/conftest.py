"""Settings of Hypothesis for all tests: no time limit for an example, because a busy machine takes its time."""

from hypothesis import settings

settings.register_profile("replicator", deadline=None)
settings.load_profile("replicator")
