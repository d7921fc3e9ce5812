"""engine: the conduct. Knows only `ports` and the pure rooms; every hand is given to it by `app`."""
