"""The hot path alone: one process, no frontends."""

from bench.micro import busy, delta

CASES = [*delta.CASES, *busy.CASES]
