"""Source side: from hints to published changes."""
