"""From a desired attachment to the objects of its sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.model.containers import Container
from reconciler.model.desired import DesiredAttachment, HostFacts
from reconciler.model.objects import ContainerFile, IPAddress, LinkUp, Namespace, Object, SandboxFile, Sysctl
from reconciler.model.wanted import NetworkMode, SandboxKind
from reconciler.sandbox.environment import environment_text
from reconciler.sandbox.hosts import hosts_text
from reconciler.sandbox.resolv_conf import resolv_conf_text

_ALL_LINKS: Final = "net/ipv6/conf/{}/accept_ra"

ENVIRONMENT: Final = "environment"
"""Name of the file with the variables of links; only those who have any have it."""


def compile_sandbox(
    attachment: DesiredAttachment,
    host: HostFacts,
    host_gateway: IPAddress | None,
    *,
    is_made_by_us: bool,
    container: Container | None = None,
) -> Iterator[Object]:
    """Yield the namespace (when it is ours to make), its loopback, its sysctls and its files.

    container: that runs in there; those of its files that the engine mounts get the same text.
    """
    unit, ns = attachment.unit, attachment.ns
    is_named = attachment.wanted.sandbox.kind is SandboxKind.NETNS
    has_own_stack = attachment.wanted.mode is not NetworkMode.HOST
    netns_name = attachment.wanted.sandbox.value if is_named and has_own_stack else ""
    if has_own_stack:
        if is_made_by_us:
            yield Namespace(unit=unit, ns=ns, name=netns_name)
        yield LinkUp(unit=unit, ns=ns, ifname="lo")
        if is_made_by_us:
            yield from (Sysctl(unit=unit, ns=ns, name=name, value=value) for name, value in host.sandbox_sysctls)
        yield from _heeded_routers(attachment)
        for name, value in attachment.wanted.sysctls:
            yield Sysctl(unit=unit, ns=ns, name=sysctl_path(name), value=value)
    contents = {
        "hosts": hosts_text(attachment, host, host_gateway),
        "resolv.conf": resolv_conf_text(attachment, host),
    }
    for name, content in contents.items():
        yield SandboxFile(unit=unit, attachment=attachment.name, name=name, content=content, netns_name=netns_name)
    if container is not None:
        yield from (
            ContainerFile(
                unit=unit,
                attachment=attachment.name,
                name=name,
                path=path,
                content=contents[name],
                process=container.process,
            )
            for name, path in container.files
        )
    environment = environment_text(attachment)
    if environment:
        # Not for /etc/netns: there it would take the place of the machine's /etc/environment.
        yield SandboxFile(unit=unit, attachment=attachment.name, name=ENVIRONMENT, content=environment)


def _heeded_routers(attachment: DesiredAttachment) -> Iterator[Sysctl]:
    """Have the links heed routers where the sandbox as a whole shall: the kernel itself does not hand that on to links."""
    asked = {sysctl_path(name): value for name, value in attachment.wanted.sysctls}
    value = asked.get(_ALL_LINKS.format("all"), asked.get(_ALL_LINKS.format("default")))
    for endpoint in attachment.endpoints if value is not None else ():
        if endpoint.ipv6 is not None:
            yield Sysctl(unit=endpoint.unit, ns=endpoint.ns, name=_ALL_LINKS.format(endpoint.ifname), value=value or "")


def sysctl_path(name: str) -> str:
    """Return the path below /proc/sys for a name with dots (sysctl(8)): a slash in the name stands for a dot in the path."""
    return name.translate(str.maketrans("./", "/."))
