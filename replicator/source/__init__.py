"""source: the files of one source tree, as they stand right now."""
