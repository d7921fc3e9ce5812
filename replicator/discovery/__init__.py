"""Providers: each tells which frontends exist, according to one source such as a file, DNS or AWS."""
