"""What is the matter when a server and we do not agree on TLS: what was said, and what can be done about it."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import Final

from reconciler.http.client_protocol import HungUp
from reconciler.kv.config import TlsFiles
from reconciler.records.file import PEM_MAX, beginning

_VALIDITY: Final = re.compile(rb"\x30.[\x17\x18].(\d{12,14})Z[\x17\x18].(\d{12,14})Z", re.DOTALL)
"""The two moments of a certificate (RFC 5280, section 4.1.2.5), as they lie in its DER form."""

_TLS_FILES: Final = "kv.cacertfile, kv.certfile and kv.keyfile"

_REFUSALS: Final = ("CERTIFICATE", "ACCESS_DENIED", "UNKNOWN_CA", "HANDSHAKE_FAILURE")
"""In the names of the alerts that a server ends a connection with for our certificate's sake (RFC 8446, section 6.2)."""


def explained(error: Exception | str, files: TlsFiles | None) -> str:
    """Return an error's text, with what to do where TLS has to do with it. files: those that the connection was made with."""
    text = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message}): see that kv.cacertfile names who signed it"
    if isinstance(error, ssl.SSLError) and files is not None:
        if isinstance(error, ssl.SSLEOFError):  # what it said of our certificate may be lost, as we were sending
            return f"{text}; perhaps {_remedy(files)}; at a port without TLS leave out {_TLS_FILES}"
        if any(word in (error.reason or "") for word in _REFUSALS):
            return f"the server said: {_said(error)}; {_remedy(files)}"
        return f"{text}; is that a port without TLS? Then leave out {_TLS_FILES}"
    if isinstance(error, HungUp) and files is None:
        return f"{text}; if the server expects TLS, give kv.cacertfile"
    return text


def _said(error: ssl.SSLError) -> str:
    """Return the alert in words: `tlsv13 alert certificate required` for TLSV13_ALERT_CERTIFICATE_REQUIRED."""
    return (error.reason or "").lower().replace("_", " ")


def _remedy(files: TlsFiles) -> str:
    if files.certificate is None:
        return "it wants a certificate of ours: give kv.certfile and kv.keyfile"
    begin, end = _validity(files)
    now = datetime.now(UTC)
    if end is not None and end < now:
        return f"the certificate in kv.certfile {files.certificate} expired on {end:%Y-%m-%d}: renew it"
    if begin is not None and begin > now:
        return f"the certificate in kv.certfile {files.certificate} is not valid before {begin:%Y-%m-%d}"
    return f"it does not take kv.certfile {files.certificate}: have it signed, for clients, by an authority that the server trusts"


def _validity(files: TlsFiles) -> tuple[datetime | None, datetime | None]:
    """Return from when to when our certificate is valid, as far as that can be read."""
    assert files.certificate is not None
    try:
        pem = re.search("-----BEGIN CERT.*?-----END CERTIFICATE-----", beginning(files.certificate, PEM_MAX), re.DOTALL)
        found = _VALIDITY.search(ssl.PEM_cert_to_DER_cert(pem[0])) if pem else None
    except (OSError, ValueError):
        return None, None
    return (_moment(found[1]), _moment(found[2])) if found else (None, None)


def _moment(digits: bytes) -> datetime | None:
    """Those before 2050 have two digits for the year, which strptime(3) takes for one from 1969 on."""
    try:
        return datetime.strptime(digits.decode(), "%y%m%d%H%M%S" if len(digits) == 12 else "%Y%m%d%H%M%S").replace(
            tzinfo=UTC
        )
    except ValueError:
        return None
