"""The whole of replicator beside whole peers, over real SSH servers."""

from bench.whole import changes, fills, growth, scale

CASES = [*changes.CASES, *fills.CASES, *growth.CASES, *scale.CASES]
