"""Look at our nft tables: whether their rules stand, and every element with its unit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

from reconciler.errors import SandboxMissing
from reconciler.firewall.inspection import inspect_table
from reconciler.firewall.notation import digested
from reconciler.firewall.ruleset import TABLE, TABLES
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import FirewallRules, Seen, Unit

_FIREWALLD: Final = "firewalld"


def foreign_forward_drops(nft: Nft) -> Iterator[str]:
    """Say which chains of others stop forwarded packets unless their own rules let them through: no rule of ours can change that.

    firewalld's chains accept by policy and refuse by their last rule, so it is known by its table. Rules of the old iptables
    (`iptables-legacy`) are not seen by nftables. Raises FirewallError, FirewallMissing, PrivilegeError.
    """
    for chain in nft.list_chains():
        is_forwarding = chain.get("hook") == "forward" and chain["table"] != TABLE
        is_dropping = chain.get("policy") == "drop" or chain["table"] == _FIREWALLD
        if is_forwarding and is_dropping and chain["family"] in ("ip", "ip6", "inet"):
            yield f"{chain['family']} {chain['table']} {chain['name']}"


def observe_firewall(nft: Nft, units: Iterable[Unit] = (), ns: NsRef = HOST) -> Iterator[Seen]:
    """Give our tables and their elements; nothing of a table that is not there. ns: where `nft` is.

    units: every unit known from promises or specs, needed to read the comments of those with very long names.
    Elements of a set that is not as declared are left out: the repair loses them, so they must be planned again.
    Raises FirewallError, FirewallMissing, PrivilegeError.
    """
    long_units = digested(units)
    for family, spec in TABLES.items():
        listing = nft.list_table(family, TABLE)
        if listing is None:
            continue
        state = inspect_table(spec, listing, long_units, ns)
        yield Seen(FirewallRules(ns=ns, family=family, table=TABLE, digest=state.digest), is_ours=state.is_ours)
        yield from (Seen(element, is_ours=True) for element in state.elements)


def observe_firewalls(
    nft: Nft, namespaces: Namespaces, overlays: Iterable[NsRef], units: Iterable[Unit] = ()
) -> Iterator[Seen]:
    """Give the same of the host and of overlay networks' namespaces. One that is gone meanwhile is left out."""
    units = tuple(units)
    yield from observe_firewall(nft, units)
    for ns in overlays:
        with contextlib.suppress(SandboxMissing), namespaces.enter(ns), Nft() as inside:
            yield from list(observe_firewall(inside, units, ns))
