"""The hot path alone: one process, no frontends."""

from bench.micro import busy, delta, tree, turns

CASES = [*delta.CASES, *tree.CASES, *busy.CASES, *turns.CASES]
