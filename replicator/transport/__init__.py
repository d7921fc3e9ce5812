"""Byte streams to agents over SSH: connecting, host keys, start of the agent, limits."""
