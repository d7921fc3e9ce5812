"""Decisions without I/O: no files, no sockets, no clock. The time is an argument, in seconds of a monotonic clock."""
