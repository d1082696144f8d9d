"""Whether one reaches another, and why: in sentences with the lines of the specs, and what would change the answer."""
