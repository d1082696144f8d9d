"""The embedded server in private namespaces, asked by real clients."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import dns.message
import pytest
from msgspec.structs import replace

from reconciler.dns import control, launch
from reconciler.dns.changes import zone_changes
from reconciler.dns.stream import STREAMS_SANDBOX_MAX
from reconciler.dns.upstream import IN_FLIGHT_SANDBOX_MAX
from reconciler.dns.zones import NetworkZone, SandboxZone, ServedEndpoint, zones_digest
from reconciler.errors import ResolverError
from reconciler.model.identifiers import NsRef
from reconciler.model.zone_rows import ZoneRows
from tests.fakes.zones import Zones, zone_rows
from tests.kernel.dns_upstream import Behaviour, Upstream, garbage, lies, silence, truth
from tests.machine import Machine
from tests.waiting import eventually, has_ended, patient, within

pytestmark = pytest.mark.kernel

STUB, SECOND = "127.0.0.53", "127.0.0.54"
SERVER = ("127.0.0.11", 53)


def endpoint(name: str, *addresses: str, names: tuple[str, ...] = ()) -> ServedEndpoint:
    return ServedEndpoint(
        name=name, names=(name, *names), addresses=tuple(map(ip_address, addresses)), ports=((80, 80, "tcp"),)
    )


FRONT = NetworkZone(
    name="front",
    endpoints=(
        endpoint("web", "172.21.0.2", names=("www",)),
        endpoint("web2", "172.21.0.3", "fd00::3", names=("www",)),
    ),
)
BACK = NetworkZone(name="back", endpoints=(endpoint("db", "172.22.0.2"), endpoint("web", "172.22.0.3")))


def sandbox(name: str, *networks: str, servers: tuple[str, ...] = (), is_external: bool = True) -> SandboxZone:
    return SandboxZone(
        name=name,
        ns=NsRef(f"netns:{name}"),
        networks=networks,
        servers=tuple(map(ip_address, servers)),
        is_external=is_external,
    )


ZONES = Zones(
    networks=(BACK, FRONT),
    sandboxes=(sandbox("a", "front"), sandbox("b", "front", "back")),
    host_servers=(ip_address(STUB),),
)


@dataclass(slots=True, kw_only=True)
class Resolver:
    """A server for the namespaces of one test."""

    machine: Machine
    zones: Zones = field(default_factory=lambda: ZONES)

    @property
    def run_dir(self) -> Path:
        return self.machine.run_dir

    def start(self) -> None:
        launch.ensure_server(self.run_dir, self.machine.netns_dir)

    def publish(self, zones: Zones) -> Mapping[str, str]:
        self.zones = zones
        return launch.publish_zones(self.run_dir, zone_rows(zones).text()).failures

    @property
    def status(self) -> control.Document:
        return control.ask(self.run_dir, "status")

    @property
    def pid(self) -> int:
        return int(str(self.status["pid"]))

    def dig(self, ns: str, *arguments: str) -> list[str]:
        """Give the answers' data, sorted; the response code when there are none, nothing when there is no reply."""
        command = ("dig", "+noall", "+answer", "+comments", "+tries=1", "+time=14", f"@{SERVER[0]}", *arguments)
        lines = self.machine.run(ns, *command, check=False).stdout.splitlines()
        answers = sorted(line.split("\t")[-1] for line in lines if line and not line.startswith(";"))
        codes = [line.split("status: ")[1].split(",")[0] for line in lines if "status: " in line]
        return answers or codes

    @contextlib.contextmanager
    def client(self, ns: str, kind: socket.SocketKind = socket.SOCK_DGRAM) -> Iterator[socket.socket]:
        with self.machine.inside(ns):
            made = socket.socket(socket.AF_INET, kind)
        with made:
            made.settimeout(patient(5))
            made.connect(SERVER)
            yield made

    def memory_kb(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])


@pytest.fixture
def resolver(machine: Machine) -> Iterator[Resolver]:
    for ns in ("a", "b"):
        machine.add_namespace(ns)
    made = Resolver(machine=machine)
    made.start()
    try:
        assert made.publish(ZONES) == {}
        yield made
    finally:
        pid = made.pid if launch.running_server(made.run_dir) else 0
        launch.stop_server(made.run_dir)
        assert not pid or eventually(lambda: has_ended(pid))


