"""/etc/resolv.conf of one sandbox, as the engine writes it (docs/design/docker.md#resolvconf; syntax: resolv.conf(5))."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address

from msgspec import Struct

from reconciler.model.desired import DesiredAttachment, HostFacts
from reconciler.model.identifiers import BUILTIN_NETWORKS, EMBEDDED_SERVER
from reconciler.model.ip import address_or_none
from reconciler.model.objects import IPAddress
from reconciler.model.wanted import NetworkMode

FALLBACK_IPV4 = ("8.8.8.8", "8.8.4.4")
FALLBACK_IPV6 = ("2001:4860:4860::8888", "2001:4860:4860::8844")
_STUB = ("127.0.0.53",)


class ResolvConf(Struct, frozen=True, kw_only=True):
    """What a file says; of several `search` lines the last one counts, several `options` lines add up (as in resolv.conf(5))."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> ResolvConf:
    """Read a file; lines that say nothing known are passed over. Never raises."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                servers.append(address)
            case ["search" | "domain", *names] if names:
                search = tuple(names)
            case ["options", *given]:
                options += given
    return ResolvConf(nameservers=tuple(servers), search=search, options=tuple(options))


def ndots(options: Sequence[str]) -> int | None:
    """Return the last valid `ndots` of these options, None without one."""
    given = (option.removeprefix("ndots:") for option in reversed(options) if option.startswith("ndots:"))
    return next((int(number) for number in given if number.isascii() and number.isdecimal()), None)


def _behind_the_stub(host: HostFacts) -> ResolvConf:
    """Return the host's settings; where they name systemd-resolved's stub, which no sandbox reaches, those that it has itself."""
    own = parse_resolv_conf(host.resolv_conf)
    if own.nameservers == _STUB and host.resolved_conf:
        return parse_resolv_conf(host.resolved_conf)
    return own


def uses_embedded_server(attachment: DesiredAttachment) -> bool:
    """Return whether names are served in the sandbox: it is its own stack, on a user-defined network."""
    is_on_named_network = any(endpoint.network not in BUILTIN_NETWORKS for endpoint in attachment.endpoints)
    return attachment.wanted.mode is NetworkMode.NETWORKS and is_on_named_network


def resolv_conf_text(attachment: DesiredAttachment, host: HostFacts) -> str:
    """Return the file's text.

    Host mode: the host's file. A user-defined network: the embedded server alone, which reaches a stub on the host's loopback, so
    that the rest of the host's file holds as well; `ndots:0` unless the options name one. Else the servers given for the
    attachment, or the host's that can be reached from a sandbox, or the engine's fallback.
    """
    if attachment.wanted.mode is NetworkMode.HOST and not attachment.wanted.dns:
        return host.resolv_conf
    given, is_served = attachment.wanted, uses_embedded_server(attachment)
    theirs = parse_resolv_conf(host.resolv_conf) if is_served else _behind_the_stub(host)
    search = given.dns_search or theirs.search
    options = given.dns_options or theirs.options
    if is_served:
        valid = tuple(option for option in options if not option.startswith("ndots:") or ndots((option,)) is not None)
        return _text((EMBEDDED_SERVER,), search, valid if ndots(valid) is not None else (*valid, "ndots:0"))
    servers = tuple(map(str, given.dns)) or _reachable(attachment, theirs.nameservers)
    return _text(servers, search, options)


def _reachable(attachment: DesiredAttachment, servers: tuple[str, ...]) -> tuple[str, ...]:
    has_ipv6 = any(endpoint.ipv6 for endpoint in attachment.endpoints)
    kept = tuple(server for server in servers if _is_reachable(address_or_none(server), has_ipv6=has_ipv6))
    return kept or FALLBACK_IPV4 + (FALLBACK_IPV6 if has_ipv6 else ())


def _is_reachable(server: IPAddress | None, *, has_ipv6: bool) -> bool:
    """A link-local server of IPv6 is on a link of the host's, which the sandbox does not have."""
    if isinstance(server, IPv6Address) and (server.is_link_local or not has_ipv6):
        return False
    return server is not None and not server.is_loopback


def _text(servers: tuple[str, ...], search: tuple[str, ...], options: tuple[str, ...]) -> str:
    lines = [f"search {' '.join(search)}"] if search and search != (".",) else []
    lines += [f"nameserver {server}" for server in servers]
    lines += [f"options {' '.join(options)}"] if options else []
    return "".join(f"{line}\n" for line in lines)
