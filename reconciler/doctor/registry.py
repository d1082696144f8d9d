"""The checks, in the order in which they are made: a line for each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from reconciler.doctor import (
    firewall,
    kernel,
    limits,
    managers,
    mtu,
    names,
    owners,
    pools,
    resolver,
    rights,
    services,
    specs,
    state,
    store,
    sysctls,
    transit,
)
from reconciler.doctor.finding import Finding, Severity, warning
from reconciler.doctor.place import Place
from reconciler.doctor.typed import typed
from reconciler.errors import ReconcilerError
from reconciler.status.json_text import Json


class Check(NamedTuple):
    """name: as in findings. examine: looks, and gives what is the matter."""

    name: str
    examine: Callable[[Place], Iterable[Finding]]

    @property
    def asks(self) -> str:
        """What it asks, in a sentence: how the documentation of its module begins."""
        return (sys.modules[self.examine.__module__].__doc__ or "").partition("\n\n")[0].replace("\n", " ").strip()


CHECKS: Final = (
    Check("rights", rights.examine),
    Check("kernel", kernel.examine),
    Check("state", state.examine),
    Check("owners", owners.examine),
    Check("specs", specs.examine),
    Check("sysctls", sysctls.examine),
    Check("firewall", firewall.examine),
    Check("transit", transit.examine),
    Check("managers", managers.examine),
    Check("pools", pools.examine),
    Check("mtu", mtu.examine),
    Check("resolver", resolver.examine),
    Check("names", names.examine),
    Check("services", services.examine),
    Check("limits", limits.examine),
    Check("store", store.examine),
)

_ORDER: Final = tuple(Severity)


def findings(place: Place) -> tuple[Finding, ...]:
    """Make all checks; errors come first. A check that cannot look says so, and keeps no other from being made."""
    found = [each for check in CHECKS for each in _made(check, place)]
    return tuple(sorted(found, key=lambda each: _ORDER.index(each.severity)))


def rights_alone() -> tuple[Finding, ...]:
    """Return what is to be said where nothing else can be looked at."""
    return tuple(replace(each, check=CHECKS[0].name) for each in rights.judge(rights.read(), typed()))


def _made(check: Check, place: Place) -> Iterator[Finding]:
    try:
        found = tuple(check.examine(place))
    except (ReconcilerError, OSError) as failure:
        found = (warning(f"could not be looked at: {failure}", "whatever is the matter there is not told here"),)
    return (replace(each, check=check.name) for each in found)


def document(found: Sequence[Finding]) -> Mapping[str, Json]:
    """Return findings and the names of all checks, as programs take them."""
    return {
        "version": 1,
        "checks": [check.name for check in CHECKS],
        "findings": [
            {
                "check": each.check,
                "severity": str(each.severity),
                "what": each.what,
                "why": each.why,
                "mend": list(each.mend),
            }
            for each in found
        ],
    }
