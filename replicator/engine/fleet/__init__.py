"""All frontends: who is a member, and who is filled next."""
