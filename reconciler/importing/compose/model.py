"""Compose files -> one tree of what they declare: variables filled in, `include` and `extends` resolved, one over the other. Pure.

Only what importing looks at is filled in and merged: an image without a tag because a variable is not set is nobody's concern here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import SpecError
from reconciler.importing.compose.dotenv import variables
from reconciler.importing.compose.interpolation import BadVariable, filled
from reconciler.importing.compose.merge import as_items, merged, settled
from reconciler.importing.compose.sections import entries_of, looked_at
from reconciler.importing.compose.tree import Node, Notes, Place, items, parsed, text
from reconciler.spec.document import shown

READ_MAX: Final = 200
"""Files that one project may be of: an include that is included twice is read twice."""
_DEEP_MAX: Final = 32

EMPTY: Final = Node({}, Place(""), Place(""))
_REMOTE: Final = ("git://", "http://", "https://", "oci://", "ssh://", "git@", "github.com/")

ReadText = Callable[[str], str | None]
"""Path -> what the file holds, None where there is none. Raises SpecError for one that cannot be read."""


class Setting(Struct, frozen=True, kw_only=True):
    """folder: what relative paths start from. environment: what variables are filled in from. within: files that lead here."""

    folder: str
    environment: Mapping[str, str]
    within: tuple[str, ...] = ()


class Reader:
    """Reads the files of one project. What is wrong goes to its notes."""

    def __init__(self, read: ReadText, notes: Notes) -> None:
        self._read, self._notes = read, notes
        self._count = 0
        self._trees: dict[str, Node] = {}
        self._bases: dict[tuple[str, str, int], tuple[Node, Setting]] = {}

    def project(self, files: Sequence[str], setting: Setting) -> Node:
        """Return the files as one, each over those before it."""
        found = EMPTY
        for file in files:
            try:
                found = merged(found, self._file(file, setting, found))
            except SpecError as fault:
                self._notes.faults.append(fault)
        return found

    def named(self, files: Sequence[str], environment: Mapping[str, str]) -> str:
        """Return the name that the files give the project, "" for none: the last one counts."""
        found = ""
        for file in files:
            try:
                name = self._tree(file, None).get("name")
                found = filled(text(name, "name"), environment, lambda name: None) if name is not None else found
            except (SpecError, BadVariable):
                continue  # told when the file is read as a whole
        return found

    def environment(self, file: str, outer: Mapping[str, str], place: Place | None) -> dict[str, str]:
        """Return what an environment file sets. place: where it is asked for, None where it need not be there."""
        content = self._read(file)
        if content is None:
            if place is not None:
                self._notes.fault(place, f"there is no file {shown(file)}")
            return {}
        try:
            return variables(file, content, outer)
        except SpecError as fault:
            self._notes.faults.append(fault)
            return {}

    def _over(self, base: Node, over: Node) -> Node:
        try:
            return merged(base, over)
        except SpecError as fault:
            self._notes.faults.append(fault)
            return base

    def _file(self, file: str, setting: Setting, before: Node) -> Node:
        """Return what one file declares, with what it includes, and with what its services extend filled in."""
        self._count += 1
        if self._count > READ_MAX:
            raise Place(file).fault(f"the project has more than {READ_MAX} files, or includes some again and again")
        tree = looked_at(self._tree(file, None), setting.environment, self._notes)
        tree = self._with_included(tree, replace(setting, within=(*setting.within, file)))
        services = tree.get("services")
        if services is None or not isinstance(services.value, Mapping):
            return tree
        known = {**(before.get("services") or EMPTY).entries, **services.value}
        extended = {
            name: self._extended(name, service, known, _From(file, setting, ((file, name),)))
            for name, service in services.value.items()
        }
        return replace(tree, value={**tree.entries, "services": replace(services, value=extended)})

    def _tree(self, file: str, place: Place | None) -> Node:
        """Return a file as it stands. place: where it is asked for."""
        if file in self._trees:
            return self._trees[file]
        content = self._read(file)
        if content is None:
            raise (place or Place(file)).fault(f"there is no file {shown(file)}")
        tree = parsed(file, content, self._notes.faults)
        if tree is not None and tree.value is not None and not isinstance(tree.value, Mapping):
            self._notes.fault(tree.place, "a Compose file is a mapping, with `services` and `networks`")
            tree = None
        self._trees[file] = EMPTY if tree is None or tree.value is None else tree
        return self._trees[file]

    # ---- include

    def _with_included(self, tree: Node, setting: Setting) -> Node:
        """Put what is included below what the file says itself."""
        found = tree
        try:
            included = items(tree.get("include"), "include")
        except SpecError as fault:
            self._notes.faults.append(fault)
            included = ()
        for entry in included:
            try:
                brought = self._included(entry, setting)
            except SpecError as fault:
                self._notes.faults.append(fault)
                continue
            kept = {name: brought.entries[name] for name in ("services", "networks") if name in brought.entries}
            found = self._over(replace(brought, value=kept), found)
        return found

    def _included(self, entry: Node, setting: Setting) -> Node:
        paths = [
            text(path, "include.path")
            for path in as_items(entry if isinstance(entry.value, str) else entry.get("path"), "include.path")
        ]
        if not paths:
            raise entry.place.fault("include: expected a path, or a mapping with `path`")
        for path in paths:
            if path.startswith(_REMOTE):
                why = "nothing is fetched: get the files, and include them by their paths"
                self._notes.left_out(entry.place, f"include {path}", why)
                return EMPTY
        files = [_joined(setting.folder, path) for path in paths]
        if len(setting.within) > _DEEP_MAX:
            raise entry.place.fault(f"files include others more than {_DEEP_MAX} deep")
        if files[0] in setting.within:
            chain = " includes ".join((*setting.within, files[0]))
            raise entry.place.fault(f"this goes round in a circle: {chain}")
        folder_node = entry.get("project_directory")
        folder = (
            _joined(setting.folder, text(folder_node, "include.project_directory"))
            if folder_node is not None
            else posixpath.dirname(files[0])
        )
        for file in files:
            self._tree(file, entry.place)
        inner = Setting(
            folder=folder, environment=self._inner_environment(entry, folder, setting), within=setting.within
        )
        return self.project(files, inner)

    def _inner_environment(self, entry: Node, folder: str, setting: Setting) -> Mapping[str, str]:
        """Return what an included project is filled in from: its own file gives what the outer one has not set."""
        named = as_items(entry.get("env_file"), "include.env_file")
        found: dict[str, str] = {}
        for node in named:
            file = text(node, "include.env_file")
            if file != "/dev/null":
                found |= self.environment(_joined(setting.folder, file), {**found, **setting.environment}, node.place)
        if not named:
            found = self.environment(_joined(folder, ".env"), setting.environment, None)
        return {**found, **setting.environment}

    # ---- extends

    def _extended(self, name: str, service: Node, beside: Mapping[str, Node], origin: _From) -> Node:
        """Return a service with what it extends below it. beside: the services that it may name without a file."""
        extends = service.get("extends")
        if extends is None:
            return service
        try:
            base = self._base(name, extends, beside, origin)
            without = replace(service, value={key: value for key, value in service.entries.items() if key != "extends"})
            if base is None:
                return without
            return replace(merged(settled(base), without, ("services", name)), place=service.place, key=service.key)
        except SpecError as fault:
            self._notes.faults.append(fault)
            return service

    def _base(self, name: str, extends: Node, beside: Mapping[str, Node], origin: _From) -> Node | None:
        """Return the service that is extended, with all that it extends itself. Raises SpecError where there is none."""
        named = extends if isinstance(extends.value, str) else extends.get("service")
        if named is None:
            raise extends.place.fault("extends: expected the name of a service, or a mapping with `service`")
        wanted, file, setting = text(named, "extends.service"), origin.file, origin.setting
        other = None if isinstance(extends.value, str) else extends.get("file")
        if other is not None:
            path = text(other, "extends.file")
            if path.startswith(_REMOTE):
                self._notes.left_out(
                    other.place, f"what {name} extends", "nothing is fetched: get the file, and name it by its path"
                )
                return None
            file = _joined(setting.folder, path)
            tree, setting = self._base_file(file, other.place, setting)
            beside = entries_of(tree.get("services") or EMPTY, "services", self._notes)
        if len(origin.chain) > _DEEP_MAX:
            raise extends.place.fault(f"services extend others more than {_DEEP_MAX} deep")
        if (file, wanted) in origin.chain:
            chain = " extends ".join(each for _, each in (*origin.chain, (file, wanted)))
            raise extends.place.fault(f"this goes round in a circle: {chain}")
        if wanted not in beside:
            raise named.place.fault(f"there is no service {shown(wanted)} to extend in {file}")
        return self._extended(wanted, beside[wanted], beside, _From(file, setting, (*origin.chain, (file, wanted))))

    def _base_file(self, file: str, place: Place, setting: Setting) -> tuple[Node, Setting]:
        """Return a file that services are extended from, and how it is read: once, however many extend something of it."""
        key = (file, setting.folder, id(setting.environment))
        if key not in self._bases:
            inner = replace(setting, folder=posixpath.dirname(file))
            self._bases[key] = (looked_at(self._tree(file, place), inner.environment, self._notes), inner)
        return self._bases[key]


class _From(Struct, frozen=True):
    """Where a service stands, and by which it came to be looked at: file and name each."""

    file: str
    setting: Setting
    chain: tuple[tuple[str, str], ...]


def _joined(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path))
