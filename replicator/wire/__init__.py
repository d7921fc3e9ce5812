"""Conversion of bytes to messages and back, without I/O: the backend uses it with asyncio, the agent with blocking reads."""
