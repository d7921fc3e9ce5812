"""Block sums of a version, and the instructions that turn one version into the next.

Pure: buffers in, values out. `ops` and `patch` are also streamed to the frontends and use the standard library alone.
"""
