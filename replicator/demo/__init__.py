"""demo: the whole thing on one machine, without root, sshd or AWS."""
