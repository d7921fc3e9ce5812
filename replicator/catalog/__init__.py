"""catalog: what each source tree holds, kept across restarts."""
