"""Read access to the files of a source tree."""
