"""One file per kind of object: the value, its traits, and what it tells of itself. See `base`."""
