"""The command line: arguments and environment to settings, one pass or one question, data on stdout, an exit code.

Decides nothing about networks. Whatever is slow to import is imported by the command that needs it.
"""

from reconciler.cli.root import main

__all__ = ["main"]
