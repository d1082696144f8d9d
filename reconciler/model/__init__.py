"""The nouns: frozen values without I/O. Imports nothing else of this package."""
