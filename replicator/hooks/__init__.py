"""Hooks: programs of the operator that are started after something has happened. Nothing here can delay replication."""
