"""Descriptors that come by the thousand leave the low numbers to libraries that wait by select(2)."""

from __future__ import annotations

import gc
import os
import resource
import traceback
from contextlib import closing

from reconciler.kernel.netlink import RouteSocket, out_of_the_way

SELECT_MAX = 1024


def try_with_many_open() -> None:
    """As in a process that has some hundred namespaces open, and so has raised its limit. For one that ends with it."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    for _ in range(600):
        os.open("/dev/null", os.O_RDONLY)
    lowest = os.dup(0)
    os.close(lowest)

    moved = out_of_the_way(os.open("/dev/null", os.O_RDONLY))
    with closing(RouteSocket()) as opened:
        taken = os.dup(0)

        assert (moved >= SELECT_MAX, opened._socket.fileno() >= SELECT_MAX) == (True, True)
        assert not os.get_inheritable(moved)
        assert taken == lowest


def test_of_many_only_those_of_libraries_are_low() -> None:
    """In a process without other threads or garbage, which would open and close descriptors meanwhile."""
    child = os.fork()
    if not child:
        code = 1
        try:
            gc.disable()
            try_with_many_open()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_few_stay_where_they_are() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)

    assert out_of_the_way(fd) == fd
    os.close(fd)
