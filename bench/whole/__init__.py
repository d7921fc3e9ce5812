"""End-to-end cases: replicator and other programs over real SSH servers."""

from bench.whole import changes, fills, growth, scale

CASES = [*changes.CASES, *fills.CASES, *growth.CASES, *scale.CASES]
