"""What keeps networks from working on this host, and the command that mends it. One module a subject; `registry.py` lists them."""
