"""What every key-value store gives, and what its failures mean.

The store holds promises: small JSON records under path-like keys. One protocol, four providers; the contract suite in
tests/contracts runs all of it against each of them, so that a caller need not know which one it has.

Deadlines. Every call ends within the store's `timeout_s` (default `CALL_TIMEOUT_S`), `Watch.poll` within that and the
time it was given. Nothing here waits for ever, not even for a server that accepts connections and then says nothing.
Only looking up a server's name takes as long as the resolver takes.

Failures, all from `reconciler.errors`:
- `KvConflict`: a check did not hold. Nothing was written. Read again, plan anew.
- `KvUnavailable`: no server gave an answer in time. A read is then simply missing. A write **may or may not** have
  taken place: whoever cares reads before trying again, or writes by compare-and-swap only, where the worst that can
  come of it is a `KvConflict` with oneself. The store stays usable: the next call tries again, at another server if
  there are several.
- `KvError` alone: asking again does not help. Access refused, a value over the limit, a store written by a later
  version.
- `ValueError`: a key or prefix that breaks the rules below. Callers build keys from checked names, so this is a bug.

What others wrote below the same prefix under names that are no keys is passed over.

Threads. A store's methods may be called from any thread at any time. A `Watch` or a `Session` belongs to one thread
at a time; only their `close` may come from another one, and ends a `poll` that is under way. Nothing survives a fork.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from msgspec import Struct

CALL_TIMEOUT_S: Final = 5.0
"""How long a call may take unless the store was opened with another figure."""

KEY_BYTES_MAX: Final = 400
"""Of a key in UTF-8. Consul takes 512 with the prefix of the store."""

VALUE_BYTES_MAX: Final = 512 * 1024
"""Of one value: Consul's limit (kv_max_value_size); ZooKeeper has 1 MiB per packet, etcd 1.5 MiB per request."""

TRANSACTION_KEYS_MAX: Final = 32
"""Of different keys in one transaction: Consul takes 64 operations, and a key may need two of them; etcd takes 128."""

TRANSACTION_BYTES_MAX: Final = 256 * 1024
"""Of all values in one transaction: Consul's 512 KiB are for the whole request, where values stand as base64 in JSON."""

MUST_NOT_EXIST: Final = 0
"""The version of a key that is not there."""


class KvEntry(Struct, frozen=True, kw_only=True):
    """One key as it was when read.

    version: greater after each change of the key, also over deletion and making anew, never the same twice; says
    nothing between keys. Writing the value that is already there may leave it as it is.
    """

    key: str
    value: bytes
    version: int


class Session(Protocol):
    """A life sign. Keys written with it are deleted by the store when it ends: closed, or not renewed for `ttl_s`.

    They never vanish earlier than `ttl_s` after the last renewal, but it may take up to twice that and a few seconds
    (Consul counts generously). Renew about three times within `ttl_s`. ZooKeeper renews by itself while the process
    lives, and silently keeps to 2 to 20 of its ticks.
    """

    @property
    def ttl_s(self) -> float:
        """Return what the store agreed to, as far as it tells: etcd may choose more than was asked for."""

    def renew(self) -> None:
        """Say that we are alive.

        Raises KvConflict when the session has ended; its keys are then gone: open a new one. So does a write with it.
        """

    def close(self) -> None:
        """End it; its keys vanish at once. Never raises: where no server is reached, the TTL ends it."""


class Check(Struct, frozen=True, kw_only=True):
    """Hold a transaction to this: `key` has exactly this version; `MUST_NOT_EXIST` for none."""

    key: str
    version: int


class Put(Struct, frozen=True, kw_only=True):
    """Write `key`. With a session, the key is bound to it from then on, whatever it was before.

    Write a bound key with a session only: what becomes of the binding without one differs between stores.
    """

    key: str
    value: bytes
    session: Session | None = None


class Delete(Struct, frozen=True, kw_only=True):
    """Delete `key`. Deleting what is not there is success."""

    key: str


Write = Put | Delete


class Batch(Struct, frozen=True, kw_only=True):
    """What a watch has to tell.

    is_resync: `entries` is all there is below the prefix now, sorted; forget what you knew. Otherwise `entries` are
    the keys written since the batch before, as they are now, sorted, and `deleted` those that have gone. Several
    changes of one key may have become one, and a key that came and went in between may not show at all: a watch tells
    states, not events. None is lost.
    """

    is_resync: bool
    entries: tuple[KvEntry, ...]
    deleted: tuple[str, ...] = ()


