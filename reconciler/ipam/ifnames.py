"""What interfaces are called inside a sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from reconciler.errors import NameConflict, PlanError
from reconciler.model.desired import DesiredNetwork
from reconciler.model.identifiers import LINK_NAME_MAX, is_link_name
from reconciler.model.plugins import JoinAnswer
from reconciler.model.wanted import EndpointWanted

IFNAME_OPTION: Final = "com.docker.network.endpoint.ifname"

_LOOPBACK: Final = "lo"
_NO_ANSWERS: Final[Mapping[str, JoinAnswer]] = {}


def chosen_ifnames(
    attachment: str,
    endpoints: Sequence[EndpointWanted],
    networks: Mapping[str, DesiredNetwork],
    promised: Mapping[str, str],
    answers: Mapping[str, JoinAnswer] = _NO_ANSWERS,
) -> Mapping[str, str]:
    """Return the interface name on each network: declared, promised, else the prefix and the lowest free number.

    promised: by network. answers: of plugins, by network; they may ask for a name or a prefix. Raises PlanError where a name
    cannot be had.
    """
    ordered = sorted(endpoints, key=lambda e: (-e.priority, e.network.encode()))
    prefixes = {e.network: _prefix(networks[e.network], answers.get(e.network)) for e in ordered}
    asked = {network: answer.dst_name for network, answer in answers.items()}
    chosen = {e.network: name for e in ordered if (name := declared_ifname(e) or asked.get(e.network, ""))}
    taken = {_LOOPBACK, *chosen.values()}
    if len(taken) != len(chosen) + 1:
        raise NameConflict(
            f"attachment {attachment}: two interfaces of one name in a sandbox, or one called lo; rename one"
        )
    for endpoint in ordered:
        name = promised.get(endpoint.network, "")
        if endpoint.network not in chosen and name not in taken and _fits(name, prefixes[endpoint.network]):
            chosen[endpoint.network] = name
            taken.add(name)
    for endpoint in ordered:
        if endpoint.network not in chosen:
            name = _lowest_free(prefixes[endpoint.network], taken)
            chosen[endpoint.network] = name
            taken.add(name)
    _check(attachment, chosen.values())
    return chosen


def declared_ifname(endpoint: EndpointWanted) -> str:
    """Return the name that the specs ask for, "" for none."""
    return endpoint.interface_name or dict(endpoint.options).get(IFNAME_OPTION, "")


def _prefix(network: DesiredNetwork, answer: JoinAnswer | None) -> str:
    if answer is not None and answer.dst_prefix:
        return answer.dst_prefix
    return network.wanted.bridge_options.container_iface_prefix


def _fits(name: str, prefix: str) -> bool:
    """Return whether an automatic choice of before would be one today."""
    number = name.removeprefix(prefix)
    return name.startswith(prefix) and number.isascii() and number.isdecimal()


def _lowest_free(prefix: str, taken: set[str]) -> str:
    number = 0
    while f"{prefix}{number}" in taken:
        number += 1
    return f"{prefix}{number}"


def _check(attachment: str, names: Iterable[str]) -> None:
    for name in names:
        if not is_link_name(name):
            raise PlanError(
                f"attachment {attachment}: {name!r} is not a link name of at most {LINK_NAME_MAX} characters"
            )
