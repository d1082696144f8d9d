"""The text of our nft tables, which is the same on every host and never changes while the program runs.

What differs from host to host (bridges, subnets, pairs, ports) are elements of the sets and maps declared here; `elements` makes
them. So the packet path is as long for a thousand networks as for one, and a change of the specs is a change of elements.

Order of the forward chain, and why (docs/design/docker.md#isolation): VXLAN of sandboxes to other hosts first, which is
dropped whatever else may be; internal networks, as nothing crosses their border, established or not; then what neither comes by a
bridge of ours nor leaves by one, which ends where it was not forwarded before us; then what does not enter one of our bridges, for
which we have no opinion; then replies from outside, and both ways of what was translated; then new traffic to a
published port, before ICC, since publishing is to anybody, neighbours on the same bridge included; then links and ICC, for packets
that hairpin through the host or that br_netfilter shows us; what may come in without having been translated; and the default deny,
which isolates networks from each other too.

Between bridges of ours nothing passes for being a reply alone: each rule that lets something in has one beside it for what comes
back. And before connection tracking sees a packet its source is checked, since whoever can send as another makes entries in that
one's name: on each port of our bridges (the bridge family), and on the host for addresses of ours that come by another link.

Accepting is final for our tables only: a DROP of somebody else's chain still holds (nft(8), "Chains").
"""

from __future__ import annotations

import hashlib
from functools import cache, cached_property
from typing import Final

from msgspec import Struct

from reconciler.model.identifiers import LINK_GROUP
from reconciler.model.objects import FirewallRules

TABLE: Final = "reconciler"


class SetSpec(Struct, frozen=True, kw_only=True):
    """A named set, or a map when `value` is given. key and value: nft data types of their parts.

    is_interval: address parts of the key are subnets, otherwise single addresses. An "integer" is an IPv6 address in a place of the
    packet that nft has no name for. learned_max: of a set whose elements the rules put in themselves, how many there may be.
    """

    name: str
    key: tuple[str, ...]
    value: tuple[str, ...] = ()
    is_interval: bool = False
    learned_max: int = 0

    @property
    def flags(self) -> tuple[str, ...]:
        return ("interval",) if self.is_interval else ("dynamic",) if self.learned_max else ()

    def text(self) -> str:
        kind = "map" if self.value else "set"
        value = f" : {' . '.join(self.value)}" if self.value else ""
        flags = "".join(f" flags {flag};" for flag in self.flags)
        size = f" size {self.learned_max};" if self.learned_max else ""
        key = f"type {' . '.join(self.key)}"
        if "integer" in self.key:  # a type without a length: nft takes that from an expression
            key = f"typeof {' . '.join(_EXPRESSIONS[part] for part in self.key)}"
        return f"{kind} {self.name} {{ {key}{value};{flags}{size} }}"


class ChainSpec(Struct, frozen=True, kw_only=True):
    """A chain with its rules. type, hook, priority: of a base chain, whose policy is accept; `hook` is "" for others."""

    name: str
    rules: tuple[str, ...]
    type: str = ""
    hook: str = ""
    priority: int = 0

    def head(self) -> str:
        if not self.hook:
            return ""
        return f"type {self.type} hook {self.hook} priority {self.priority}; policy accept;"


class TableSpec(Struct, frozen=True, dict=True):
    """One table. Each rule's comment is the digest of the whole text and the rule's running number, from 0."""

    family: str
    sets: tuple[SetSpec, ...]
    chains: tuple[ChainSpec, ...]

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that differ when anything of the table's text does."""
        return hashlib.sha256(self._text("").encode()).hexdigest()[:12]

    @cached_property
    def text(self) -> str:
        """What makes the table with everything but elements, for nft(8)'s parser; harmless to repeat only where it is absent."""
        return self._text(self.digest)

    @cached_property
    def sets_by_name(self) -> dict[str, SetSpec]:
        return {spec.name: spec for spec in self.sets}

    def _text(self, digest: str) -> str:
        lines = [f"table {self.family} {TABLE} {{", *(f"\t{spec.text()}" for spec in self.sets)]
        number = 0
        for chain in self.chains:
            lines.append(f"\tchain {chain.name} {{ {chain.head()}")
            for rule in chain.rules:
                lines.append(f'\t\t{rule} comment "{rule_comment(digest, number)}"')
                number += 1
            lines.append("\t}")
        return "\n".join([*lines, "}", ""])


