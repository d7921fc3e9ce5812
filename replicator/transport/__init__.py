"""Byte streams to agents, over SSH or to a child process: connecting, host keys, start of the agent, limits."""