@contextlib.contextmanager
def upstream(resolver: Resolver, behave: Behaviour, address: str = STUB, ns: str = "") -> Iterator[Upstream]:
    with Upstream(resolver.machine, ns, address, behave).running() as running:
        yield running


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (("web",), ["172.21.0.2"]),
        (("WWW",), ["172.21.0.2", "172.21.0.3"]),
        (("web2", "AAAA"), ["fd00::3"]),
        (("web", "AAAA"), ["NOERROR"]),
        (("web.back",), ["172.22.0.3"]),
        (("db",), ["172.22.0.2"]),
        (("-x", "172.22.0.2"), ["db.back."]),
        (("_80._tcp.web2", "SRV"), ["0 0 80 web2.front."]),
        (("web", "CH", "TXT"), ["NOERROR"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_dig_gets_the_answer(
    resolver: Resolver, transport: str, question: tuple[str, ...], expected: list[str]
) -> None:
    assert resolver.dig("b", transport, *question) == expected


def test_names_of_other_networks_are_not_seen(resolver: Resolver) -> None:
    assert resolver.dig("a", "db") == ["SERVFAIL"]
    assert resolver.dig("a", "web.back") == ["SERVFAIL"]


@pytest.mark.parametrize(
    "command",
    [("getent", "hosts", "web"), ("busybox", "nslookup", "web")],
    ids=["glibc", "busybox"],
)
def test_ordinary_programs_find_the_name(resolver: Resolver, command: tuple[str, ...]) -> None:
    folder = resolver.machine.etc_netns_dir / "a"
    folder.mkdir(parents=True)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.11\noptions ndots:0\n")

    done = resolver.machine.run("a", *command, check=False)

    assert "172.21.0.2" in done.stdout + done.stderr


NSLOOKUP = """\
Server:\t\t127.0.0.11
Address:\t127.0.0.11:53

Non-authoritative answer:

Non-authoritative answer:
Name:\tweb
Address: 172.21.0.2
"""


def test_busybox_prints_what_it_prints_with_the_original_engine(resolver: Resolver) -> None:
    """Up to the order of its two questions' answers, which in the recording differs from run to run as well."""
    folder = resolver.machine.etc_netns_dir / "a"
    folder.mkdir(parents=True)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.11\noptions ndots:0\n")

    printed = resolver.machine.run("a", "busybox", "nslookup", "web").stdout

    assert sorted(filter(None, printed.splitlines())) == sorted(filter(None, NSLOOKUP.splitlines()))


def test_sandbox_is_served_once_its_loopback_is_up(resolver: Resolver) -> None:
    resolver.machine.run("", "ip", "netns", "add", "dark")
    failures = resolver.publish(replace(ZONES, sandboxes=(*ZONES.sandboxes, sandbox("dark", "front"))))

    resolver.machine.run("dark", "ip", "link", "set", "lo", "up")

    assert "loopback interface is down" in failures["dark"]
    assert eventually(lambda: resolver.dig("dark", "+time=1", "web") == ["172.21.0.2"], deadline_s=10, every_s=0.2)


def test_new_zones_are_in_force_when_publishing_returns(resolver: Resolver) -> None:
    resolver.dig("a", "web")
    moved = NetworkZone(name="front", endpoints=(endpoint("web", "172.21.0.99"),))

    resolver.publish(replace(ZONES, networks=(BACK, moved)))

    assert resolver.dig("a", "web") == ["172.21.0.99"]
    assert resolver.dig("b", "www") == ["SERVFAIL"]


def test_sandbox_that_is_gone_from_the_zones_is_served_no_more(resolver: Resolver) -> None:
    resolver.publish(replace(ZONES, sandboxes=ZONES.sandboxes[1:]))

    with resolver.client("a") as client:
        client.send(b"anything")
        with pytest.raises(ConnectionRefusedError):
            client.recv(512)
    assert resolver.status["sandboxes"] == 1


def test_absent_sandbox_harms_only_itself(resolver: Resolver) -> None:
    failures = resolver.publish(replace(ZONES, sandboxes=(sandbox("a", "front"), sandbox("absent", "front"))))

    assert list(failures) == ["absent"]
    assert "No such file" in failures["absent"]
    assert resolver.dig("a", "web") == ["172.21.0.2"]


def test_taken_port_is_reported(resolver: Resolver) -> None:
    resolver.machine.add_namespace("taken")
    with resolver.machine.inside("taken"):
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with other:
        other.bind(("0.0.0.0", 53))

        failures = resolver.publish(replace(ZONES, sandboxes=(sandbox("taken", "front"),)))

    assert "Address already in use" in failures["taken"]


def test_hosts_own_namespace_is_never_served(resolver: Resolver) -> None:
    own = SandboxZone(name="own", ns=NsRef(f"path:/proc/{os.getpid()}/ns/net"), networks=("front",))

    assert "host's own namespace" in resolver.publish(replace(ZONES, sandboxes=(own,)))["own"]


def test_replaced_namespace_is_served_by_itself(resolver: Resolver) -> None:
    resolver.machine.delete_namespace("a")
    resolver.machine.add_namespace("a")

    assert eventually(lambda: resolver.dig("a", "+time=1", "web") == ["172.21.0.2"], deadline_s=10, every_s=0.2)


def test_deleted_namespace_is_let_go(resolver: Resolver) -> None:
    inode = os.stat(resolver.machine.path("a")).st_ino
    resolver.machine.delete_namespace("a")

    def is_held() -> bool:
        return f"net:[{inode}]" in {os.readlink(fd) for fd in Path(f"/proc/{resolver.pid}/fd").iterdir()}

    assert eventually(lambda: resolver.status["sandboxes"] == 1 and not is_held(), deadline_s=10, every_s=0.1)


def test_server_says_which_zones_are_in_force(resolver: Resolver) -> None:
    running = launch.running_server(resolver.run_dir)

    assert running is not None
    assert running.digest == zones_digest(zone_rows(ZONES).text())
    assert running.failures == {}


def test_server_is_given_nothing_secret(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    launch.stop_server(resolver.run_dir)
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "secret")

    resolver.start()

    assert b"secret" not in Path(f"/proc/{resolver.pid}/environ").read_bytes()


def test_second_start_finds_the_first(resolver: Resolver) -> None:
    pid = resolver.pid

    resolver.start()

    assert resolver.pid == pid


def test_server_that_was_killed_is_followed_by_one_that_knows_its_zones(resolver: Resolver) -> None:
    pid = resolver.pid
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: has_ended(pid))

    resolver.start()

    assert resolver.dig("a", "web") == ["172.21.0.2"]


def test_server_can_be_started_again_right_after_it_was_stopped(resolver: Resolver) -> None:
    pid = resolver.pid
    for _ in range(5):
        launch.stop_server(resolver.run_dir)
        resolver.start()

    assert resolver.pid != pid
    assert resolver.dig("a", "web") == ["172.21.0.2"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["terminate", "interrupt"])
def test_signal_ends_the_server(resolver: Resolver, number: signal.Signals) -> None:
    pid = resolver.pid
    os.kill(pid, number)

    assert eventually(lambda: has_ended(pid))
    assert not launch.running_server(resolver.run_dir)


def test_server_whose_folder_was_taken_away_ends(resolver: Resolver) -> None:
    pid = resolver.pid
    shutil.rmtree(resolver.run_dir)

    assert eventually(lambda: has_ended(pid))


def test_request_that_is_unknown_is_refused(resolver: Resolver) -> None:
    with pytest.raises(ResolverError, match="'dance' is none of status, reload, change, follow, stop, hand over"):
        control.ask(resolver.run_dir, "dance")


def test_orders_of_other_users_are_not_taken_although_they_reach_the_socket(resolver: Resolver) -> None:
    place = control.folder(resolver.run_dir) / control.SOCKET_FILE
    for path in (*place.parents[:2], place):
        path.chmod(0o777)
    order = control.encode({"do": "stop"})

    def answered(uid: int) -> bool:
        """Tell whether a process of this user gets an answer."""
        child = os.fork()
        if not child:
            code = 2
            try:
                os.setuid(uid)
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
                    asking.connect(str(place))
                    asking.settimeout(patient(5))
                    code = 1
                    with contextlib.suppress(
                        BrokenPipeError, ConnectionResetError
                    ):  # hung up before or after it was sent
                        asking.send(order if uid else control.encode({"do": "status"}))
                        code = int(not asking.recv(control.MESSAGE_MAX))
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 1), "could not ask"
        return code == 0

    pid = resolver.pid
    assert (answered(0), answered(65534)) == (True, False)
    assert resolver.pid == pid


