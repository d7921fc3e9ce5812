"""files: reach into a tree by held directory descriptors, never through a symlink. Both hosts use it."""
