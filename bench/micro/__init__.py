"""Cases that measure only the hot path, without frontends."""

from bench.micro import busy, delta, tree, turns

CASES = [*delta.CASES, *tree.CASES, *busy.CASES, *turns.CASES]
