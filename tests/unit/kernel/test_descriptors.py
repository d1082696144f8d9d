"""Descriptors that come by the thousand leave the low numbers to libraries that wait by select(2)."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import closing

import pytest

from reconciler.kernel.netlink import RouteSocket, out_of_the_way

SELECT_MAX = 1024


@pytest.fixture
def many_open() -> Iterator[None]:
    """As in a process that has some hundred namespaces open, and so has raised its limit."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(600)]
    yield
    for fd in opened:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("many_open")
def test_of_many_only_those_of_libraries_are_low() -> None:
    lowest = os.dup(0)
    os.close(lowest)

    moved = out_of_the_way(os.open("/dev/null", os.O_RDONLY))
    with closing(RouteSocket()) as opened:
        taken = os.dup(0)

        assert (moved >= SELECT_MAX, opened._socket.fileno() >= SELECT_MAX) == (True, True)
        assert not os.get_inheritable(moved)
        assert taken == lowest
    os.close(taken)
    os.close(moved)


def test_few_stay_where_they_are() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)

    assert out_of_the_way(fd) == fd
    os.close(fd)