def test_server_that_is_absent_is_one_clear_error(machine: Machine) -> None:
    with pytest.raises(ResolverError, match=r"embedded DNS server in .*: status: No such file"):
        control.ask(machine.run_dir, "status")


def test_unreadable_zones_leave_those_in_force(resolver: Resolver) -> None:
    with pytest.raises(ResolverError, match="cannot be read"):
        launch.publish_zones(resolver.run_dir, "{")

    assert resolver.dig("a", "web") == ["172.21.0.2"]


def test_server_takes_a_change_and_reads_the_file_where_it_is_about_other_zones(resolver: Resolver) -> None:
    def moved(address: str) -> ZoneRows:
        return zone_rows(replace(ZONES, networks=(NetworkZone(name="front", endpoints=(endpoint("web", address),)),)))

    def tell(rows: ZoneRows, before: ZoneRows) -> str:
        changes = zone_changes(before, zones_digest(before.text()), rows, zones_digest(rows.text()))
        return launch.publish_zones(resolver.run_dir, rows.text(), changes).digest

    first, second = moved("172.21.0.98"), moved("172.21.0.99")

    assert tell(first, zone_rows(ZONES)) == zones_digest(first.text())
    assert resolver.dig("a", "web") == ["172.21.0.98"]
    assert tell(second, ZoneRows()) == zones_digest(second.text())
    assert resolver.dig("a", "web") == ["172.21.0.99"]
    for nonsense in (
        {"networks": {"front": [9, 9, []]}},
        {"networks": {"front": None}, "to": 1},
        {"sandboxes": {"a": 3}},
    ):
        with contextlib.suppress(ResolverError):
            control.ask(resolver.run_dir, "change", more={"from": zones_digest(second.text()), **nonsense})
    assert resolver.dig("a", "web") == ["172.21.0.99"]


