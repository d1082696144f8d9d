"""libnftables by ctypes, or the nft command where the library is missing: scripts in, JSON listings out (libnftables(3), nft(8)).

Knows nothing of what the tables mean. A context's socket belongs to the network namespace of the thread that made it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple

from msgspec import Struct

from reconciler.errors import (
    PASSING,
    FirewallError,
    FirewallMissing,
    PrivilegeError,
    ReconcilerError,
    is_privilege_missing,
    kernel_error,
)
from reconciler.kernel.netlink import GET_ELEMENT, GET_GENERATION, NETLINK_NETFILTER, RouteSocket
from reconciler.kernel.rtnetlink import (
    Message,
    NetlinkRequest,
    attribute,
    attributes,
    nested,
    nested_attributes,
    raw,
    text_attribute,
)
from reconciler.settings import program_environment

_LIBRARY: Final = "libnftables.so.1"
_JSON: Final = 1 << 4
_NUMERIC_PROTO: Final = 1 << 7
"""NFT_CTX_OUTPUT_* of nftables/libnftables.h. Protocols as numbers, since their names depend on the host's /etc/protocols."""

RECYCLE_BYTES: Final = 32 << 20
"""A context keeps its largest buffers and caches: after so much text it is made anew (firewalld#1136)."""

_NFTA_GEN_ID: Final = 1
_NFTA_SET_ELEM_LIST_TABLE: Final = 1
_NFTA_SET_ELEM_LIST_SET: Final = 2
_NFTA_SET_ELEM_LIST_ELEMENTS: Final = 3
_NFTA_LIST_ELEM: Final = 1
_NFTA_SET_ELEM_KEY: Final = 1
_NFTA_SET_ELEM_DATA: Final = 2
_NFTA_SET_ELEM_USERDATA: Final = 6
_NFTA_DATA_VALUE: Final = 1
_NFTA_DATA_VERDICT: Final = 2
_NFTA_VERDICT_CODE: Final = 1
_UDATA_COMMENT: Final = 0
_FAMILIES: Final = {"inet": 1, "bridge": 7}
_NFGENMSG_SIZE: Final = 4
_COMMAND_TIMEOUT_S: Final = 120
_SBIN: Final = "/usr/sbin:/sbin"
_ERROR_LINES: Final = 3


_NAMES: Final = {
    "table": ("family", "name"),
    **dict.fromkeys(("chain", "set", "map"), ("family", "table", "name")),
    "rule": ("family", "table", "chain"),
}
"""What names a thing that is listed, by its kind."""


class _Reply(Struct, frozen=True):
    is_done: bool
    output: bytes
    error: bytes


