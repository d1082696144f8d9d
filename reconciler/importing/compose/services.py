"""`services:` of a Compose project -> attachments of specs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from reconciler.errors import SpecError
from reconciler.importing.compose.links import put_links
from reconciler.importing.compose.memberships import put_networks
from reconciler.importing.compose.merge import as_items, distinct, host_items
from reconciler.importing.compose.parts import Parts, Project
from reconciler.importing.compose.ports import port_texts
from reconciler.importing.compose.replicas import Replica
from reconciler.importing.compose.sections import SERVICE_KEYS
from reconciler.importing.compose.tree import Node, items, mapping, pairs, text
from reconciler.importing.names import renamed
from reconciler.importing.values import ImportedAttachment
from reconciler.spec.attachment import AttachmentSpec

_CONTAINER_KEYS: Final = frozenset(
    (
        *(
            "annotations",
            "attach",
            "blkio_config",
            "build",
            "cgroup",
            "cgroup_parent",
            "command",
            "configs",
            "cpu_count",
        ),
        *("cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpus", "cpuset"),
        *("credential_spec", "depends_on", "develop", "device_cgroup_rules", "devices", "entrypoint", "env_file"),
        *(
            "environment",
            "gpus",
            "group_add",
            "healthcheck",
            "image",
            "init",
            "ipc",
            "isolation",
            "label_file",
            "labels",
        ),
        *("logging", "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "models", "oom_kill_disable"),
        *("oom_score_adj", "pid", "pids_limit", "platform", "post_start", "pre_start", "pre_stop", "pull_policy"),
        *("pull_refresh_after", "read_only", "restart", "runtime", "secrets", "security_opt", "shm_size", "stdin_open"),
        *("stop_grace_period", "stop_signal", "storage_opt", "tmpfs", "tty", "ulimits", "use_api_socket", "user"),
        *("userns_mode", "volumes", "volumes_from", "working_dir"),
    )
)
"""What Compose says of containers that is nothing to networks."""
_NEAR_KEYS: Final = {
    **dict.fromkeys(
        ("cap_add", "cap_drop", "privileged"),
        "it is a right of the processes: give it where you start them in the sandbox",
    ),
    "uts": "a sandbox is a network namespace: the host name of its processes is theirs",
    "provider": "who provides the service is started by Compose: it is no container, and gets no attachment",
}


def attachments(service: str, node: Node, project: Project) -> Iterator[ImportedAttachment]:
    """Yield the attachments of a service: one of each of its containers, none where it has no namespace of its own."""
    common = Parts()
    try:
        mode = _mode(service, node, project)
        if mode is None:
            return
        _put_settings(service, node, common, is_in_host=mode == "host")
    except SpecError as fault:
        project.notes.faults.append(fault)
        return
    for replica in project.replicas[service]:
        parts = Parts(
            body=dict(common.body),
            places=dict(common.places),
            not_carried=list(common.not_carried) if replica.number == 1 else [],
        )
        parts.not_carried.extend(renamed(str(node.key), replica.wanted, replica.name))
        try:
            put_networks(replica, node, mode, parts, project)
            _put_ports(replica, node, parts)
            put_links(service, node, parts, project)
        except SpecError as fault:
            project.notes.faults.append(fault)
            return
        if project.are_containers and mode != "host":
            parts.body["sandbox"] = {"container": replica.container}
        of = f", container {replica.number} of {replica.of}" if replica.of > 1 else ""
        yield ImportedAttachment(
            name=replica.name,
            body=_ordered(parts.body),
            source=f"{node.key}, service {service}{of}",
            not_carried=tuple(parts.not_carried),
            places=parts.places,
        )


def _ordered(body: Mapping[str, object]) -> dict[str, object]:
    return {key: body[key] for key in AttachmentSpec.__pydantic_fields__ if key in body}


def _mode(service: str, node: Node, project: Project) -> str | None:
    """Return the network mode, "" for networks; None for a service that has no network namespace of its own."""
    mode, networks = node.get("network_mode"), node.get("networks")
    if node.get("provider") is not None:
        return None
    found = text(mode, f"services.{service}.network_mode") if mode is not None else ""
    if mode is None or not found:
        return ""
    if networks is not None and networks.value:
        raise mode.place.fault(f"services.{service}: 'network_mode' and 'networks' exclude each other: remove one")
    kind, colon, other = found.partition(":")
    if colon and kind in ("service", "container"):
        whose = (
            other if kind == "container" else ", ".join(each.name for each in project.replicas.get(other, ())) or other
        )
        project.notes.left_out(
            mode.place,
            f"service {service}, which is in the network namespace of {kind} {other}",
            f"an attachment has a namespace of its own: start its processes in that of {whose} (`reconcile exec {whose} …`)",
        )
        return None
    return {"disabled": "none", "default": "bridge"}.get(found, found)


def _put_settings(service: str, node: Node, parts: Parts, *, is_in_host: bool) -> None:
    what = f"services.{service}"
    for key in ("hostname", "domainname"):
        found = node.get(key)
        if found is not None and found.value != "":
            parts.put((key,), text(found, f"{what}.{key}"), found)
    for key in ("dns", "dns_search", "dns_opt", "expose"):
        found = node.get(key)
        nodes = distinct(as_items(found, f"{what}.{key}"), f"{what}.{key}")
        _put_items(key, nodes, what, parts, node.get(key))
    hosts = node.get("extra_hosts")
    _put_items("extra_hosts", host_items(hosts, f"{what}.extra_hosts"), what, parts, hosts)
    sysctls = node.get("sysctls")
    for name, value in pairs(sysctls, f"{what}.sysctls").items():
        found_before = parts.body.setdefault("sysctls", {})
        assert isinstance(found_before, dict)
        found_before[name] = text(value, f"{what}.sysctls")
        parts.places["sysctls", name] = str(value.place)
    if is_in_host and sysctls is not None and parts.body.pop("sysctls", None):
        parts.left_out(sysctls, "sysctls", "in the host's own namespace they are the host's: set them there")
    _tell_others(service, node, parts)


def _put_items(key: str, nodes: tuple[Node, ...], what: str, parts: Parts, whole: Node | None) -> None:
    if whole is None or not nodes:
        return
    parts.put((key,), [text(node, f"{what}.{key}") for node in nodes], whole)
    for index, node in enumerate(nodes):
        parts.places[key, index] = str(node.place)


def _tell_others(service: str, node: Node, parts: Parts) -> None:
    known = {*SERVICE_KEYS, *_CONTAINER_KEYS, *_NEAR_KEYS}
    for key, inner in mapping(node, f"services.{service}").items():
        if key in _NEAR_KEYS:
            parts.left_out(inner, key, _NEAR_KEYS[key])
        elif key not in known and not key.startswith("x-"):
            near = get_close_matches(key[:40], known, n=1, cutoff=0.75)
            hint = f"did you mean '{near[0]}'?" if near else "no Compose that we know has it: look at how it is spelt"
            parts.left_out(inner, key, hint)


def container_keys(services: Mapping[str, Node]) -> list[str]:
    """Return what the services say of their containers that is nothing to networks."""
    return sorted({key for node in services.values() for key in mapping(node, "services") if key in _CONTAINER_KEYS})


def _put_ports(replica: Replica, node: Node, parts: Parts) -> None:
    whole = node.get("ports")
    nodes = items(whole, f"services.{replica.service}.ports")
    if whole is None or not nodes:
        return
    if parts.body.get("network_mode") in ("host", "none"):
        why = f"network_mode {parts.body['network_mode']} publishes nothing, as with Docker"
        parts.left_out(whole, "ports", why)
        return
    published = port_texts(nodes, f"services.{replica.service}.ports")
    if replica.number > 1:
        fixed = [port.text for port in published if port.is_fixed]
        published = [port for port in published if not port.is_fixed]
        if fixed:
            why = (
                f"the first container of service {replica.service} has them: a port of the host leads to one container"
            )
            parts.left_out(whole, f"ports {', '.join(fixed)} of container {replica.number}", why)
    if published:
        parts.put(("ports",), [port.text for port in published], whole)
    for index, port in enumerate(published):
        parts.places["ports", index] = str(port.place)
