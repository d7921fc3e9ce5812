"""Fuzzers for every parser of backend and agent: each may raise only documented exceptions, in bounded time and memory."""