def test_hangup_signal_reads_the_zones_again(resolver: Resolver) -> None:
    moved = NetworkZone(name="front", endpoints=(endpoint("web", "172.21.0.98"),))
    file = control.folder(resolver.run_dir) / control.ZONES_FILE
    file.write_text(zone_rows(replace(ZONES, networks=(moved,))).text())

    os.kill(resolver.pid, signal.SIGHUP)

    assert eventually(lambda: resolver.dig("a", "web") == ["172.21.0.98"])


def test_server_keeps_only_what_it_needs_of_its_privileges(resolver: Resolver) -> None:
    status = Path(f"/proc/{resolver.pid}/status").read_text()

    kept = {
        line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith(("Cap", "NoNewPrivs"))
    }
    assert kept["CapEff"] == kept["CapPrm"] == kept["CapBnd"] == f"{1 << 10 | 1 << 19 | 1 << 21:016x}"
    assert kept["NoNewPrivs"] == "1"


NEXT_VERSION = """
import sys
from reconciler.dns import server
server.__version__ = "999"
import reconciler.dns.service
reconciler.dns.service.__version__ = "999"
sys.exit(server.main(sys.argv[1:]))
"""


def test_next_version_takes_over_without_losing_a_question(resolver: Resolver) -> None:
    old = resolver.pid
    is_over = threading.Event()
    replies: list[bytes] = []

    def keep_asking() -> None:
        with resolver.client("a") as client:
            while not is_over.is_set():
                client.send(dns.message.make_query("web", "A").to_wire())
                replies.append(client.recv(512))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    folders = ("--run-dir", str(resolver.run_dir), "--netns-dir", str(resolver.machine.netns_dir))
    subprocess.run([sys.executable, "-c", NEXT_VERSION, "--detach", *folders], check=True, timeout=patient(20))
    assert eventually(lambda: has_ended(old))
    count = len(replies)
    assert eventually(lambda: len(replies) > count + 10)
    is_over.set()
    asking.join(patient(6))

    assert not asking.is_alive()
    assert {reply[3] & 0xF for reply in replies} == {0}
    assert resolver.pid != old
    assert resolver.status["version"] == "999"
    assert resolver.publish(ZONES) == {}

    later = resolver.pid  # it has its lock and its socket of the one before
    os.kill(later, signal.SIGSTOP)
    resolver.start()

    assert has_ended(later)
    assert resolver.dig("a", "web") == ["172.21.0.2"]


@pytest.mark.parametrize(("option", "transport"), [("+notcp", "udp"), ("+tcp", "tcp")], ids=["udp", "tcp"])
def test_stranger_is_asked_of_the_hosts_stub_by_the_same_transport(
    resolver: Resolver, option: str, transport: str
) -> None:
    with upstream(resolver, truth()) as server:
        assert resolver.dig("a", option, "example.org") == ["198.51.100.7"]

    assert [how for how, _ in server.queries] == [transport]


