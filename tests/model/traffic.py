"""Who must reach whom, from the picture alone, and whether real packets do so."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Final

from tests.container_engines import packets
from tests.container_engines.packet_matrix import SILENT, Cell
from tests.kernel.packets_expected import answers_expected
from tests.machine import Machine
from tests.model.kernel import HOST_NS, Known
from tests.model.picture import Attachment, Network, Picture

OUTSIDE_NS: Final = "outside"
HOST: Final = {4: "192.0.2.1", 6: "2001:db8::1"}
OUTSIDE: Final = {4: "192.0.2.2", 6: "2001:db8::2"}
_PORT: Final = 80
_CELLS: Final = 150
"""Asked at once, at most: a sample of all."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Answers are `SERVER<SOURCE`, as of `packets`; where only the server is certain, `SERVER<`."""

    picture: Picture
    known: Known

    def addresses(self) -> dict[str, str]:
        """Give all addresses that are asked, by name: those of endpoints, gateways, the host and outside."""
        found = {}
        for (name, network), _ in self.picture.endpoints():
            known = self.known.endpoints[name, network]
            for version, address in ((4, known.ipv4), (6, known.ipv6)):
                if address:
                    found[f"{name}@{network}/{version}"] = str(ip_interface(address).ip)
        for wanted in self.picture.networks.values():
            for version in filter(wanted.has_gateway, wanted.versions):
                subnet = self.known.subnets[wanted.name, version]
                found[f"{wanted.name}/{version}"] = str(subnet[wanted.gateway])
        for version in (4, 6):
            found |= {f"host/{version}": HOST[version], f"outside/{version}": OUTSIDE[version]}
        return found

    def expected(self) -> dict[Cell, str]:
        """Give what each cell must be answered; those of which nothing is certain are left out."""
        found = {}
        for client in (*self.picture.attachments, "host", "outside"):
            for target in self.addresses():
                for kind in ("icmp", f"tcp {_PORT}", *(self._ports() if target.startswith("host/") else ())):
                    cell = Cell(client, target, kind)
                    answer = self._answer(cell)
                    if answer is not None:
                        found[cell] = answer
        return found

    def _ports(self) -> Iterator[str]:
        for attachment in self.picture.attachments.values():
            yield from (f"{port.protocol} {port.host_port}" for port in attachment.ports)

    def _answer(self, cell: Cell) -> str | None:
        client, target, kind = cell
        place, _, version_text = target.partition("/")
        version = int(version_text)
        name, _, network = place.rpartition("@")
        if name:
            return self._from_endpoint(client, name, self.picture.networks[network], version)
        if place == "outside":
            return None if client == "outside" else self._from_outside(client, version)
        if place == "host":
            published = self._published(kind, version)
            return self._from_host(client, version) if published is None else self._from_published(client, *published)
        return self._from_gateway(client, self.picture.networks[place], version)

    def _from_endpoint(self, client: str, server: str, network: Network, version: int) -> str | None:
        if client == server:
            return f"{server}<{server}@{network.name}/{version}"
        if client == "outside":
            return SILENT
        if client == "host":
            return f"{server}<{network.name}/{version}" if network.has_gateway(version) else SILENT
        if network.name not in self.picture.attachments[client].networks:
            return SILENT
        if network.is_bridged and not network.has_icc:
            return None if server in self.picture.attachments[client].links else SILENT
        if not network.is_bridged and network.mode == "private":
            return SILENT
        return f"{server}<{client}@{network.name}/{version}"

    def _from_gateway(self, client: str, network: Network, version: int) -> str | None:
        if client in self.picture.attachments and network.name in self.picture.attachments[client].networks:
            return f"host<{client}@{network.name}/{version}"
        return None

    def _from_outside(self, client: str, version: int) -> str:
        if client == "host":
            return f"outside<host/{version}"
        way = self._bridge_out(client, version)
        if way is None:
            return SILENT
        return f"outside<host/{version}" if way.masquerades else f"outside<{client}@{way.name}/{version}"

    def _from_host(self, client: str, version: int) -> str:
        """Of what is not published."""
        if client in ("host", "outside"):
            return f"host<{client}/{version}"
        way = self._bridge_out(client, version)
        return SILENT if way is None else f"host<{client}@{way.name}/{version}"

    def _from_published(self, client: str, server: Attachment, version: int) -> str | None:
        if client == "outside":
            return f"{server.name}<outside/{version}"
        if client == "host":
            return f"{server.name}<"
        way, to = self._bridge_out(client, version), self.picture.way_out(server.name, version)
        if way is None:
            return SILENT if server.name != client else None
        return None if way.name == to or client == server.name else f"{server.name}<"

    def _published(self, kind: str, version: int) -> tuple[Attachment, int] | None:
        for attachment in self.picture.attachments.values():
            for port in attachment.ports:
                is_asked = kind == f"{port.protocol} {port.host_port}"
                is_bound = port.host_ip in ("", HOST[version])
                if is_asked and is_bound and self._bridge_out(attachment.name, version) is not None:
                    return attachment, version
        return None

    def _bridge_out(self, name: str, version: int) -> Network | None:
        network = self.picture.networks.get(self.picture.way_out(name, version))
        return network if network is not None and network.is_bridged else None


def differing(machine: Machine, picture: Picture, known: Known, seed: int) -> tuple[int, list[str]]:
    """Send a sample of all questions at once; give how many there were, and what was answered otherwise than it must be."""
    traffic = Traffic(picture, known)
    expected = traffic.expected()
    cells = _sample(expected, picture, random.Random(seed))
    found = _ask(machine, picture, traffic.addresses(), {cell: expected[cell] for cell in cells})
    return len(cells), [
        f"{cell.client} asks {cell.target} ({traffic.addresses()[cell.target]}) by {cell.kind}: {answer}, not {expected[cell]}"
        for cell, answer in found.items()
        if not _is_as(answer, expected[cell])
    ]


def _sample(expected: Mapping[Cell, str], picture: Picture, dice: random.Random) -> list[Cell]:
    """Choose what is asked: half of it between members of one network or of what is published, where most can go wrong."""

    def is_near(cell: Cell) -> bool:
        network = cell.target.partition("@")[2].partition("/")[0]
        joined = picture.attachments[cell.client].networks if cell.client in picture.attachments else ()
        return network in joined or not cell.kind.endswith(("icmp", f" {_PORT}"))

    near, far = ([cell for cell in expected if is_near(cell) == side] for side in (True, False))
    return [cell for cells in (near, far) for cell in dice.sample(cells, min(_CELLS // 2, len(cells)))]


def _is_as(answer: str, wanted: str) -> bool:
    return answer.startswith(wanted) if wanted.endswith("<") else answer == wanted


def _ask(
    machine: Machine, picture: Picture, addresses: Mapping[str, str], expected: Mapping[Cell, str]
) -> dict[Cell, str]:
    ports = sorted({port.host_port for each in picture.attachments.values() for port in each.ports})
    serves = {"host": (_PORT, *ports), "outside": (_PORT,)}
    spaces = {"host": HOST_NS, "outside": OUTSIDE_NS}
    parties = [
        packets.Party(name=name, namespace=machine.path(spaces.get(name, name)), serves=serves.get(name, (_PORT, 81)))
        for name in (*picture.attachments, "host", "outside")
    ]
    return answers_expected(parties, addresses, expected)
