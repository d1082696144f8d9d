"""`reconcile doctor --bundle`: what a bug report needs, in one archive, without secrets."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from reconciler import __version__
from reconciler.cli.review_json import review_json
from reconciler.doctor.finding import Finding
from reconciler.doctor.place import Place
from reconciler.doctor.registry import document
from reconciler.doctor.secrets import REMOVED, Redaction, in_environment, of_plugins, secrets_in
from reconciler.errors import ReconcilerError
from reconciler.firewall.ruleset import TABLE
from reconciler.kernel.links import Link
from reconciler.kv.address import store_config
from reconciler.model.wanted import WantedState
from reconciler.pipeline import plan_pass
from reconciler.records.document import Misfit, json_value
from reconciler.records.file import beginning, opened
from reconciler.review.make_review import review_pass
from reconciler.spec.document import parse_document
from reconciler.spec.files import SpecText
from reconciler.status.json_text import Json, json_text

_ABOUT: Final = """What `reconcile doctor --bundle` of network-reconciler {version} found.

host/       versions of programs and kernel, findings, global options, and what a pass would do (as `--dry-run --output json`)
specs/      the specs as read
status/     what the last pass wrote
kernel/     links, addresses and routes of the host; our nft tables; of those of others base chains and how many there are
logs/       of the name server
events.ndjson   the end of the journal
missing.txt     what could not be had, and why

Secrets are removed as far as they are known or look like some, and stand here as {removed}. Look through it before you hand it on.
"""
_SPECS_MAX: Final = 8 << 20
_STATUS_MAX: Final = 16 << 20
_STATUS_FILE_MAX: Final = 1 << 20
_JOURNAL_MAX: Final = 1 << 20
_LOG_MAX: Final = 1 << 18
_LIBRARIES: Final = ("click", "h11", "jinja2", "msgspec", "pydantic", "pyroute2", "rich", "ruamel.yaml", "watchfiles")
_FAMILIES: Final = ("inet", "bridge")


def bundle(place: Place, found: Sequence[Finding], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the texts by name. What cannot be had is named, and keeps nothing else from being there."""
    members: dict[str, str] = {}
    missing: list[str] = []
    for part in (_versions, _settings, _specs, _plan, _status, _journal, _kernel, _firewall, _logs):
        try:
            members.update(part(place))
        except (ReconcilerError, OSError) as failure:
            missing.append(f"{part.__name__.strip('_')}: {failure}\n")
    members["host/findings.json"] = json_text(document(found))
    if missing:
        members["missing.txt"] = "".join(missing)
    redaction = Redaction(secrets_of(place, members, environment))
    cleaned = {redaction.text(name): redaction.text(text) for name, text in members.items()}
    return {"README": _ABOUT.format(version=__version__, removed=REMOVED), **cleaned}