def test_own_server_is_asked_from_inside_the_sandbox(resolver: Resolver) -> None:
    resolver.publish(
        replace(ZONES, sandboxes=(sandbox("a", "front", servers=("127.0.0.99", "::1"), is_external=False),))
    )

    with upstream(resolver, truth("198.51.100.9"), "::1", "a"), upstream(resolver, truth()):
        assert resolver.dig("a", "example.org") == ["198.51.100.9"]


def test_internal_sandbox_is_told_at_once_that_nobody_can_be_asked(resolver: Resolver) -> None:
    resolver.publish(replace(ZONES, sandboxes=(sandbox("a", "front", is_external=False),)))

    with upstream(resolver, truth()) as server:
        assert resolver.dig("a", "example.org") == ["SERVFAIL"]

    assert server.queries == []


FAILING = {
    "servfail": (truth(rcode=2), "+notcp"),
    "refused": (truth(rcode=5), "+notcp"),
    "servfail by tcp": (truth(rcode=2), "+tcp"),
    "garbage": (garbage, "+notcp"),
    "garbage by tcp": (garbage, "+tcp"),
    "nobody there": (None, "+notcp"),
    "nobody there by tcp": (None, "+tcp"),
}


@pytest.mark.parametrize(("first", "transport"), FAILING.values(), ids=FAILING)
def test_next_server_is_asked_at_once_when_one_fails(
    resolver: Resolver, first: Behaviour | None, transport: str
) -> None:
    resolver.publish(replace(ZONES, host_servers=(ip_address(STUB), ip_address(SECOND))))

    answering = upstream(resolver, first) if first else contextlib.nullcontext()
    with answering, upstream(resolver, truth(), SECOND), within(3.5):  # a silent one is given four seconds
        assert resolver.dig("a", transport, "example.org") == ["198.51.100.7"]


def test_last_refusal_is_passed_on(resolver: Resolver) -> None:
    with upstream(resolver, truth(rcode=5)):
        assert resolver.dig("a", "example.org") == ["REFUSED"]


def test_unknown_domain_is_final(resolver: Resolver) -> None:
    resolver.publish(replace(ZONES, host_servers=(ip_address(STUB), ip_address(SECOND))))

    with upstream(resolver, truth(rcode=3)), upstream(resolver, truth(), SECOND):
        assert resolver.dig("a", "example.org") == ["NXDOMAIN"]


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_silent_server_is_left_after_four_seconds(resolver: Resolver, transport: str) -> None:
    resolver.publish(replace(ZONES, host_servers=(ip_address(STUB), ip_address(SECOND))))
    started = time.monotonic()

    with upstream(resolver, silence), upstream(resolver, truth(), SECOND), within(10):
        assert resolver.dig("a", transport, "example.org") == ["198.51.100.7"]

    assert time.monotonic() - started > 3.9


def test_lies_are_not_believed(resolver: Resolver) -> None:
    with upstream(resolver, lies):
        assert resolver.dig("a", "example.org") == ["198.51.100.7"]


def test_ids_sent_outside_are_not_the_askers(resolver: Resolver) -> None:
    asked = [dns.message.make_query(f"n{number}.example", "A", id=7).to_wire() for number in range(20)]
    with upstream(resolver, truth()) as server, resolver.client("a") as client:
        for message in asked:
            client.send(message)
            assert client.recv(512)[:2] == message[:2]

    assert len({message[:2] for _, message in server.queries}) > 15


def test_truncated_reply_is_passed_on_and_the_client_comes_back_by_tcp(resolver: Resolver) -> None:
    def behave(message: bytes) -> list[bytes]:
        is_first = [how for how, _ in server.queries] == ["udp"]
        return truth(truncated=is_first, count=1 if is_first else 60)(message)

    with upstream(resolver, behave) as server:
        assert len(resolver.dig("a", "example.org")) == 60

    assert [how for how, _ in server.queries] == ["udp", "tcp"]


