"""discovery: says which frontends should exist."""
