"""The record of how a bridge of others was when a network took it over, at `adopted/<name of the link>`.

Written before anything of the bridge is changed and kept until it is given back: how it was cannot be had from anywhere else.
"""

from __future__ import annotations

import json
from typing import Final

from reconciler.model.adoption import Found
from reconciler.model.identifiers import is_link_name
from reconciler.model.objects import KvRecord, Unit
from reconciler.records.document import Misfit
from reconciler.records.fields import Fields, checked_name

_LISTED_MAX: Final = 256
"""Of addresses and ports, which are recorded for people."""

_GROUP_MAX: Final = (1 << 32) - 1
_MTU_MAX: Final = 1 << 16
_IFINDEX_MAX: Final = (1 << 31) - 1


def adoption_record(found: Found) -> KvRecord:
    """Return the record of how a bridge was found."""
    fields = {name: getattr(found, name) for name in found.__struct_fields__ if name != "ifname"}
    value = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return KvRecord(unit=Unit(network=found.network), path=f"adopted/{found.ifname}", value=value)


def read_adoption(ifname: str, fields: Fields) -> Found:
    """Read a record. Raises Misfit."""
    if not is_link_name(ifname):
        raise Misfit("not the name of a link")
    return Found(
        network=checked_name(fields.text("network")),
        ifname=ifname,
        ifindex=fields.number("ifindex", _IFINDEX_MAX),
        mac=fields.mac("mac"),
        mtu=fields.number("mtu", _MTU_MAX),
        is_up=fields.value("is_up") is True,
        has_ipv6=fields.value("has_ipv6") is True,
        promotes_secondaries=fields.value("promotes_secondaries") is True,
        alias=fields.text("alias"),
        group=fields.number("group", _GROUP_MAX) if fields.value("group") else 0,
        addresses=tuple(map(str, fields.items("addresses", _LISTED_MAX))),
        ports=tuple(map(str, fields.items("ports", _LISTED_MAX))),
    )
