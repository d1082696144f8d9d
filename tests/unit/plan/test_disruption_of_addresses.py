"""What becomes of connections when an address goes."""

from __future__ import annotations

from ipaddress import ip_interface

from reconciler.model.identifiers import HOST
from reconciler.model.objects import Address, Unit
from reconciler.model.plan import Action, Disruption
from reconciler.plan.disruption import disruption_of


def test_every_connection_of_an_address_ends_with_it() -> None:
    address = Address(unit=Unit(network="lan"), ns=HOST, ifname="br-lan", interface=ip_interface("10.0.0.1/24"))

    assert disruption_of(Action.DELETE, address, None) is Disruption.RECREATE
    assert disruption_of(Action.CREATE, None, address) is Disruption.NONE
