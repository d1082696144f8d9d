"""Reading the settings that links do not tell about themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.drivers.bridge import ENDPOINT_SYSCTLS
from reconciler.errors import ConfigError
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.sysctl import read_sysctl
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Seen, Sysctl
from reconciler.model.wanted import AttachmentWanted
from reconciler.sandbox.compile import sysctl_path

HOST_SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
)


def host_sysctls(namespaces: Namespaces) -> Iterator[Seen]:
    """Give the settings that forwarding depends on, those that exist."""
    return _read(namespaces, HOST, HOST_SYSCTLS)


def attachment_sysctls(
    namespaces: Namespaces, ns: NsRef, attachments: Iterable[AttachmentWanted], ifnames: Iterable[str]
) -> Iterator[Seen]:
    """Give what the attachments' `sysctls` and their endpoints' sysctl options name, as it is in the sandbox.

    ifnames: our links there; which of them an endpoint has is not known yet, so its options are read for each.
    """
    names = {sysctl_path(name) for attachment in attachments for name, _ in attachment.sysctls}
    options = [
        given
        for attachment in attachments
        for endpoint in attachment.endpoints
        if (given := dict(endpoint.options).get(ENDPOINT_SYSCTLS))
    ]
    if options:
        names |= {path for ifname in ifnames for given in options for path in _endpoint_paths(given, ifname)}
    return _read(namespaces, ns, sorted(names))


def _endpoint_paths(given: str, ifname: str) -> Iterator[str]:
    """Expand `net.ipv4.conf.IFNAME.log_martians=1,...` for one link."""
    for assignment in filter(None, given.split(",")):
        name = assignment.partition("=")[0].strip()
        yield "/".join(ifname if part == "IFNAME" else part for part in name.split("."))


def _read(namespaces: Namespaces, ns: NsRef, names: Iterable[str]) -> Iterator[Seen]:
    names = tuple(names)
    if not names:
        return
    with namespaces.enter(ns):
        values = {name: _value(name) for name in names}
    for name, value in values.items():
        if value is not None:
            yield Seen(Sysctl(ns=ns, name=name, value=value), is_ours=False)


def _value(name: str) -> str | None:
    """A name that is refused counts as absent here: setting it gives the error to the attachment that asks for it."""
    try:
        return read_sysctl(name)
    except ConfigError:
        return None
