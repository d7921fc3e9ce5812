"""Restores a tree from its base in an object store; imported when the backend asks for the first restore."""
