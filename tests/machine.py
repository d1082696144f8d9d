"""The machine that kernel tests, demo and bench work on: folders, named namespaces, traffic between them, and leak detection."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.private_namespaces import CLONE_NEWNET, MS_BIND, mount, set_network_namespace, unmount, unshare
from tests.waiting import Deadline, eventually, patient, until

NETNS_DIR = Path("/run/netns")
ETC_NETNS_DIR = Path("/etc/netns")
STATE_FOLDER = Path("/var/lib/reconciler")
BRIDGE_NETFILTER = Path("/proc/sys/net/bridge")
"""Where br_netfilter is."""

_WAS_THERE = STATE_FOLDER.exists()
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_SCOPE_LINK = "20"
_PREFIX_OF_ONE = "80"
_IFA_F_TENTATIVE = 0x40
_NETLINK_NETFILTER = 12
_NFT_NEWTABLE, _NFT_GETTABLE = 10 << 8, 10 << 8 | 1
_NLM_F_REQUEST_DUMP = 0x301


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Folders of one test, and what can be done in the namespaces below `netns_dir`.

    `ns` everywhere: the name of a namespace as `ip netns` knows it; "" for the one of this process, which nothing may change.
    """

    state_dir: Path
    run_dir: Path = Path("/run/reconciler")
    netns_dir: Path = NETNS_DIR
    etc_netns_dir: Path = ETC_NETNS_DIR

    @property
    def status_dir(self) -> Path:
        return self.state_dir / "status"

    def summary(self) -> dict[str, Any]:
        """Give what the last pass said of all (docs/reference/files.md)."""
        found: dict[str, Any] = json.loads((self.status_dir / "summary.json").read_text())
        return found

    def path(self, ns: str) -> Path:
        return self.netns_dir / ns

    def add_namespace(self, ns: str) -> None:
        """Make a named namespace with `lo` up, as ip-netns(8) does, but without a process: tests make thousands."""
        if os.path.ismount(self.netns_dir):
            os.close(os.open(self.path(ns), os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
            _make_namespace(self.path(ns))
        else:  # makes the folder a mount that others share, too
            self.run("", "ip", "netns", "add", ns)
        with self.inside(ns):
            _raise("lo")

    def detect_no_duplicates(self, ns: str) -> None:
        """Have link-local addresses of links that come from now on ready at once.

        A router asks for neighbours from such an address, so for one or two seconds a new bridge forwards no IPv6 packets.
        """
        with self.inside(ns):
            Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")

    def delete_namespace(self, ns: str) -> None:
        unmount(self.path(ns))
        self.path(ns).unlink()

    def namespaces(self) -> list[str]:
        """Names, sorted."""
        return sorted(entry.name for entry in self.netns_dir.iterdir())

    def add_veth(self, ns: str, ifname: str, peer_ns: str, peer_ifname: str) -> None:
        """Join two namespaces by a veth pair, both ends up and running, without addresses; link-local ones are ready at once."""
        self.run("", "ip", "-n", ns, "link", "add", ifname, "type", "veth", "peer", peer_ifname, "netns", peer_ns)
        self.raise_veth(ns, ifname, peer_ns, peer_ifname)

    def raise_veth(self, ns: str, ifname: str, peer_ns: str, peer_ifname: str) -> None:
        """Set both ends of a pair up, and wait until they run; their link-local addresses are ready at once."""
        for end_ns, end in ((ns, ifname), (peer_ns, peer_ifname)):
            with self.inside(end_ns):
                Path(f"/proc/sys/net/ipv6/conf/{end}/accept_dad").write_text("0")
                _raise(end)
        for end_ns, end in ((ns, ifname), (peer_ns, peer_ifname)):
            with self.inside(end_ns):
                until(lambda: _runs(end) and _has_link_local(end), every_s=0.002)  # noqa: B023  # called at once

    def run(
        self, ns: str, *command: str, check: bool = True, timeout_s: float = 30, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as `ip netns exec` does (with /etc/netns/<ns>/* mounted). `check`: a failure shows what it printed."""
        inside = ("ip", "netns", "exec", ns) if ns else ()
        done = subprocess.run(
            [*inside, *command], input=stdin, capture_output=True, text=True, timeout=patient(timeout_s), check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join((*inside, *command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def ip_batch(self, ns: str, *lines: str) -> None:
        """Run `ip LINE` for each, in one process."""
        self.run("", "ip", "-n", ns, "-batch", "-", stdin="\n".join(lines))

    def ip_json(self, ns: str, *arguments: str) -> list[dict[str, Any]]:
        """Give what `ip -json ARGUMENTS` lists in the namespace, as for ("-details", "link", "show")."""
        option = ("-n", ns) if ns else ()
        found: list[dict[str, Any]] = json.loads(self.run("", "ip", *option, "-json", *arguments).stdout or "[]")
        return found

    def ip_jsons(self, ns: str, *commands: str, options: tuple[str, ...] = ("-details",)) -> list[list[dict[str, Any]]]:
        """Give what `ip -json COMMAND` lists for each, in one process. options: as ("-details", "-6"), for all of them."""
        named = ("-n", ns) if ns else ()
        listed = self.run("", "ip", *named, "-json", *options, "-batch", "-", stdin="\n".join(commands)).stdout
        found = [json.loads(line) for line in listed.splitlines()]
        assert len(found) == len(commands), f"{commands}: {listed}"
        return found

    def filter_bridged(self, ns: str, *, is_filtered: bool) -> None:
        """Have the inet family see bridged packets too, or not; nothing where the kernel has no br_netfilter."""
        if BRIDGE_NETFILTER.exists():
            names = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables")
            self.run(ns, "sysctl", "-qw", *(f"net.bridge.{name}={int(is_filtered)}" for name in names))

    def links(self, ns: str) -> list[str]:
        """Names of all links, sorted."""
        with self.inside(ns):
            return sorted(name for _, name in socket.if_nameindex())

    def default_gateway(self, ns: str, family: str = "-4") -> str | None:
        for route in self.ip_json(ns, family, "route", "show", "default"):
            return str(route.get("gateway"))
        return None

    @contextlib.contextmanager
    def inside(self, ns: str) -> Iterator[None]:
        """Put the calling thread into the namespace meanwhile; sockets made there stay there."""
        if not ns:
            yield
            return
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            until(lambda: _enter(self.path(ns)), every_s=0.002)
            try:
                yield
            finally:
                set_network_namespace(own)
        finally:
            os.close(own)

    def ping(self, ns: str, target: str, *, deadline_s: float = 10.0, size_bytes: int | None = None) -> bool:
        """Tell whether `target` answers before the deadline. With `size_bytes` of payload, never fragmented.

        For the proof that it does not answer give a short deadline, 1 s at least: ping counts in whole seconds.
        """
        size = () if size_bytes is None else ("-M", "do", "-s", str(size_bytes))
        command = ("ping", "-n", "-q", "-c", "1", "-W", "1", *size, target)
        if _is_name(target):  # which leads to an address by the files of /etc/netns
            return eventually(lambda: self.run(ns, *command, check=False).returncode == 0, deadline_s - 1)
        return eventually(lambda: self._answers(ns, command), deadline_s - 1)

    def _answers(self, ns: str, command: Sequence[str]) -> bool:
        """Run it in the network namespace alone, without mounts of its own: half of what `ip netns exec` costs."""
        with (
            contextlib.suppress(FileNotFoundError),
            self.inside(ns),
        ):  # who waits for an answer may wait for the sandbox too
            return subprocess.run(command, capture_output=True, timeout=patient(30), check=False).returncode == 0
        return False

    @contextlib.contextmanager
    def tcp_server(self, ns: str, address: str = "::", port: int = 0) -> Iterator[int]:
        """Serve TCP meanwhile and give the port. Clients are told the address they were seen with; "::" serves IPv4 as well."""
        with self._socket(ns, address, socket.SOCK_STREAM) as server:
            server.bind((address, port))
            server.listen(64)
            with _thread(lambda: _tell_tcp_clients_their_address(server)):
                yield server.getsockname()[1]
                server.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def udp_server(self, ns: str, address: str, port: int = 0) -> Iterator[int]:
        """As tcp_server, by datagrams. Needs a definite address or "0.0.0.0"/"::", of which the latter serves IPv4 as well."""
        with self._socket(ns, address, socket.SOCK_DGRAM) as server:
            server.bind((address, port))
            stop = threading.Event()
            server.settimeout(0.05)
            with _thread(lambda: _tell_udp_clients_their_address(server, stop)):
                yield server.getsockname()[1]
                stop.set()

    def tcp(self, ns: str, address: str, port: int, *, deadline_s: float = 10.0) -> str | None:
        """Connect and give the address that the server saw; None when nobody answered before the deadline."""
        return self._ask(ns, address, port, socket.SOCK_STREAM, deadline_s)

    def udp(self, ns: str, address: str, port: int, *, deadline_s: float = 10.0) -> str | None:
        """Send datagrams until one is answered; otherwise as tcp()."""
        return self._ask(ns, address, port, socket.SOCK_DGRAM, deadline_s)

    def _ask(self, ns: str, address: str, port: int, kind: socket.SocketKind, deadline_s: float) -> str | None:
        deadline = Deadline(deadline_s)
        while (left_s := deadline.left_s) > 0:
            with self._socket(ns, address, kind) as client, contextlib.suppress(OSError):
                client.settimeout(left_s if kind == socket.SOCK_STREAM else min(left_s, 0.2))
                client.connect((address, port))
                client.send(b"who am I?")
                answer = client.recv(1024).decode() or None
                deadline.met()
                return answer
            time.sleep(0.02)
        return None

    def _socket(self, ns: str, address: str, kind: socket.SocketKind) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside(ns):
            made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return made

    def clean(self) -> None:
        """Remove every named namespace and all files of the test outside its own folder."""
        for entry in self.netns_dir.iterdir():
            unmount(entry)
            entry.unlink()
        shutil.rmtree(self.etc_netns_dir, ignore_errors=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def leaks(self) -> list[str]:
        """Name what a test left in the namespace that stands for the real machine, or holds open in this process."""
        found = [f"link {name}" for name in self.links("") if name != "lo"]
        if _has_tables():
            found += [f"nft {line}" for line in self.run("", "nft", "list", "tables").stdout.splitlines()]
        if Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() != "0":
            found.append("net.ipv4.ip_forward is on")
        if STATE_FOLDER.exists() and not _WAS_THERE:
            found.append(f"{STATE_FOLDER}, where a true host's state is")
        return found + [f"open file {target}" for target in _open_namespaces()]


def _is_name(target: str) -> bool:
    try:
        ip_address(target.partition("%")[0])
    except ValueError:
        return True
    return False


def _make_namespace(path: Path) -> None:
    """Mount a new namespace on a file. It is made by a thread that ends with that, as the others stay where they are."""
    failures: list[OSError] = []

    def make() -> None:
        try:
            unshare(CLONE_NEWNET)
            mount("/proc/thread-self/ns/net", str(path), None, MS_BIND)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    for failure in failures:
        raise failure


def _has_tables() -> bool:
    """Say whether this thread's namespace has tables of nftables, of which the kernel lists each (linux/netfilter/nf_tables.h)."""
    request = struct.pack("=IHHIIBBH", 20, _NFT_GETTABLE, _NLM_F_REQUEST_DUMP, 1, 0, socket.AF_UNSPEC, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as door:
        door.send(request)
        (kind,) = struct.unpack_from("=H", door.recv(1 << 16), 4)
    return bool(kind == _NFT_NEWTABLE)


def _enter(path: Path) -> bool:
    """Move this thread into the namespace; say no while the file is there and the namespace is not yet mounted on it."""
    other = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        set_network_namespace(other)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    finally:
        os.close(other)
    return True


def _runs(ifname: str) -> bool:
    """Say whether the link of this thread's namespace has a carrier and the kernel has told all who follow it."""
    return bool(_flags(ifname) & _IFF_RUNNING)


def _has_link_local(ifname: str) -> bool:
    """Say whether the link has its address of fe80::/10, no longer tentative, with its route, or is to have none.

    The route comes last, a moment after the address counts as ready.
    """
    if Path(f"/proc/sys/net/ipv6/conf/{ifname}/disable_ipv6").read_text().strip() == "1":
        return True
    lines = (line.split() for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines())
    ready = {
        line[0]
        for line in lines
        if line[5] == ifname and line[3] == _SCOPE_LINK and not int(line[4], 16) & _IFA_F_TENTATIVE
    }
    return bool(ready) and any(
        line.startswith(tuple(ready)) and line.split()[1] == _PREFIX_OF_ONE and line.split()[-1] in (ifname, "lo")
        for line in Path("/proc/thread-self/net/ipv6_route").read_text().splitlines()
    )


def _raise(ifname: str) -> None:
    """Set the link of this thread's namespace up."""
    _flags(ifname, _SIOCSIFFLAGS, _flags(ifname) | _IFF_UP)


def _flags(ifname: str, request: int = _SIOCGIFFLAGS, flags: int = 0) -> int:
    """Ask for the flags of a link, or set them (netdevice(7)); no process is started for that."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        answer = fcntl.ioctl(door, request, struct.pack("16sH14x", ifname.encode(), flags))
    found: int = struct.unpack("16xH14x", answer)[0]
    return found


def _open_namespaces() -> Iterator[str]:
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(fd)
            if target.startswith("net:["):
                yield target


@contextlib.contextmanager
def _thread(work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(patient(5))


def _tell_tcp_clients_their_address(server: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the listening socket was shut down
        while True:
            client, address = server.accept()
            with client, contextlib.suppress(OSError):
                client.settimeout(patient(1))
                client.recv(1024)
                client.sendall(_plain(address[0]))


def _tell_udp_clients_their_address(server: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError, ConnectionError):
            _, address = server.recvfrom(1024)
            server.sendto(_plain(address[0]), address)


def _plain(address: str) -> bytes:
    return address.removeprefix("::ffff:").encode()