def secrets_of(place: Place, members: Mapping[str, str], environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets that are known: of settings and the environment, of the specs, of what passes wrote."""
    yield from in_environment(environment)
    settings = place.settings
    yield from secrets_in(dict(settings.cluster_store_options))
    if settings.cluster_store:
        secret = store_config(settings.cluster_store, settings.cluster_store_options, environment).secret
        yield from (secret, secret.partition(":")[2])  # a token, or user and password
    for read in place.specs.texts:
        yield from secrets_in(_data(read))
    for found in place.specs.documents:
        yield from secrets_in(found.data)
    yield from of_plugins(_plugin_options(place.specs.wanted))
    for name, text in members.items():
        for part in text.splitlines() if name.endswith(".ndjson") else [text] if name.endswith(".json") else []:
            try:
                yield from secrets_in(json_value(part, _STATUS_MAX))
            except Misfit:
                continue


def _data(text: SpecText) -> object:
    if text.is_template:
        return None
    found, _ = parse_document(text.name, text.text)
    return None if found is None else found.data


def _plugin_options(wanted: WantedState) -> Iterator[tuple[str, str]]:
    plugins = {network.name for network in wanted.networks if network.traits.is_plugin}
    for network in wanted.networks:
        if network.name in plugins:
            yield from network.options
        if network.ipam_driver != "default":
            yield from network.ipam_options or ()
    for attachment in wanted.attachments:
        for endpoint in attachment.endpoints:
            if endpoint.network in plugins:
                yield from endpoint.options


def _versions(place: Place) -> dict[str, str]:
    kernel = os.uname()
    found: dict[str, Json] = {
        "reconciler": __version__,
        "python": platform.python_version(),
        "kernel": {"release": kernel.release, "version": kernel.version, "machine": kernel.machine},
        "system": dict(_system(place)),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }
    return {"host/versions.json": json_text(found)}


def _system(place: Place) -> Iterator[tuple[str, str]]:
    for line in (place.file("/etc/os-release") or "").splitlines():
        name, separator, value = line.partition("=")
        if separator and name in ("NAME", "VERSION", "ID", "VERSION_ID"):
            yield name.lower(), value.strip('"')


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _settings(place: Place) -> dict[str, str]:
    settings = place.settings
    found: dict[str, Json] = {name: _plain(getattr(settings, name)) for name in settings.__struct_fields__}
    return {"host/settings.json": json_text(found)}


def _plain(value: object) -> Json:
    match value:
        case bool() | int() | float() | str() | None:
            return value
        case dict():
            return {str(key): _plain(each) for key, each in value.items()}
    return str(value)


def _specs(place: Place) -> dict[str, str]:
    found, size = {}, 0
    for text in place.specs.texts:
        size += len(text.text)
        if size > _SPECS_MAX:
            break
        path = os.path.relpath(text.name, place.settings.specs_dir)
        found[f"specs/{path if not path.startswith('..') else os.path.basename(path)}"] = text.text
    faults = "".join(f"{fault}\n" for fault in place.specs.faults)
    return {**found, **({"specs.faults.txt": faults} if faults else {})}


def _plan(place: Place) -> dict[str, str]:
    planned = plan_pass(place.settings, place.backends)
    return {"host/plan.json": review_json(review_pass(planned, "live"))}


def _status(place: Place) -> dict[str, str]:
    """Read the files, the summary first, as many as there is room for."""
    folder = place.settings.status_dir
    found, size = {}, 0
    for path in (folder / "summary.json", *sorted(folder.glob("*/*.json"))):
        if not path.exists():
            continue
        text = beginning(path, _STATUS_FILE_MAX)
        size += len(text)
        if size > _STATUS_MAX:
            break
        found[f"status/{path.relative_to(folder)}"] = text
    return found


def _journal(place: Place) -> dict[str, str]:
    path = place.settings.state_dir / "events.ndjson"
    return {"events.ndjson": _end(path, _JOURNAL_MAX)} if path.exists() else {}


def _logs(place: Place) -> dict[str, str]:
    path = place.settings.run_dir / "dns" / "server.log"
    return {"logs/server.log": _end(path, _LOG_MAX)} if path.exists() else {}


def _end(path: Path, size: int) -> str:
    """Return the last whole lines of a file, so many bytes of them at most."""
    with opened(path) as file:
        start = max(0, os.fstat(file.fileno()).st_size - size)
        file.seek(start)
        text = file.read(size).decode(errors="replace")
    return text.partition("\n")[2] if start else text


def _kernel(place: Place) -> dict[str, str]:
    view = place.view
    names = {link.ifindex: link.ifname for link in view.links}
    links = [_link(link, names) for link in view.links]
    addresses: list[Json] = [
        {"dev": names.get(entry.ifindex, ""), "address": str(entry.interface()), "ours": entry.is_ours}
        for entry in view.addresses
    ]
    routes: list[Json] = [
        {
            "to": str(route.network()),
            "via": str(ip_address(route.gateway)) if route.gateway else None,
            "dev": names.get(route.ifindex, ""),
            "metric": route.metric,
            "protocol": route.protocol,
        }
        for route in view.routes
    ]
    return {
        "kernel/links.json": json_text(links),
        "kernel/addresses.json": json_text(addresses),
        "kernel/routes.json": json_text(routes),
    }


def _link(link: Link, names: Mapping[int, str]) -> Json:
    return {
        "name": link.ifname,
        "kind": link.kind,
        "up": link.is_up,
        "carrier": link.has_carrier,
        "mtu": link.mtu,
        "mac": link.mac,
        "master": names.get(link.master, ""),
        "alias": link.alias,
        "ours": link.is_ours,
    }


def _firewall(place: Place) -> dict[str, str]:
    """List our tables; of those of others what is at hooks, and how many chains."""
    nft = place.backends.nft
    chains = nft.list_chains()
    counts = Counter(f"{chain['family']} {chain['table']}" for chain in chains)
    bases: list[Json] = [
        {name: chain.get(name) for name in ("family", "table", "name", "type", "hook", "prio", "policy")}
        for chain in chains
        if "hook" in chain
    ]
    others: dict[str, Json] = {"chains": dict(counts), "base chains": bases}
    ours = {f"kernel/nft-{family}.json": nft.list_table(family, TABLE) for family in _FAMILIES}
    return {
        "kernel/nft-chains.json": json_text(others),
        **{name: json_text(listing) for name, listing in ours.items() if listing is not None},
    }
