"""What becomes of connections when an address goes."""

from __future__ import annotations

from ipaddress import ip_interface

from msgspec.structs import replace

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Address, Unit
from reconciler.model.plan import Action, Disruption
from reconciler.plan.disruption import disruption_of


def test_every_connection_of_a_sandboxs_address_ends_with_it() -> None:
    ours = Address(unit=Unit(network="lan"), ns=NsRef("web"), ifname="eth0", interface=ip_interface("10.0.0.2/24"))

    assert disruption_of(Action.DELETE, ours, None) is Disruption.RECREATE
    assert disruption_of(Action.DELETE, replace(ours, ns=HOST, ifname="br-lan"), None) is Disruption.FLAP
    assert disruption_of(Action.CREATE, None, ours) is Disruption.NONE
