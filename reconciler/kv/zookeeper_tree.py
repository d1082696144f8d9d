"""How keys lie in ZooKeeper, and how a folder of them is read.

A key `a/b/c` is the node `/a/b/:c`: folders are nodes without data, keys are marked by a colon, so that a key may bear
the name of a folder. Nodes of others, that no key gives, are passed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote, unquote

from reconciler.kv.protocol import KvEntry, is_key
from reconciler.kv.zookeeper_connection import Connection, Stat


def folder_path(root: str, prefix: str) -> str:
    """Return the node of the folder `prefix`, "" or ending with `/`. root: the node of the store."""
    return "/".join([root.rstrip("/"), *map(_quoted, prefix.split("/")[:-1])]) or "/"


def leaf_path(root: str, key: str) -> str:
    """Return the node of a key."""
    folder, _, name = key.rpartition("/")
    return f"{folder_path(root, f'{folder}/' if folder else '').rstrip('/')}/:{_quoted(name)}"


class Tree:
    """The keys of a folder and those below, read node by node. went_off: told of changes after the reading, by path."""

    def __init__(
        self, connection: Connection, timeout_s: float, went_off: Callable[[str | None], None] | None = None
    ) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._watch = {} if went_off is None else {"watch": lambda event: went_off(event.path)}
        self._keys: dict[str, str] = {}
        self._entries: dict[str, KvEntry] = {}

    def read(self, folder: str, prefix: str) -> tuple[KvEntry, ...]:
        """Read all of it."""
        self._keys = {folder: prefix}
        self._entries = {}
        self._read_folders([folder])
        return self.entries()

    def entries(self) -> tuple[KvEntry, ...]:
        return tuple(sorted(self._entries.values(), key=lambda entry: entry.key))

    def read_again(self, paths: set[str]) -> None:
        """Read these nodes again, folders first: a key made anew shows in its folder, watched again by then."""
        known = paths & self._keys.keys()
        self._read_folders(sorted(path for path in known if not _is_leaf(path)))
        self._read_leaves(sorted(path for path in known if _is_leaf(path) and path in self._keys))

    def _read_folders(self, folders: Sequence[str]) -> None:
        while folders:
            leaves: list[str] = []
            below: list[str] = []
            for folder, children in self._answers("get_children", folders):
                for path in self._new_children(folder, children):
                    (leaves if _is_leaf(path) else below).append(path)
            self._read_leaves(leaves)
            folders = below

    def _new_children(self, folder: str, children: Sequence[str] | None) -> Iterator[str]:
        """Note which nodes a folder has that it had not; whose watches are set, needs no reading."""
        if children is None:
            self._keys.pop(folder, None)
            return
        prefix = self._keys[folder]
        for child in children:
            path = f"{folder.rstrip('/')}/{child}"
            name = unquote(child.removeprefix(":"), errors="surrogateescape")
            is_ours = "/" not in name and child.removeprefix(":") == _quoted(name) and is_key(prefix + name)
            if is_ours and path not in self._keys:
                self._keys[path] = prefix + name + ("" if _is_leaf(path) else "/")
                yield path

    def _read_leaves(self, leaves: Sequence[str]) -> None:
        for path, found in self._answers("get", leaves):
            if found is None:
                self._entries.pop(path, None)
                self._keys.pop(path, None)
            else:
                self._entries[path] = entry_of(self._keys[path], found)

    def _answers(self, method: str, paths: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Ask for all, then wait for each; the deadline counts from one answer to the next."""
        calls = [self._connection.begin(method, self._deadline(), path, **self._watch) for path in paths]
        for path, call in zip(paths, calls, strict=True):
            yield path, self._connection.found(call, self._deadline())

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout_s


def entry_of(key: str, found: tuple[bytes, Stat]) -> KvEntry:
    value, stat = found
    return KvEntry(key=key, value=value, version=stat.mzxid)


def _is_leaf(path: str) -> bool:
    return path.rpartition("/")[2].startswith(":")


def _quoted(segment: str) -> str:
    return quote(segment, safe="", errors="surrogateescape")
