"""One page with all that it needs: styles, script and what it shows. Nothing in it comes from elsewhere, or leads there."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent / "page"
SELF: Final = "'self'"
_UNSAFE: Final = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
"""In JSON these stand in strings alone, where an escape means the same; so no name ends the element that the data is in."""


def html(data: bytes, title: str) -> str:
    """Return the page with a drawing. data: as `document` gives it."""
    return _page(title, data.decode().translate(_UNSAFE), connect="'none'")


def live_html(title: str) -> str:
    """Return the page of a server, which asks that for what it shows."""
    return _page(title, "null", connect=SELF)


def live_policy() -> str:
    """Return what that page may do, for a header: in the page itself a policy cannot say in which frames it may be."""
    return f"{_policy(_text('page.css'), _text('page.js'), SELF)}; frame-ancestors 'none'"


def _page(title: str, data: str, connect: str) -> str:
    style, script, body = map(_text, ("page.css", "page.js", "page.html"))
    places = {
        "POLICY": _policy(style, script, connect),
        "TITLE": escape(title),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": data,
    }
    parts = body.split("@@")
    return "".join(places[part] if number % 2 else part for number, part in enumerate(parts))


def _policy(style: str, script: str, connect: str) -> str:
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; connect-src {connect}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