_TARGET: Final = "@th,64,128"
"""The address that a neighbour solicitation or advertisement speaks of (RFC 4861, sections 4.3 and 4.4)."""

_SOURCE: Final = "@ll,176,128"
"""An IPv6 packet's source address (RFC 8200, section 3) in an untagged frame, to be held against the same sets. Counted from the
start of the frame, as nft would list it by its name and then not take its own listing: that name is of another type."""

_EXPRESSIONS: Final = {"ifname": "iifname", "ether_addr": "ether saddr", "integer": _TARGET}


def rule_comment(digest: str, number: int) -> str:
    """Return which text a rule is of, and its place there: how `inspection` knows that none is missing, moved or added."""
    return f"{digest} {number}"


def _sets_of_version(version: int) -> tuple[SetSpec, ...]:
    """Return the sets that exist once for each version of the Internet Protocol."""
    address = f"ipv{version}_addr"
    service = ("inet_proto", "inet_service")
    return (
        SetSpec(name=f"own{version}", key=(address, "ifname"), is_interval=True),
        SetSpec(name=f"subnets{version}", key=(address,), is_interval=True),
        SetSpec(name=f"masquerade{version}", key=(address,), is_interval=True),
        SetSpec(name=f"snat{version}", key=(address,), value=(address,), is_interval=True),
        SetSpec(name=f"links{version}", key=("ifname", address, address, *service)),
        SetSpec(name=f"published{version}", key=(address, *service)),
        SetSpec(name=f"published_routed{version}", key=(address, *service)),
        SetSpec(name=f"published_host{version}", key=(address, *service), value=(address, "inet_service")),
        SetSpec(name=f"published_any{version}", key=service, value=(address, "inet_service")),
    )


_NEIGHBOUR_MESSAGES: Final = "icmpv6 type { 135, 136 } ip6 hoplimit 255"
"""What IPv6 has for ARP. Routing lowers the hop limit before the forward hook, so this is never what came from another link
(RFC 4861, section 3.1)."""

_FORWARD: Final = (
    "meta l4proto udp iifname @bridges jump tunnel_forward",
    "iifname @internal jump inside",
    "oifname @internal jump inside",
    "iifname != @bridges oifname != @bridges meta nfproto @no_transit jump transit",
    "oifname != @bridges accept",
    "ct status dnat ct state established,related accept",
    "ct state established,related iifname != @bridges accept",
    # Who may send as anybody makes no entry of connection tracking in the name of another network's member.
    "iifname @any_source ct status dnat jump others",
    "ct status dnat ip daddr . meta l4proto . th dport @published4 accept",
    "ct status dnat ip6 daddr . meta l4proto . th dport @published6 accept",
    "iifname . ip saddr . ip daddr . meta l4proto . th dport @links4 accept",
    "iifname . ip6 saddr . ip6 daddr . meta l4proto . th dport @links6 accept",
    "ct state established,related oifname . ip daddr . ip saddr . meta l4proto . th sport @links4 accept",
    "ct state established,related oifname . ip6 daddr . ip6 saddr . meta l4proto . th sport @links6 accept",
    f"{_NEIGHBOUR_MESSAGES} accept",
    "iifname . oifname vmap @icc",
    "iifname @any_source jump others",
    "ip daddr . meta l4proto . th dport @published_routed4 accept",
    "ip6 daddr . meta l4proto . th dport @published_routed6 accept",
    "ct state established,related ip saddr . meta l4proto . th sport @published_routed4 accept",
    "ct state established,related ip6 saddr . meta l4proto . th sport @published_routed6 accept",
    "meta nfproto . oifname @routed meta l4proto { 1, 58 } accept",
    "ct state established,related meta nfproto . iifname @routed meta l4proto { 1, 58 } accept",
    "iifname . oifname @trusted ip daddr . meta l4proto . th dport @published4 accept",
    "iifname . oifname @trusted ip6 daddr . meta l4proto . th dport @published6 accept",
    "ct state established,related oifname . iifname @trusted ip saddr . meta l4proto . th sport @published4 accept",
    "ct state established,related oifname . iifname @trusted ip6 saddr . meta l4proto . th sport @published6 accept",
    "iifname != @bridges meta nfproto . oifname @unprotected accept",
    "drop",
)

