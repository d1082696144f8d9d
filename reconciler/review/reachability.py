"""Who reaches whom on one host, in a few lines that a person reads: the way out, what is published, neighbours, links."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, PortBinding
from reconciler.model.identifiers import HOST
from reconciler.model.objects import IPAddress
from reconciler.model.words import before_port
from reconciler.reach.site import Site, interface_of
from reconciler.reach.stand_ins import OF_HOST, OUTSIDE
from reconciler.reach.values import Packet, Party, PartyKind
from reconciler.reach.walk import Walk
from reconciler.review.values import Flow

_VERSIONS: Final = (4, 6)


def flows_of(walk: Walk, host: str) -> frozenset[Flow]:
    """Give what the attachments of a host reach, and who reaches them. Those that behave alike are asked once."""
    site = walk.sites[host]
    asked: dict[_Alike, tuple[Flow, ...]] = {}
    versions: defaultdict[Flow, list[int]] = defaultdict(list)
    for attachment in site.members.values():
        if attachment.ns == HOST:
            continue
        alike = _alike(attachment)
        if alike not in asked:
            asked[alike] = tuple(_of_its_kind(walk, site, attachment))
        of_its_kind = (_about(flow, attachment.name) for flow in asked[alike])
        for flow in (*of_its_kind, *_published(walk, site, attachment), *_linked(walk, site, attachment)):
            versions[replace(flow, versions=())].extend(flow.versions)
    return frozenset(replace(flow, versions=tuple(sorted(set(found)))) for flow, found in versions.items())


_Alike = tuple[tuple[object, ...], ...]
"""What decides where packets of an attachment go and which come to it, but for its own links and ports."""

_SELF: Final = "<self>"


def _alike(attachment: DesiredAttachment) -> _Alike:
    return tuple(
        (
            endpoint.network,
            endpoint.is_default_ipv4,
            endpoint.is_default_ipv6,
            endpoint.gateway_ipv4,
            endpoint.gateway_ipv6,
            endpoint.ipv4 and endpoint.ipv4.network,
            endpoint.ipv6 and endpoint.ipv6.network,
            bool(endpoint.ports),
        )
        for endpoint in attachment.endpoints
    )


def _about(flow: Flow, name: str) -> Flow:
    client, server = (name if party == _SELF else party for party in (flow.client, flow.server))
    return replace(flow, client=client, server=server)


def _of_its_kind(walk: Walk, site: Site, attachment: DesiredAttachment) -> Iterator[Flow]:
    yield from _way_out(walk, site, attachment)
    for endpoint in attachment.endpoints:
        yield from _neighbours(walk, site, attachment, endpoint)
        yield from _direct(walk, site, endpoint)


def _way_out(walk: Walk, site: Site, attachment: DesiredAttachment) -> Iterator[Flow]:
    own = {each.ip for one in attachment.endpoints for each in (one.ipv4, one.ipv6) if each is not None}
    for version in _VERSIONS:
        packet = Packet(client=site.party(attachment), address=OUTSIDE[version], protocol="tcp", port=443)
        answer = walk.ask(packet)
        if answer.server is not None:
            how = "with its own address" if answer.seen_as in own else "masqueraded"
            yield Flow(client=_SELF, server="outside", what="", how=how, versions=(version,))


def _neighbours(walk: Walk, site: Site, attachment: DesiredAttachment, endpoint: DesiredEndpoint) -> Iterator[Flow]:
    """Ask one other member for all: but for links, the members of a network behave alike."""
    for version in _VERSIONS:
        address = _other_member(walk, site, attachment, endpoint.network, version)
        if address is None or interface_of(endpoint, version) is None:
            continue
        answer = walk.ask(Packet(client=site.party(attachment), address=address, protocol="icmp"))
        if answer.server is not None and answer.server.kind is PartyKind.ATTACHMENT:
            text = f"the others on {endpoint.network}"
            yield Flow(client=_SELF, server=text, what="", how="neighbours", versions=(version,))


def _other_member(walk: Walk, site: Site, of: DesiredAttachment, network: str, version: int) -> IPAddress | None:
    is_global = network in site.networks and site.networks[network].scope == "global"
    for one in walk.sites.values() if is_global else (site,):
        for member, endpoint in one.members_of(network):
            found = interface_of(endpoint, version)
            if found is not None and (one is not site or member.name != of.name):
                return found.ip
    return None


def _direct(walk: Walk, site: Site, endpoint: DesiredEndpoint) -> Iterator[Flow]:
    outside = Party(PartyKind.OUTSIDE, site.name)
    for version in _VERSIONS:
        interface = interface_of(endpoint, version)
        if interface is not None and walk.ask(Packet(client=outside, address=interface.ip, protocol="icmp")).server:
            yield Flow(
                client="outside",
                server=_SELF,
                what=f"its address on {endpoint.network}",
                how="routed",
                versions=(version,),
            )


def _published(walk: Walk, site: Site, attachment: DesiredAttachment) -> Iterator[Flow]:
    for endpoint in attachment.endpoints:
        for binding in endpoint.ports:
            if binding.host_port:
                yield from _publication(walk, site, attachment, binding)


def _publication(walk: Walk, site: Site, attachment: DesiredAttachment, binding: PortBinding) -> Iterator[Flow]:
    version = binding.host_ip.version
    address = OF_HOST[version] if binding.host_ip.is_unspecified else binding.host_ip
    client = Party(PartyKind.HOST if address.is_loopback else PartyKind.OUTSIDE, site.name)
    packet = Packet(client=client, address=address, protocol=binding.protocol, port=binding.host_port)
    answer = walk.ask(packet)
    if answer.server == site.party(attachment):
        at = "" if binding.host_ip.is_unspecified else before_port(binding.host_ip) + ":"
        how = f"published at {at}{binding.host_port}"
        what = f"{binding.target}/{binding.protocol}"
        yield Flow(client=str(client), server=attachment.name, what=what, how=how, versions=(version,))


def _linked(walk: Walk, site: Site, attachment: DesiredAttachment) -> Iterator[Flow]:
    for link in attachment.links:
        for address in (link.ipv4, link.ipv6):
            for first, last, protocol in link.ports if address is not None else ():
                assert address is not None
                packet = Packet(client=site.party(attachment), address=address, protocol=protocol, port=first)
                if walk.ask(packet).server is not None:
                    what = f"{first}/{protocol}" if first == last else f"{first}-{last}/{protocol}"
                    yield Flow(
                        client=attachment.name, server=link.target, what=what, how="linked", versions=(address.version,)
                    )
