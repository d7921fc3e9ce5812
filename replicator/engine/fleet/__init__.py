"""The fleet: which frontends are members, and their launch hooks."""
