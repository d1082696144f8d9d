"""What a number of the kernel is called: a missing privilege only where one is missing."""

from __future__ import annotations

import errno
import os

import pytest

from reconciler import errors
from reconciler.errors import KernelError, PrivilegeError, kernel_error, netlink_error, surroundings_error


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
@pytest.mark.parametrize("is_missing", [True, False], ids=["without rights", "with all rights"])
def test_a_refusal_is_for_want_of_a_privilege_only_where_one_is_missing(
    monkeypatch: pytest.MonkeyPatch, number: int, is_missing: bool
) -> None:
    monkeypatch.setattr(errors, "is_privilege_missing", lambda: is_missing)

    error = kernel_error(number, "write /etc/x")

    assert isinstance(error, PrivilegeError) is is_missing
    assert ("though no capability is missing" in str(error)) is not is_missing
    assert errno.errorcode[number] in str(error)


def test_rtnetlink_says_eacces_where_there_is_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "is_privilege_missing", lambda: True)

    refused = netlink_error(errno.EACCES, "create address fd00::1/64")

    assert not isinstance(refused, PrivilegeError)
    assert "IPv6 is switched off" in str(refused)
    assert "disable_ipv6" in str(refused)
    assert isinstance(netlink_error(errno.EPERM, "create bridge"), PrivilegeError)


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_other_number_is_told_in_the_kernels_words(number: int) -> None:
    error = kernel_error(number, "do it")

    if number not in (errno.EPERM, errno.EACCES):
        assert type(error) is KernelError
        assert errno.errorcode[number] in str(error)


def test_an_error_without_a_number_is_no_success() -> None:
    assert "EIO" in str(kernel_error(0, "write x"))


@pytest.mark.parametrize(
    "number", [errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EROFS, errno.EIO, errno.ENOBUFS]
)
def test_what_ran_out_is_tried_again(number: int) -> None:
    """No event tells that it came back: a watcher waited five minutes for its resync."""
    assert kernel_error(number, "make it").is_retryable
    assert surroundings_error(OSError(number, os.strerror(number))).is_retryable


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EEXIST, errno.EOPNOTSUPP])
def test_what_the_kernel_does_not_take_is_not_tried_again(number: int) -> None:
    assert not kernel_error(number, "make it").is_retryable