class Watch(Protocol):
    """Follows one folder. The first batch is a resync, and so is any after the store may have lost track of us."""

    def poll(self, timeout_s: float) -> Batch | None:
        """Return the next batch; None when nothing changed within `timeout_s`, or the watch was closed.

        Raises KvUnavailable when the store cannot be reached; poll again to go on, nothing is lost by it. Polling in
        a loop is fine even then: after a failure, the next poll first waits a little, longer each time, at most
        `timeout_s`. A server that fell silent is noticed within 30 s or `timeout_s`, whichever is longer, or when the store's
        `confirm` finds it.
        """

    def close(self) -> None:
        """Stop watching. From any thread, as often as you like; a poll under way ends soon."""


class KvStore(Protocol):
    """A key-value store: sorted keys, versions, compare-and-swap, transactions, watches, sessions.

    Keys are paths: `/` between segments, none at either end, no empty, `.` or `..` segment, printable characters,
    `KEY_BYTES_MAX`. A prefix is a folder: "" for everything, else it ends with `/`, so that `a/b/` never means
    `a/bc`. Writes are linearizable in all providers; `get` may lag behind a write made through another server, `list` does not.
    """

    def get(self, key: str) -> KvEntry | None:
        """Return the entry, or None."""

    def list(self, prefix: str) -> tuple[KvEntry, ...]:
        """Return all entries below the folder, sorted by key.

        One moment's picture, but for ZooKeeper: there each key as it was when asked for, and the deadline counts from
        one answer to the next.
        """

    def put(self, key: str, value: bytes, session: Session | None = None) -> None:
        """Write without looking. Raises KvError for a value over `VALUE_BYTES_MAX`; with a session, half of that."""

    def delete(self, key: str) -> None:
        """Delete without looking; what is not there counts as deleted."""

    def compare_and_swap(self, key: str, value: bytes | None, version: int) -> None:
        """Write `value`, or delete with None, if the key is at `version` (`MUST_NOT_EXIST`: if there is none).

        Raises KvConflict if it is not.
        """

    def transact(self, checks: Sequence[Check], writes: Sequence[Write]) -> None:
        """Do all `writes` at once if all `checks` hold.

        Each key at most once among the checks and once among the writes, at most one session in all. Raises
        KvConflict if a check does not hold, KvError for more than `TRANSACTION_KEYS_MAX` keys or
        `TRANSACTION_BYTES_MAX` bytes; nothing is written then.
        """

    def watch(self, prefix: str) -> Watch:
        """Follow a folder. Opens nothing until the first poll, so it raises nothing."""

    def confirm(self, timeout_s: float) -> None:
        """Ask for what only the store as a whole can answer, not one server of it that is cut off from the others.

        Servers that cannot within their share of `timeout_s` are left for the next, and watches that wait at one of them begin anew
        elsewhere: a server that lost the others hangs up on nobody. Raises KvUnavailable where no server can.
        """

    def session(self, ttl_s: float) -> Session:
        """Open a session. Raises KvError for a TTL that the store does not offer (Consul: 10 to 86,400 s)."""

    def close(self) -> None:
        """Let go of all connections. Sessions and watches are closed by whoever opened them, before."""


def is_key(text: str) -> bool:
    """Return whether a store may hold this key. What others put there that is none (a folder marker) is not ours."""
    return (
        text.isprintable()
        and "\ufffd" not in text
        and not any(segment in ("", ".", "..") for segment in text.split("/"))
        and len(text.encode()) <= KEY_BYTES_MAX
    )


def keys_sorted(entries: Iterable[KvEntry]) -> tuple[KvEntry, ...]:
    """Return the entries whose names are keys, sorted by them."""
    return tuple(sorted((entry for entry in entries if is_key(entry.key)), key=lambda entry: entry.key))


def checked_key(key: str) -> str:
    """Return `key` back, or raise ValueError."""
    if not is_key(key):
        raise ValueError(
            f"{key[:80]!r} is not a key: expected segments between single slashes, none empty, '.' or '..', "
            f"of printable characters, {KEY_BYTES_MAX} bytes at most"
        )
    return key


def checked_prefix(prefix: str) -> str:
    """Return `prefix` back, or raise ValueError saying what is wrong with it."""
    if prefix:
        if not prefix.endswith("/"):
            raise ValueError(f"{prefix!r} is not a prefix: expected a folder, '{prefix}/'")
        checked_key(prefix[:-1])
    return prefix