def test_hanging_server_uses_up_only_the_askers_own_share(resolver: Resolver) -> None:
    query = dns.message.make_query("example.org", "A").to_wire()
    with upstream(resolver, silence) as server, resolver.client("a") as greedy:
        for _ in range(IN_FLIGHT_SANDBOX_MAX + 50):
            greedy.send(query)
        refused = [greedy.recv(512)[3] & 0xF for _ in range(50)]
        assert eventually(lambda: resolver.status["in_flight"] == IN_FLIGHT_SANDBOX_MAX)

        assert refused == [5] * 50
        assert resolver.dig("a", "web") == ["172.21.0.2"]
        server.behave = truth()
        assert resolver.dig("b", "example.org") == ["198.51.100.7"]


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def received(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def read_frame(client: socket.socket) -> bytes:
    return received(client, int.from_bytes(received(client, 2), "big"))


def test_several_questions_on_one_stream_are_answered_in_order(resolver: Resolver) -> None:
    messages = [dns.message.make_query(name, "A").to_wire() for name in ("web", "example.org", "web2")]
    with upstream(resolver, truth()), resolver.client("a", socket.SOCK_STREAM) as client:
        client.sendall(b"".join(map(framed, messages)))
        client.shutdown(socket.SHUT_WR)

        assert [read_frame(client)[:2] for _ in messages] == [message[:2] for message in messages]
        assert client.recv(1) == b""


def test_question_that_comes_byte_by_byte_is_answered(resolver: Resolver) -> None:
    with resolver.client("a", socket.SOCK_STREAM) as client:
        for byte in framed(dns.message.make_query("web", "A").to_wire()):
            client.sendall(bytes((byte,)))

        assert dns.message.from_wire(read_frame(client)).answer


@pytest.mark.parametrize(
    "data", [b"\xff\xff" + b"x" * 100, b"\0\0", b"\0\x0b" + b"x" * 11], ids=["oversized", "empty", "too short"]
)
def test_stream_that_makes_no_sense_is_closed(resolver: Resolver, data: bytes) -> None:
    with resolver.client("a", socket.SOCK_STREAM) as client:
        client.sendall(data)

        with contextlib.suppress(ConnectionResetError):
            assert client.recv(10) == b""


def test_client_that_leaves_takes_its_question_with_it(resolver: Resolver) -> None:
    with upstream(resolver, silence):
        with resolver.client("a", socket.SOCK_STREAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(framed(dns.message.make_query("example.org", "A").to_wire()))
            assert eventually(lambda: resolver.status["in_flight"] == 1)

        assert eventually(lambda: resolver.status["in_flight"] == 0, deadline_s=2)


def test_ten_thousand_half_open_clients_of_one_sandbox_leave_the_others_unaffected(resolver: Resolver) -> None:
    before_kb = resolver.memory_kb()
    with contextlib.ExitStack() as clients:
        for number in range(10_000):
            with resolver.machine.inside("a"):
                client = clients.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            client.setblocking(False)
            client.connect_ex(SERVER)
            if number % 2:
                with contextlib.suppress(OSError):
                    client.send(b"\0")
            if number % 2000 == 0:
                assert resolver.dig("b", "+tcp", "+time=2", "web") == ["172.21.0.2"]

        assert resolver.dig("b", "+tcp", "+time=2", "web") == ["172.21.0.2"]
        assert resolver.dig("a", "+time=2", "web") == ["172.21.0.2"]
        assert int(str(resolver.status["streams"])) <= STREAMS_SANDBOX_MAX
        assert resolver.memory_kb() - before_kb < 10_000


def test_flood_of_one_sandbox_leaves_the_others_answered(resolver: Resolver) -> None:
    query = dns.message.make_query("web", "A").to_wire()
    is_over = threading.Event()

    def flood() -> None:
        with resolver.client("a") as client:
            client.setblocking(False)
            while not is_over.is_set():
                with contextlib.suppress(BlockingIOError):
                    client.send(query)

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        with resolver.client("b") as client:
            for _ in range(200):
                client.send(query)
                assert client.recv(512)[:2] == query[:2]
    finally:
        is_over.set()
        flooding.join()


def test_nothing_is_left_open_after_much_traffic(resolver: Resolver) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{resolver.pid}/fd").iterdir()))

    before = descriptors()
    with upstream(resolver, truth()):
        for number in range(30):
            for name in ("web", f"n{number}.example"):
                message = framed(dns.message.make_query(name, "A").to_wire())
                with resolver.client("a", socket.SOCK_STREAM) as client:
                    client.sendall(message)
                    assert read_frame(client)
                with resolver.client("b") as client:
                    client.send(message[2:])
                    assert client.recv(512)
            for kept in (1, 2):
                resolver.publish(replace(ZONES, sandboxes=ZONES.sandboxes[:kept]))

    assert eventually(lambda: descriptors() == before)


def test_random_datagrams_are_survived(resolver: Resolver) -> None:
    pid = resolver.pid
    with resolver.client("a") as client:
        for size in range(2000):
            client.send(os.urandom(size % 700))

    assert resolver.dig("a", "web") == ["172.21.0.2"]
    assert resolver.pid == pid
