"""The process that applies changes on a frontend. Standard library only, Python 3.9 or later, blocking I/O, no asyncio."""
