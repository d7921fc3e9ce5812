"""wire: bytes to messages and back, without I/O; the backend runs it under asyncio, the agent under blocking reads."""
