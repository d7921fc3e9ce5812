"""Fuzzers for every parser, on both sides: only documented exceptions may come out, in bounded time and memory."""
