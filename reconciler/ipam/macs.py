"""MAC addresses: declared, promised, made of the IPv4 address, else derived from the endpoint's id."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Container, Mapping
from ipaddress import IPv4Interface
from typing import Final

from reconciler.errors import AddressTaken
from reconciler.model.wanted import EndpointWanted

MAC: Final = 0
"""Stands for MAC addresses where 4 and 6 stand for addresses of these families."""


def mac_of_ipv4(interface: IPv4Interface) -> str:
    """Return 02:42 and the four bytes of the address, as the engine does (docs/design/docker.md#mac-addresses)."""
    return "02:42:" + interface.packed.hex(":")


def derived_mac(endpoint_id: str, salt: int = 0) -> str:
    """Return a locally administered unicast address that depends on the endpoint alone."""
    digest = hashlib.sha256(f"mac\0{endpoint_id}\0{salt}".encode()).digest()
    return bytes([(digest[0] & 0xFC) | 0x02, *digest[1:6]]).hex(":")


class Macs:
    """The MACs in use on each network; no two endpoints of one network share one. others: those that are not in question."""

    def __init__(self, others: Mapping[tuple[str, int], Container[int | str]]) -> None:
        self._others = others
        self._taken: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def hold(self, network: str, mac: str) -> None:
        """Keep a MAC for an endpoint that stays as it is."""
        if mac:
            self._taken[network].setdefault(mac, "")

    def declare(self, wanted: EndpointWanted, attachment: str) -> AddressTaken | None:
        """Take a declared MAC, if there is one; give the error if somebody else has it."""
        mac = wanted.mac_address
        if mac is None:
            return None
        taken = self._taken[wanted.network]
        if mac not in taken:
            taken[mac] = attachment
            return None
        where = f"attachment {attachment}: network {wanted.network}"
        holder = f"attachment {taken[mac]}" if taken[mac] else "an attachment that stays as it is"
        return AddressTaken(f"{where}: mac_address {mac} is that of {holder}; choose another one")

    def choose(self, wanted: EndpointWanted, endpoint_id: str, ipv4: IPv4Interface | None, promised: str) -> str:
        """Choose the endpoint's MAC and take it. `promised` is "" when it no longer counts."""
        if wanted.mac_address is not None:
            return wanted.mac_address
        taken = self._taken[wanted.network]
        others = self._others.get((wanted.network, MAC), ())
        made = (promised, mac_of_ipv4(ipv4) if ipv4 else "")
        candidates = [mac for mac in made if mac and mac not in taken and mac not in others]
        mac = candidates[0] if candidates else derived_mac(endpoint_id)
        salt = 0
        while mac in taken or mac in others:
            salt += 1
            mac = derived_mac(endpoint_id, salt)
        taken[mac] = endpoint_id
        return mac
