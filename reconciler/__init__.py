"""Docker-style container networks as declared state. `pipeline.py` is the file to read first."""

__version__ = "0.2.0"
