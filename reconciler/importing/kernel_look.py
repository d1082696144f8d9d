"""One look at what a kernel has of networks, for `kernel`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.errors import ReconcilerError
from reconciler.firewall.notation import as_listed
from reconciler.firewall.ruleset import TABLE
from reconciler.importing.kernel import SeenKernel, SeenSandbox
from reconciler.kernel.links import NSID_NOT_ASSIGNED, decode_nsid, get_nsid
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.model.identifiers import HOST, NsRef
from reconciler.observe.adoption import manager_of
from reconciler.observe.sandboxes import view

_RULES_MAX: Final = 200


def look_at_kernel(namespaces: Namespaces, nft: Nft) -> SeenKernel:
    """Look at the host and at all namespaces that have a name. Raises KernelError when the host cannot be looked at."""
    host = view(namespaces, HOST)
    names = (link.ifname for link in host.bridges_of_others)
    return SeenKernel(
        host=host,
        sandboxes=tuple(_sandboxes(namespaces)),
        managers={name: manager for name in names if (manager := manager_of(name))},
        translations=tuple(_translations(nft)),
    )


def _sandboxes(namespaces: Namespaces) -> Iterator[SeenSandbox]:
    """Yield what can be looked into; one that goes meanwhile is none."""
    for name in namespaces.names():
        ns = NsRef(f"netns:{name}")
        try:
            if namespaces.inode(ns) == namespaces.inode(HOST):
                continue
            yield SeenSandbox(
                name=name,
                view=view(namespaces, ns),
                nsid=_nsid(namespaces, HOST, ns),
                host_nsid=_nsid(namespaces, ns, HOST),
            )
        except ReconcilerError:
            continue


def _nsid(namespaces: Namespaces, ns: NsRef, other: NsRef) -> int:
    """Return how one namespace numbers another, -1 for not at all."""
    (reply,) = namespaces.socket(ns).batch([get_nsid(namespaces.fd(other))])
    return next((decode_nsid(a.buffer, a.start, a.end) for a in reply.answers), NSID_NOT_ASSIGNED)


def _translations(nft: Nft) -> Iterator[tuple[str, str]]:
    """Yield the rules of others that translate where packets go, of those tables that do so at all."""
    try:
        chains = [chain for chain in nft.list_chains() if chain.get("table") != TABLE]
        tables = {(c.get("family"), c.get("table")) for c in chains if c.get("type") == "nat"}
        listed = [c for c in chains if (c.get("family"), c.get("table")) in tables][:_RULES_MAX]
        for chain in listed:
            place = (str(chain.get("family")), str(chain.get("table")), str(chain.get("name")))
            for rule in nft.list_chain(*place):
                with as_listed(f"chain {' '.join(place)}"):
                    texts = tuple(_texts(rule))
                yield from ((f"nft chain {' '.join(place)}", text) for text in texts)
    except ReconcilerError:
        return


def _texts(rule: Mapping[str, Any]) -> Iterator[str]:
    """Yield a rule that translates destinations, as far as it is of the known shape: a port, and where it leads."""
    expressions = [each for each in rule.get("expr", ()) if isinstance(each, Mapping)]
    for found in (each["dnat"] for each in expressions if isinstance(each.get("dnat"), Mapping)):
        ports = (
            f"{match['left']['payload'].get('protocol')} port {match['right']}"
            for each in expressions
            if isinstance(match := each.get("match"), Mapping)
            and isinstance(match.get("left"), Mapping)
            and isinstance(match["left"].get("payload"), Mapping)
            and match["left"]["payload"].get("field") == "dport"
        )
        to = f"{found.get('addr', '')}:{found['port']}" if "port" in found else str(found.get("addr", ""))
        yield f"the translation of {', '.join(ports) or 'what it matches'} to {to}"
