"""What is said of a TLS connection that ended without a word."""

from __future__ import annotations

import ssl
from pathlib import Path

from reconciler.kv.config import TlsFiles
from reconciler.kv.tls_trouble import explained


def test_a_server_that_hangs_up_may_have_refused_the_certificate() -> None:
    hung_up = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")

    without = explained(hung_up, TlsFiles(ca=Path("ca.pem")))
    with_one = explained(
        hung_up, TlsFiles(ca=Path("ca.pem"), certificate=Path("/nowhere/own.pem"), key=Path("own.key"))
    )

    assert "perhaps it wants a certificate of ours: give kv.certfile" in without
    assert "perhaps it does not take kv.certfile /nowhere/own.pem" in with_one
    assert "at a port without TLS leave out" in with_one
