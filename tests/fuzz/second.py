"""Second readers of what borders take: others' parsers, or a few lines written for the tests. What both read is the same."""

from __future__ import annotations

import http.client
import io
import re
from types import SimpleNamespace
from typing import Any

import dns.exception
import dns.flags
import dns.message
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from reconciler.dns.wire import Query

_ODD = re.compile(r"[\x85\u2028\u2029\ufeff]|[&*][^\s,\[\]{}]*:|:\s*[\]},]|[\[{,]\s*[?:]|<<")
_NULLS = {None: ("", "~", "null", "Null", "NULL"), True: ("true", "True", "TRUE"), False: ("false", "False", "FALSE")}


def check_query(message: bytes, query: Query) -> None:
    """dnspython reads a question that we took in the same way, where it reads it."""
    try:
        theirs = dns.message.from_wire(message)
    except dns.exception.DNSException:
        return
    (question,) = theirs.question
    labels = [label.lower() for label in question.name.labels[:-1]]
    name = None if any(b"." in label for label in labels) else b".".join(labels).decode("latin-1")
    assert (name, int(question.rdtype), int(question.rdclass)) == (query.name, query.rtype, query.rclass)
    assert (theirs.edns if theirs.edns >= 0 else None) == query.edns_version
    assert query.edns_version is None or max(512, theirs.payload) == query.udp_size
    assert bool(theirs.ednsflags & dns.flags.DO) == query.is_dnssec_ok


def check_yaml(text: str, data: object) -> None:
    """ruamel's own parser, which is another than ours, reads a document that we took as the same texts.

    Not where it goes by YAML 1.1, or by neither: other line breaks, `[a:]`, `{?a`, `{:a`, anchors with a colon; nor merges.
    """
    if _ODD.search(text):
        return
    try:
        theirs = YAML(typ="base", pure=True).load(text)
    except (YAMLError, ValueError, TypeError, AssertionError):
        return
    assert _is_same(data, theirs), f"{data!r} is {theirs!r} to ruamel"


def _is_same(ours: object, theirs: object) -> bool:
    if isinstance(ours, dict):
        return (
            isinstance(theirs, dict)
            and list(ours) == [str(key) for key in theirs]
            and all(map(_is_same, ours.values(), theirs.values()))
        )
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(_is_same, ours, theirs))
    if ours is None or isinstance(ours, bool):
        return theirs is None or theirs in _NULLS[ours]
    return theirs in ((str(ours), "-0") if ours == 0 else (str(ours),))


def check_answer(data: bytes, status: int, body: bytes) -> None:
    """http.client reads an answer that is whole to us as the same, where it reads it."""
    connection: Any = SimpleNamespace(makefile=lambda _: io.BytesIO(data))
    theirs = http.client.HTTPResponse(connection, method="GET")
    try:
        theirs.begin()
        read = theirs.read()
    except http.client.UnknownProtocol as error:
        raise AssertionError(f"version {error}") from error
    except (http.client.HTTPException, ValueError):
        return
    assert theirs.status < 200 or (theirs.status, read) == (status, body)  # it passes over none before the last but 100
