"""Writes as steps, one per key, however they were asked for: checked here, carried out by each provider in its own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from msgspec import Struct

from reconciler.errors import KvConflict, KvError
from reconciler.kv.protocol import (
    TRANSACTION_BYTES_MAX,
    TRANSACTION_KEYS_MAX,
    VALUE_BYTES_MAX,
    Check,
    Delete,
    Put,
    Session,
    Write,
    checked_key,
)

S = TypeVar("S", bound=Session)


def checked_value(key: str, value: bytes) -> bytes:
    """Return `value` back, or raise KvError when it is over the limit that all stores share."""
    if len(value) > VALUE_BYTES_MAX:
        raise KvError(f"value of {key} has {len(value)} bytes, a key-value store takes {VALUE_BYTES_MAX}")
    return value


class KeyStep(Struct, frozen=True, kw_only=True):
    """What a transaction does about one key.

    version: to be checked, None if it does not matter. write: None to check only.
    """

    key: str
    version: int | None
    write: Write | None

    @classmethod
    def put(cls, key: str, value: bytes, session: Session | None) -> KeyStep:
        write = Put(key=key, value=checked_value(key, value), session=session)
        return cls(key=checked_key(key), version=None, write=write)

    @classmethod
    def delete(cls, key: str) -> KeyStep:
        return cls(key=checked_key(key), version=None, write=Delete(key=key))

    @classmethod
    def swap(cls, key: str, value: bytes | None, version: int) -> KeyStep:
        write = Delete(key=key) if value is None else Put(key=key, value=checked_value(key, value))
        return cls(key=checked_key(key), version=version, write=write)

    @property
    def session(self) -> Session | None:
        return self.write.session if isinstance(self.write, Put) else None

    def check(self, version: int) -> None:
        """Raise KvConflict if the key's present `version` is not the one to be checked."""
        if self.version not in (None, version):
            raise conflict(self.key)


def conflict(key: str) -> KvConflict:
    return KvConflict(f"{key} was changed by somebody else meanwhile")


def checked_steps(checks: Sequence[Check], writes: Sequence[Write]) -> tuple[KeyStep, ...]:
    """Bring a transaction into one step per key, sorted. Raises ValueError or KvError where it breaks the rules of `transact`."""
    versions = {check.key: check.version for check in checks}
    written = {write.key: write for write in writes}
    if len(versions) < len(checks) or len(written) < len(writes):
        raise ValueError("a key appears twice in one transaction")
    if len({id(write.session) for write in writes if isinstance(write, Put) and write.session}) > 1:
        raise ValueError("a transaction writes with two sessions")
    keys = sorted(versions.keys() | written.keys())
    if len(keys) > TRANSACTION_KEYS_MAX:
        raise KvError(f"a transaction over {len(keys)} keys, a key-value store takes {TRANSACTION_KEYS_MAX}")
    size = sum(len(write.value) for write in writes if isinstance(write, Put))
    if size > TRANSACTION_BYTES_MAX:
        raise KvError(f"a transaction of {size} bytes, a key-value store takes {TRANSACTION_BYTES_MAX}")
    return tuple(KeyStep(key=checked_key(key), version=versions.get(key), write=written.get(key)) for key in keys)


def own_session(session: Session | None, kind: type[S]) -> S | None:
    """Return the session that a step writes with. Raises ValueError when it is not of this kind."""
    if session is not None and not isinstance(session, kind):
        raise ValueError("the session is another store's")
    return session


class StepStore(ABC):
    """A store that writes in transactions only. See `reconciler.kv.protocol.KvStore`."""

    def put(self, key: str, value: bytes, session: Session | None = None) -> None:
        self.carry_out((KeyStep.put(key, value, session),))

    def delete(self, key: str) -> None:
        self.carry_out((KeyStep.delete(key),))

    def compare_and_swap(self, key: str, value: bytes | None, version: int) -> None:
        self.carry_out((KeyStep.swap(key, value, version),))

    def transact(self, checks: Sequence[Check], writes: Sequence[Write]) -> None:
        self.carry_out(checked_steps(checks, writes))

    @abstractmethod
    def carry_out(self, steps: Sequence[KeyStep]) -> None:
        """Do all of it or nothing. Raises KvConflict when a version is another one."""