_OTHERS: Final = (
    "ip saddr @subnets4 ip saddr . iifname != @own4 drop",
    "ip6 saddr @subnets6 ip6 saddr . iifname != @own6 drop",
)

_SOURCES: Final = (
    "iifname lo accept",
    # Publishing to 127.0.0.1 takes route_localnet on the bridge, which alone would open the host's loopback to containers.
    "ip saddr 127.0.0.0/8 iifname @bridges drop",
    "ip daddr 127.0.0.0/8 iifname @bridges drop",
    # What comes by a bridge of ours was held against its port; see the bridge family.
    "ip saddr @subnets4 iifname != @bridges drop",
    "ip6 saddr @subnets6 iifname != @bridges drop",
)

_POSTROUTING: Final = (
    # Through a published port to a neighbour or to itself: the answer must come back here to be translated.
    "ct status dnat ip saddr . oifname @own4 masquerade",
    "ct status dnat ip6 saddr . oifname @own6 masquerade",
    # From another network of ours: as the engine's proxy, whatever that network does with what leaves for the outside.
    "ct status dnat oifname @bridges ip saddr @subnets4 fib saddr type != local masquerade",
    "ct status dnat oifname @bridges ip6 saddr @subnets6 fib saddr type != local masquerade",
    # From the host through a port published to 127.0.0.1: no container could answer to that source.
    "ip saddr 127.0.0.0/8 oifname @bridges masquerade",
    "ip saddr . oifname @own4 return",
    "ip6 saddr . oifname @own6 return",
    "snat ip to ip saddr map @snat4",
    "snat ip6 to ip6 saddr map @snat6",
    "ip saddr @masquerade4 masquerade",
    "ip6 saddr @masquerade6 masquerade",
)

_PUBLISHED: Final = (
    # The kernel lets nothing from ::1 leave the loopback device, so whoever listens there himself keeps it.
    "ip6 daddr ::1 return",
    "dnat ip to ip daddr . meta l4proto . th dport map @published_host4",
    "meta nfproto ipv4 dnat ip to meta l4proto . th dport map @published_any4",
    "dnat ip6 to ip6 daddr . meta l4proto . th dport map @published_host6",
    "meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @published_any6",
)

_TUNNEL: Final = (
    "iifname != @adopted iifname @bridges drop",
    "ct status dnat drop",
    "ip daddr != @vtep4 drop",
    "ip6 daddr != @vtep6 drop",
    "fib saddr . iif oif missing drop",  # it came by another link than the one that leads back to its sender
    "ip saddr . udp dport @peers4 return",
    "ip6 saddr . udp dport @peers6 return",
    "drop",
)
"""For VXLAN to this host: see `tunnels`."""

_TUNNEL_CHAINS: Final = (
    ChainSpec(name="tunnel", rules=_TUNNEL),
    ChainSpec(name="input", type="filter", hook="input", priority=0, rules=("udp dport @tunnel_ports jump tunnel",)),
)

_TUNNEL_FORWARD: Final = ("ip daddr . udp dport @peers4 drop", "ip6 daddr . udp dport @peers6 drop")
"""For what sandboxes send to other hosts, where it would arrive with our own address, as masqueraded."""

_TRANSIT: Final = (
    "meta nfproto . iifname @transit_from accept",
    # Forwarded by multicast routing, which asks no switch.
    "ip daddr 224.0.0.0/4 accept",
    "ip6 daddr ff00::/8 accept",
    # What stays on a bridge is not forwarded; br_netfilter shows it here, with the bridge on both sides. Rules cannot compare the
    # two, but a set can be asked for the pair after it was given the one side twice.
    'meta iifkind "bridge" meta oifkind "bridge" add @same_bridge { iifname . iifname }',
    "iifname . oifname @same_bridge accept",
    "add @transit_dropped { meta nfproto . iifname . oifname }",
    "drop",
)
"""For what is of no bridge of ours, where it was not forwarded before us: see `transit`."""

