"""Persistent catalog of the source trees, in SQLite."""
