"""watch: where may a tree have changed? Hints from the kernel (inotify); the rest of the house never sees an event."""
