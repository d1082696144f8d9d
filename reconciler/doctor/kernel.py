"""Whether kernel and nftables are new enough and can do what the specs take: kinds of links, our firewall tables, tracked
connections and sockets, tried in a namespace that ends with the look. Modules that are not loaded yet are left so."""

from __future__ import annotations

import errno
import platform
import re
from collections.abc import Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.doctor.finding import Finding, command, error
from reconciler.doctor.place import Place
from reconciler.errors import FirewallError, FirewallMissing, KernelError, ReconcilerError
from reconciler.firewall.ruleset import TABLES
from reconciler.kernel.conntrack import forget_flows
from reconciler.kernel.netlink import NETLINK_SOCK_DIAG, RouteSocket
from reconciler.kernel.netns_mounts import unshare
from reconciler.kernel.nft import Nft
from reconciler.kernel.rare import new_rare_link
from reconciler.model.wanted import WantedState
from reconciler.records.file import content

OLDEST: Final = (5, 18)
OLDEST_NFT: Final = (1, 0, 6)
_MODULES_MAX: Final = 1 << 24
_NFT_MODULES: Final = ("nf_tables", "nf_conntrack", "nft_chain_nat", "nft_ct", "nft_fib_inet", "nft_masq")
_CONNECTIONS: Final = "nf_conntrack_netlink"
_WHY: Final = {
    "veth": "no sandbox can be joined to a network",
    "bridge": "no network of the drivers bridge and overlay can be made",
    "vxlan": "nothing goes between the hosts of overlay networks",
    "vlan": "macvlan and ipvlan networks on a VLAN of their parent cannot be made",
    "macvlan": "no macvlan network can be made",
    "ipvlan": "no ipvlan network can be made",
}
_MODULE_OF: Final = {"vlan": "8021q"}
_OF_DRIVERS: Final = {
    "bridge": ("bridge",),
    "overlay": ("bridge", "vxlan"),
    "macvlan": ("macvlan",),
    "ipvlan": ("ipvlan",),
}


class Kernel(Struct, frozen=True, kw_only=True):
    """release: as uname(2) has it. needed: kinds of links. missing: of these, what the kernel has neither built in nor as a module.

    nft: its version, "" when unknown. no_nft: why there is none. refused: what nftables said to our tables, "" when it took them.
    untracked: why connections cannot be asked for, no_sockets: why sockets cannot, "" when they can.
    """

    release: str
    needed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    nft: str = ""
    no_nft: str = ""
    refused: str = ""
    untracked: str = ""
    no_sockets: str = ""


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(kernel: Kernel) -> Iterator[Finding]:
    version = _numbers(kernel.release)
    if version and version < OLDEST:
        yield error(
            f"this kernel is {kernel.release}, and {_dotted(OLDEST)} is the oldest that will do",
            "addresses of ours carry a mark that older kernels do not keep, so passes cannot tell them from others",
            "apt-get install --only-upgrade linux-image-generic || apt-get install linux-image-amd64",
        )
    for kind in kernel.missing:
        module = _MODULE_OF.get(kind, kind)
        yield error(
            f"this kernel makes no links of kind {kind}",
            _WHY[kind],
            f"modprobe {module} || apt-get install linux-modules-extra-{kernel.release}",
        )
    yield from _of_nft(kernel)
    if kernel.untracked:
        yield error(
            f"tracked connections cannot be asked for: {kernel.untracked}",
            "connections to a port that is no longer published, or to an address that moved, go on",
            "modprobe nf_conntrack_netlink",
        )
    if kernel.no_sockets:
        yield error(
            f"sockets cannot be asked for: {kernel.no_sockets}",
            "a host port that a process has is not seen, and its packets are taken",
            "modprobe -a inet_diag tcp_diag udp_diag",
        )


