"""Change notification: translates inotify events into hints. No other package sees an event."""
