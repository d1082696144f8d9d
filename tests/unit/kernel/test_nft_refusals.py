"""What nft refuses for want of something is tried again; what it does not take is not."""

from __future__ import annotations

import pytest

from reconciler.errors import FirewallError
from reconciler.kernel import nft


@pytest.mark.parametrize(
    ("said", "is_retryable"),
    [
        ("Error: Could not process rule: No buffer space available\n", True),
        ("Error: Could not process rule: Cannot allocate memory\nadd table inet x\n^^^^", True),
        ("Error: syntax error, unexpected newline\n", False),
        ("Error: Could not process rule: Operation not supported\n", False),
        ("", False),
    ],
)
def test_a_refusal_for_want_of_something_is_tried_again(said: str, is_retryable: bool) -> None:
    error = nft._refusal("a change", said.encode())

    assert isinstance(error, FirewallError)
    assert error.is_retryable == is_retryable