class Nft:
    """The firewall of one network namespace: every call must come from a thread that is in it. Threads may share it.

    FirewallMissing rises on the first use, not here: who needs no firewall needs no nft. close() or leave the `with` block.
    commits: how many transactions were made; each makes a new generation.
    """

    def __init__(self, *, library: str = _LIBRARY, command: str = "nft") -> None:
        self._library, self._command = library, command
        self._lock = threading.Lock()
        self._backend: _Library | _Command | None = None
        self.commits = 0

    def __enter__(self) -> Nft:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the context; a later call makes a new one."""
        with self._lock:
            if isinstance(self._backend, _Library):
                self._backend.close()
            self._backend = None

    def run(self, script: str) -> None:
        """Carry out `script` as one transaction: all of it, or nothing and FirewallError with nft's own words."""
        reply = self._use(lambda backend: backend.run(script))
        if not reply.is_done:
            raise _refusal("a change, nothing of which was made", reply.error)
        self.commits += 1

    def generation(self) -> int:
        """Return the number that each transaction of anybody raises by one. Raises KernelError."""
        with closing(RouteSocket(NETLINK_NETFILTER)) as asked:
            reply = asked.request(NetlinkRequest(GET_GENERATION, 0, bytes(_NFGENMSG_SIZE)))
        if reply.errno == errno.EPERM and is_privilege_missing():
            raise _unprivileged()
        if reply.errno:
            raise kernel_error(reply.errno, "ask for the generation of nftables", reply.detail)
        if not reply.answers:
            raise kernel_error(errno.EIO, "ask for the generation of nftables", "no answer")
        answer = reply.answers[0]
        found = attributes(answer.buffer, answer.start + _NFGENMSG_SIZE, answer.end)
        return int.from_bytes(raw(answer.buffer, found.get(_NFTA_GEN_ID)))

    def get_elements(self, table: str, keys: Sequence[tuple[str, str, bytes]]) -> list[ListedElement | None]:
        """Return what is there of elements given as family, set and key, which is no interval. Raises KernelError."""
        with closing(RouteSocket(NETLINK_NETFILTER)) as asked:
            replies = asked.batch([_get_element(table, *key) for key in keys])
        for reply in replies:
            if reply.errno not in (0, errno.ENOENT):
                raise kernel_error(reply.errno, "get elements of nftables", reply.detail)
        return [_listed(reply.answers[0]) if reply.answers else None for reply in replies]

    def list_table(self, family: str, name: str) -> list[dict[str, Any]] | None:
        """Return the table's objects as `nft -j` lists them, None when there is no such table."""
        try:
            return self._list(f"table {family} {name}", "table", family, name)
        except FirewallError:
            if name in self._table_names(family):
                raise
            return None

    def list_chain(self, family: str, table: str, name: str) -> list[dict[str, Any]]:
        """Return the rules of a chain as `nft -j` lists them, without the sets and chains that they use."""
        found = self._list(f"chain {name} of {family} {table}", "chain", family, table, name)
        return [item["rule"] for item in found if "rule" in item]

    def trouble(self) -> str:
        """Return why there is no nftables to speak to, "" when there is: the kernel is not asked."""
        try:
            self._use(lambda _: _Reply(True, b"", b""))
        except FirewallMissing as missing:
            return str(missing)
        return ""

    def version(self) -> str:
        """Return which nftables this is, "" when it does not say."""
        found = self._list("the tables", "tables")
        return next((str(item["metainfo"].get("version", "")) for item in found if "metainfo" in item), "")

    def list_chains(self) -> list[dict[str, Any]]:
        """Return every chain of every table as `nft -j` lists them, without rules."""
        return [item["chain"] for item in self._list("the chains", "chains") if "chain" in item]

    def _table_names(self, family: str) -> set[str]:
        found = self._list(f"the tables of {family}", "tables", family)
        return {item["table"]["name"] for item in found if "table" in item}

    def _list(self, meaning: str, *what: str) -> list[dict[str, Any]]:
        reply = self._use(lambda backend: backend.list(*what))
        if not reply.is_done:
            raise _refusal(f"to list {meaning}", reply.error)
        return _objects(reply.output)

    def _use(self, call: Callable[[_Library | _Command], _Reply]) -> _Reply:
        with self._lock:
            if self._backend is None:
                self._backend = _open(self._library, self._command)
            return call(self._backend)


class ListedElement(NamedTuple):
    """An element as the kernel has it: the value of a map in bytes, or a verdict; what was said of it."""

    value: bytes
    verdict: int | None
    comment: str


def _get_element(table: str, family: str, set_name: str, key: bytes) -> NetlinkRequest:
    element = nested(_NFTA_LIST_ELEM, nested(_NFTA_SET_ELEM_KEY, attribute(_NFTA_DATA_VALUE, key)))
    names = text_attribute(_NFTA_SET_ELEM_LIST_TABLE, table) + text_attribute(_NFTA_SET_ELEM_LIST_SET, set_name)
    head = bytes((_FAMILIES[family],)).ljust(_NFGENMSG_SIZE, b"\0")
    return NetlinkRequest(GET_ELEMENT, 0, head + names + nested(_NFTA_SET_ELEM_LIST_ELEMENTS, element))


def _listed(answer: Message) -> ListedElement:
    buffer = answer.buffer
    found = attributes(buffer, answer.start + _NFGENMSG_SIZE, answer.end)
    element = nested_attributes(
        buffer, nested_attributes(buffer, found.get(_NFTA_SET_ELEM_LIST_ELEMENTS)).get(_NFTA_LIST_ELEM)
    )
    data = nested_attributes(buffer, element.get(_NFTA_SET_ELEM_DATA))
    verdict = nested_attributes(buffer, data.get(_NFTA_DATA_VERDICT)).get(_NFTA_VERDICT_CODE)
    return ListedElement(
        value=raw(buffer, data.get(_NFTA_DATA_VALUE)),
        verdict=None if verdict is None else int.from_bytes(raw(buffer, verdict), "big", signed=True),
        comment=_comment(raw(buffer, element.get(_NFTA_SET_ELEM_USERDATA))),
    )


def _comment(userdata: bytes) -> str:
    """Find the comment among what nft keeps with an element: type, length and bytes of each (libnftnl/udata.h)."""
    while len(userdata) > 2:
        kind, length = userdata[:2]
        if kind == _UDATA_COMMENT:
            return userdata[2 : 2 + length].rstrip(b"\0").decode(errors="replace")
        userdata = userdata[2 + length :]
    return ""