_INET: Final = TableSpec(
    family="inet",
    sets=(
        SetSpec(name="bridges", key=("ifname",)),
        SetSpec(name="adopted", key=("ifname",)),
        SetSpec(name="internal", key=("ifname",)),
        SetSpec(name="any_source", key=("ifname",)),
        SetSpec(name="icc", key=("ifname", "ifname"), value=("verdict",)),
        SetSpec(name="trusted", key=("ifname", "ifname")),
        SetSpec(name="routed", key=("nf_proto", "ifname")),
        SetSpec(name="unprotected", key=("nf_proto", "ifname")),
        SetSpec(name="no_transit", key=("nf_proto",)),
        SetSpec(name="transit_from", key=("nf_proto", "ifname")),
        SetSpec(name="same_bridge", key=("ifname", "ifname"), learned_max=65535),
        SetSpec(name="transit_dropped", key=("nf_proto", "ifname", "ifname"), learned_max=1024),
        *_sets_of_version(4),
        *_sets_of_version(6),
        SetSpec(name="tunnel_ports", key=("inet_service",)),
        *(SetSpec(name=f"vtep{version}", key=(f"ipv{version}_addr",)) for version in (4, 6)),
        *(SetSpec(name=f"peers{version}", key=(f"ipv{version}_addr", "inet_service")) for version in (4, 6)),
    ),
    chains=(
        ChainSpec(name="inside", rules=("iifname . oifname vmap @icc", "drop")),
        ChainSpec(name="others", rules=_OTHERS),
        ChainSpec(name="tunnel_forward", rules=_TUNNEL_FORWARD),
        ChainSpec(name="transit", rules=_TRANSIT),
        ChainSpec(name="forward", type="filter", hook="forward", priority=0, rules=_FORWARD),
        ChainSpec(name="sources", type="filter", hook="prerouting", priority=-300, rules=_SOURCES),
        # IPv6 makes every bridge reachable without an address of the network's; what answers there is the link itself.
        ChainSpec(
            name="services",
            type="filter",
            hook="input",
            priority=0,
            rules=(
                # What others reach of the host by a bridge of theirs, as DHCP, they go on reaching.
                "iifname @adopted accept",
                "meta nfproto ipv6 iifname @bridges meta l4proto != 58 ip6 saddr fe80::/10 drop",
                "meta nfproto ipv6 iifname @bridges meta l4proto != 58 ip6 daddr fe80::/10 drop",
            ),
        ),
        ChainSpec(name="published", rules=_PUBLISHED),
        ChainSpec(
            name="prerouting",
            type="nat",
            hook="prerouting",
            priority=-100,
            # A neighbour on the host's link may send to 127.0.0.1 too. The kernel refuses that, but only after the translation.
            rules=("ip daddr 127.0.0.0/8 return", "fib daddr type local jump published"),
        ),
        ChainSpec(
            name="output", type="nat", hook="output", priority=-100, rules=("fib daddr type local jump published",)
        ),
        ChainSpec(name="postrouting", type="nat", hook="postrouting", priority=100, rules=_POSTROUTING),
        *_TUNNEL_CHAINS,
    ),
)

_PORT: Final = "iifname . ether saddr"

_PORTS: Final = (
    # Ports of all networks without ICC share one set: those of two bridges never meet here. What is for one neighbour is judged as
    # it was sent: br_netfilter may translate what was sent to the host into that, which the inet family judges.
    "iifname @isolated_ports meta pkttype { host, other } ether daddr != @gateway_macs jump isolated",
    f"{_PORT} . ip saddr @sources4 accept",
    f"meta protocol ip6 meta l4proto != 58 {_PORT} . {_SOURCE} @sources6 accept",
    f'iifgroup {LINK_GROUP} meta iifkind != "vxlan" iifname != @any_source jump sources',
)
"""Nearly all frames end at one of the first two rules. Ports are known by the link group, so that one without elements may send
nothing; those that others put on our bridges are theirs to judge."""

