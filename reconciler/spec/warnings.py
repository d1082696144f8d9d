"""What is read without a fault and has no effect, or another one than whoever knows Compose expects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from reconciler.model.drivers import traits_of
from reconciler.model.plugins import OWN_IPAM
from reconciler.model.wanted import SpecWarning
from reconciler.spec.attachment import AttachmentSpec, NetworkTable
from reconciler.spec.declarations import SECTIONS, Declared
from reconciler.spec.document import Document, Path, Tree, shown
from reconciler.spec.macvlan_options import SUBLINK_OPTIONS
from reconciler.spec.network import Fault, NetworkSpec

_VARIABLE: Final = "${"
_JINJA_BRACES: Final = re.compile(r"(\{[{%]|[%}]\})")
_LEVELS_MAX: Final = 12
"""Of the models of spec files, and some: what is deeper is a fault already."""


def document_warnings(document: Document, text: str) -> Iterator[SpecWarning]:
    """Look at one file. text: what it holds."""
    data = document.data
    if not isinstance(data, dict):
        return
    if data.get("services"):
        message = "'services' is not read: say below 'attachments' who joins which networks"
        yield _warning(document, ("services",), message, at_key=True)
    for section in SECTIONS if _VARIABLE in text else ():
        for path in _with_variables(data.get(section), (section,)):
            yield _warning(
                document, path, "the text is taken as it is: variables such as ${VAR} are not filled in here"
            )


def _with_variables(node: Tree, path: Path) -> Iterator[Path]:
    if isinstance(node, str):
        if _VARIABLE in node:
            yield path
    elif isinstance(node, dict | list) and len(path) < _LEVELS_MAX:
        for step, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _with_variables(value, (*path, step))


def variables_warnings(document: Document, templates: Iterable[str]) -> Iterator[SpecWarning]:
    """Look at a file of variables. templates: the texts that may use them."""
    data = document.data if isinstance(document.data, dict) else {}
    for section in SECTIONS:
        if isinstance(data.get(section), dict) and not any(_uses(text, section) for text in templates):
            message = f"'{section}' is only a variable here, for templates: declare {section} in another file"
            yield _warning(document, (section,), message, at_key=True)


def _uses(template: str, name: str) -> bool:
    """Return whether the name stands in an expression or a statement. In one walk, however many are never closed."""
    is_inside = False
    for part in _JINJA_BRACES.split(template):
        if part in ("{{", "{%", "}}", "%}"):
            is_inside = part[0] == "{"
        elif is_inside and re.search(rf"\b{name}\b", part):
            return True
    return False


def network_warnings(entry: Declared[NetworkSpec]) -> Iterator[SpecWarning]:
    """Look at one network: a plugin is given all its options as they are, own drivers know theirs.

    Options with dots have their owner in front, and may be another tool's.
    """
    spec = entry.spec
    if spec is None or spec.is_external:
        return
    for path, message in _without_effect(spec):
        yield _warning(entry.document, (entry.section, entry.key, *path), message)


def attachment_warnings(entry: Declared[AttachmentSpec], networks: NetworkTable) -> Iterator[SpecWarning]:
    """Look at the options of one attachment's endpoints."""
    for key, endpoint in entry.spec.networks.items() if entry.spec is not None else ():
        network = networks.get(key) if endpoint.driver_opts else None
        if network is None or network.traits.is_plugin or network.is_external:
            continue
        for option in endpoint.driver_opts:
            if "." not in option:
                path: Path = (entry.section, entry.key, "networks", key, "driver_opts", option)
                yield _warning(entry.document, path, f"{shown(option)} has no effect: endpoints have no such option")


def _without_effect(spec: NetworkSpec) -> Iterator[Fault]:
    if not traits_of(spec.driver).is_plugin:
        for option in spec.driver_opts:
            if "." not in option and option not in SUBLINK_OPTIONS.get(spec.driver, ()):
                yield ("driver_opts", option), f"{shown(option)} has no effect: driver {spec.driver} has no such option"
    used = dict(spec.used_subnets())
    for index, entry in enumerate(spec.ipam.config):
        if index not in used:
            switch = "enable_ipv6: true" if entry.subnet.version == 6 else "enable_ipv4: true"
            yield ("ipam", "config", index, "subnet"), f"subnet {entry.subnet} has no effect: it takes '{switch}'"
    if spec.ipam.driver in OWN_IPAM:
        for option in spec.ipam.options or ():
            message = f"{shown(option)} has no effect: ipam driver {spec.ipam.driver} has no options"
            yield ("ipam", "options", option), message


def _warning(document: Document, path: Path, message: str, *, at_key: bool = False) -> SpecWarning:
    return SpecWarning(document.source(path, at_key=at_key), message)
