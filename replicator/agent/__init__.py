"""agent: our process on the frontend. Standard library only, Python 3.9 or later, blocking, no asyncio."""