_PORT_SOURCES: Final = (
    f"{_PORT} != @macs drop",
    f"meta protocol arp {_PORT} @macs iifname . arp saddr ether . arp saddr ip @sources4 accept",
    # A probe says nothing of its sender (RFC 5227, section 1.1).
    "meta protocol arp arp saddr ip 0.0.0.0 iifname . arp saddr ether @macs accept",
    "meta protocol { arp, ip } drop",
    # The kernel takes off a second tag of VLAN 0 above the bridge.
    "meta protocol { 8021q, 8021ad } drop",
    "meta protocol != ip6 accept",
    # Router advertisements and redirects: the router of these links is the host.
    "meta protocol ip6 icmpv6 type { 134, 137 } drop",
    f"meta protocol ip6 icmpv6 type 136 {_PORT} . {_TARGET} != @sources6 jump target",
    f"meta protocol ip6 ip6 saddr :: icmpv6 type 135 {_PORT} . {_TARGET} != @sources6 jump target",
    # Duplicate address detection, and multicast reports while that goes on.
    "meta protocol ip6 ip6 saddr :: meta l4proto 58 accept",
    f"meta protocol ip6 {_PORT} . {_SOURCE} @sources6 accept",
    f"meta protocol ip6 ip6 saddr fe80::/10 {_SOURCE} != @link_locals accept",
    "drop",
)

_BRIDGE: Final = TableSpec(
    family="bridge",
    sets=(
        SetSpec(name="isolated_ports", key=("ifname",)),
        SetSpec(name="gateway_macs", key=("ether_addr",)),
        SetSpec(name="links4", key=("ipv4_addr", "ipv4_addr", "inet_proto", "inet_service")),
        SetSpec(name="links6", key=("ipv6_addr", "ipv6_addr", "inet_proto", "inet_service")),
        SetSpec(name="any_source", key=("ifname",)),
        SetSpec(name="macs", key=("ifname", "ether_addr")),
        SetSpec(name="sources4", key=("ifname", "ether_addr", "ipv4_addr")),
        SetSpec(name="sources6", key=("ifname", "ether_addr", "integer")),
        SetSpec(name="link_locals", key=("integer",)),
    ),
    chains=(
        # A link-local address that nobody is known to have may be anybody's: sandboxes make them in ways of their own.
        ChainSpec(name="target", rules=(f"@th,64,16 & 0xffc0 == 0xfe80 {_TARGET} != @link_locals return", "drop")),
        # Stateless, as connection tracking of bridges is a module of its own: replies are known by the server's port.
        ChainSpec(
            name="isolated",
            rules=(
                "ether type arp return",
                f"{_NEIGHBOUR_MESSAGES} return",
                "ip saddr . ip daddr . meta l4proto . th dport @links4 return",
                "ip daddr . ip saddr . meta l4proto . th sport @links4 return",
                "ip6 saddr . ip6 daddr . meta l4proto . th dport @links6 return",
                "ip6 daddr . ip6 saddr . meta l4proto . th sport @links6 return",
                "drop",
            ),
        ),
        ChainSpec(name="sources", rules=_PORT_SOURCES),
        # Before br_netfilter shows the frame to connection tracking.
        ChainSpec(name="ports", type="filter", hook="prerouting", priority=-300, rules=_PORTS),
        ChainSpec(
            name="forward",
            type="filter",
            hook="forward",
            priority=-200,
            rules=(
                "iifname @isolated_ports oifname @isolated_ports meta pkttype { broadcast, multicast } jump isolated",
            ),
        ),
    ),
)

TABLES: Final = {spec.family: spec for spec in (_INET, _BRIDGE)}


@cache
def rules(family: str) -> FirewallRules:
    """Return the object that says: our table of `family`, inet or bridge, stands as its text has it."""
    return FirewallRules(family=family, table=TABLE, digest=TABLES[family].digest)
