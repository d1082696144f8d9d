"""In which order operations are carried out.

Promises are written before anything is touched and taken back last of all; other hosts' view of us likewise, networks before
their members and endpoints. What is to go goes from the outside in (published ports,
names, files, routes, addresses, pairs, bridges, namespaces), then the firewall changes in one transaction while the links it guards
are either gone or not yet there (in an overlay network's namespace as soon as that is there), then what is to come is made from the
inside out. Plugins are spoken to when all that is done: one that hangs delays nothing else.
"""

from __future__ import annotations

from reconciler.model.kinds.base import Kind, Phase, PlanStep
from reconciler.model.objects import Unit
from reconciler.model.plan import Operation


def step(operation: Operation) -> PlanStep:
    """Return when an operation is carried out."""
    return operation.object.step(is_delete=operation.action.is_removal)


def is_forgetting(unit: Unit, found: Kind) -> bool:
    """Return whether what goes is a network's own part of what is not in the kernel: promises, plugins', the cluster's.

    That goes after the network's endpoints: what is left of one is found by it.
    """
    return not unit.attachment and found.step(is_delete=True).phase >= Phase.PUBLISH
