"""Signatures of file versions, and deltas that turn one version into the next.

All functions work on buffers and do no I/O. `ops` and `patch` are also streamed to the frontends: standard library only.
"""
