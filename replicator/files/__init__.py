"""Access to the files of a tree through open directory descriptors, never through a symlink; used on the backend and the frontends."""