def _open(library: str, command: str) -> _Library | _Command:
    try:
        return _Library(ctypes.CDLL(library))
    except OSError as cause:
        path = shutil.which(command) or shutil.which(command, path=_SBIN)
        if path is None:
            message = (
                f"nftables is missing: neither the library {library} nor the command {command} was found; "
                f"install nftables (on Debian: apt install nftables)"
            )
            raise FirewallMissing(message) from cause
        return _Command(path)


class _Library:
    """The library's functions with their C types (nftables/libnftables.h), and one context."""

    def __init__(self, library: ctypes.CDLL) -> None:
        context, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        self._new = _function(library, "nft_ctx_new", context, ctypes.c_uint32)
        self._buffer_output = _function(library, "nft_ctx_buffer_output", number, context)
        self._buffer_error = _function(library, "nft_ctx_buffer_error", number, context)
        self._set_flags = _function(library, "nft_ctx_output_set_flags", None, context, ctypes.c_uint)
        self._run = _function(library, "nft_run_cmd_from_buffer", number, context, text)
        self._output = _function(library, "nft_ctx_get_output_buffer", text, context)
        self._error = _function(library, "nft_ctx_get_error_buffer", text, context)
        self._free = _function(library, "nft_ctx_free", None, context)
        self._context = self._new_context()
        self._spent = 0

    def run(self, script: str) -> _Reply:
        return self._call(script.encode())

    def list(self, *what: str) -> _Reply:
        return self._call(" ".join(("list", *what)).encode())

    def close(self) -> None:
        self._free(self._context)

    def _call(self, script: bytes) -> _Reply:
        if self._spent > RECYCLE_BYTES:
            stale, self._context, self._spent = self._context, self._new_context(), 0
            self._free(stale)
        done = self._run(self._context, script) == 0
        reply = _Reply(done, self._output(self._context), self._error(self._context))
        self._spent += len(script) + len(reply.output)
        return reply

    def _new_context(self) -> int:
        """Make a context whose messages come as buffers and whose listings are JSON, in the thread's network namespace."""
        context: int | None = self._new(0)
        if not context or self._buffer_output(context) or self._buffer_error(context):
            raise FirewallError("libnftables gave no context: out of memory or file descriptors", is_retryable=True)
        self._set_flags(context, _JSON | _NUMERIC_PROTO)
        return context


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


class _Command:
    """The same by processes. A script goes in without -j, with which nft would take standard input for JSON and find no rest."""

    def __init__(self, path: str) -> None:
        self._path = path

    def run(self, script: str) -> _Reply:
        return self._call(script, "-f", "-")

    def list(self, *what: str) -> _Reply:
        return self._call("", "-j", "-p", "list", *what)

    def _call(self, script: str, *arguments: str) -> _Reply:
        try:
            done = subprocess.run(
                (self._path, *arguments),
                input=script.encode(),
                capture_output=True,
                env=program_environment({"LC_ALL": "C"}),
                timeout=_COMMAND_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as cause:
            raise FirewallError(f"nft did not finish within {_COMMAND_TIMEOUT_S} s", is_retryable=True) from cause
        except OSError as cause:
            raise FirewallError(
                f"nft could not be run: {cause.strerror}", is_retryable=cause.errno in PASSING
            ) from cause
        return _Reply(done.returncode == 0, done.stdout, done.stderr)


def _objects(output: bytes) -> list[dict[str, Any]]:
    try:
        objects: list[dict[str, Any]] = json.loads(output)["nftables"]
        for item in objects:
            _check_names(item)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as cause:
        raise FirewallError(f"nft gave a listing that is not its JSON: {output[:80]!r}") from cause
    return objects


def _check_names(item: dict[str, Any]) -> None:
    """Whoever reads a listing takes for granted that what it names has a name. Raises what the wrong kind of value leads to."""
    for kind, found in item.items():
        if not isinstance(found, dict) or not all(isinstance(found[name], str) for name in _NAMES.get(kind, ())):
            raise TypeError(kind)


def _unprivileged() -> PrivilegeError:
    return PrivilegeError(errno.EPERM, "talk to nftables", "Operation not permitted; it takes CAP_NET_ADMIN")


def _refusal(what: str, error: bytes) -> ReconcilerError:
    """Make one line of nft's message, which repeats the command and underlines what it means."""
    text = error.decode(errors="replace")
    if os.strerror(errno.EPERM) in text and is_privilege_missing():
        return _unprivileged()
    reasons = [line.partition("Error: ")[2] for line in text.splitlines() if "Error: " in line]
    said = "; ".join(dict.fromkeys(reasons[:_ERROR_LINES])) or text.strip()[:200] or "no reason given"
    return FirewallError(f"nftables refused {what}: {said}", is_retryable=any(os.strerror(n) in said for n in PASSING))
