"""core: decisions. No files, no sockets, no clock: the time is an argument, in seconds of a monotonic clock."""