def _of_nft(kernel: Kernel) -> Iterator[Finding]:
    if kernel.no_nft:
        yield error(
            kernel.no_nft,
            "no network can be isolated, masqueraded or published from",
            "apt-get install --yes nftables",
        )
    elif kernel.nft and _numbers(kernel.nft) < OLDEST_NFT:
        yield error(
            f"nftables is {kernel.nft}, and {_dotted(OLDEST_NFT)} is the oldest that will do",
            "it lists our own rules in a way that is not understood",
            "apt-get install --yes --only-upgrade nftables libnftables1",
        )
    if kernel.refused:
        yield error(
            f"the kernel does not take our firewall tables: {kernel.refused}",
            "no network can be isolated, masqueraded or published from",
            command("modprobe", "-a", *_NFT_MODULES),
        )


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def read(place: Place) -> Kernel:
    """Try in a namespace that ends with the thread in it. What cannot be tried for want of rights counts as there.

    So does what a module that is not loaded yet would bring: the kernel loads it when a pass asks, and is not made to here.
    """
    release = platform.release()
    files = _module_files(place, release)
    needed = needed_kinds(place.specs.wanted)
    unknown = tuple(kind for kind in needed if _state(place, _MODULE_OF.get(kind, kind), files) is _State.UNKNOWN)
    is_loading = {name: _state(place, name, files) is _State.LOADABLE for name in (*_NFT_MODULES, _CONNECTIONS)}
    with ThreadPoolExecutor(1) as thread:
        try:
            kernel = thread.submit(_tried, release, unknown, is_loading).result()
        except ReconcilerError:
            kernel = Kernel(release=release)
    return replace(kernel, needed=needed)


def needed_kinds(wanted: WantedState) -> tuple[str, ...]:
    """Name the kinds of links that the specs take."""
    kinds = {"veth": None}
    for network in wanted.networks:
        kinds.update(dict.fromkeys(_OF_DRIVERS.get(network.driver, ())))
        if network.sublink is not None and "." in network.sublink.parent:
            kinds["vlan"] = None
    return tuple(kinds)


class _State(Enum):
    """UNKNOWN: built in, or not there at all."""

    THERE = 0
    LOADABLE = 1
    UNKNOWN = 2


def _state(place: Place, module: str, files: Container[str]) -> _State:
    if (place.root / "sys/module" / module).exists():
        return _State.THERE
    return _State.LOADABLE if module in files else _State.UNKNOWN


def _module_files(place: Place, release: str) -> frozenset[str]:
    """Name the modules that there are files of; none where they cannot be seen, as in a container."""
    try:
        text = content(place.root / f"lib/modules/{release}/modules.dep", bytes_max=_MODULES_MAX)
    except OSError:
        return frozenset()
    return frozenset(re.findall(r"(?m)^(?:[^:\s]*/)?([^:/\s]+)\.ko[^:/\s]*:", text.decode(errors="replace")))


def _tried(release: str, kinds: tuple[str, ...], is_loading: Mapping[str, bool]) -> Kernel:
    """Make links and tables in a namespace of this thread's own. Raises KernelError where it may have none.

    is_loading: of modules, whether asking for what they do would have the kernel load them.
    """
    unshare()
    with Nft() as nft:
        version, no_nft, refused = _try_nft(nft, is_asked=not any(is_loading[name] for name in _NFT_MODULES))
    return Kernel(
        release=release,
        missing=tuple(_missing(kinds)),
        nft=version,
        no_nft=no_nft,
        refused=refused,
        untracked="" if is_loading[_CONNECTIONS] else _trouble_with_connections(),
        no_sockets=_trouble_with_sockets(),
    )


def _missing(kinds: tuple[str, ...]) -> Iterator[str]:
    """Yield the kinds that the kernel does not know: of others it misses what belongs to them, or makes one."""
    with closing(RouteSocket()) as socket:
        for number, kind in enumerate(kinds):
            if socket.request(new_rare_link(kind, ("IFLA_IFNAME", f"tried{number}"))).errno == errno.EOPNOTSUPP:
                yield kind


def _try_nft(nft: Nft, *, is_asked: bool) -> tuple[str, str, str]:
    """Return version, why there is no nft, and what the kernel had to say; is_asked: whether it is to be."""
    version = ""
    try:
        if not is_asked:
            return "", nft.trouble(), ""
        version = nft.version()
        nft.run("\n".join(table.text for table in TABLES.values()))
    except FirewallMissing as failure:
        return "", str(failure), ""
    except (FirewallError, KernelError) as failure:
        return version, "", str(failure)
    return version, "", ""


def _trouble_with_connections() -> str:
    try:
        forget_flows(lambda _: False)
    except KernelError as failure:
        return str(failure)
    return ""


def _trouble_with_sockets() -> str:
    try:
        RouteSocket(NETLINK_SOCK_DIAG).close()
    except KernelError as failure:
        return str(failure)
    return ""
