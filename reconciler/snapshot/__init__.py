"""What a host has and promised, in a file: plans are made from it where the host is not."""
