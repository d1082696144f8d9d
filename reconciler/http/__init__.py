"""HTTP/1.1, spoken by h11. Ours are the sockets, the limits and the deadlines."""
