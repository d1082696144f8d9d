"""Limits that a command line runs under in tests (setrlimit(2)); called in its process before it begins."""

from __future__ import annotations

import resource
from pathlib import Path


def descriptors(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def file_size(size_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


def memory(more_mib: int) -> None:
    """Let the process take so much more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (more_mib << 20), resource.RLIM_INFINITY))
