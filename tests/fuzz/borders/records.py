"""What stores hold and answer: records of all kinds, and the answers of each kind of store."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from reconciler.cluster.nodes import node_rows
from reconciler.cluster.reading import NAMES_MAX
from reconciler.cluster.records import claims, endpoint_record, info_record
from reconciler.errors import KvError
from reconciler.http.headers import Headers
from reconciler.ipam.adoption_record import adoption_record
from reconciler.kinds.kv_record import RecordReader, decode_records
from reconciler.kv.config import Endpoint, Provider, StoreConfig
from reconciler.kv.consul import ConsulStore
from reconciler.kv.etcd import EtcdStore
from reconciler.kv.fail_over import StoreResponse
from reconciler.kv.protocol import Batch, KvEntry, is_key
from reconciler.kv.zookeeper_tree import Tree
from reconciler.model.adoption import Found
from reconciler.model.objects import ClusterRecord
from reconciler.sandbox.readings import Reading
from tests.fakes.cluster import decoded, endpoint, node, stored, texts
from tests.fuzz.target import Form, Target, listed

_RECORDED: Final = Path(__file__).parent.parent.parent / "upgrade" / "0.1.0"
_AT: Final = Endpoint("192.0.2.1", 1)


# --- records


def _records(data: bytes) -> dict[str, str]:
    """Read an object of records by path: texts, or what is put as JSON. What is none is one record of a host."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return {"nodes/beta/info": data.decode(errors="replace")}
    return {path: value if isinstance(value, str) else json.dumps(value) for path, value in found.items()}


def _shown(records: Mapping[str, str]) -> bytes:
    return json.dumps({path: json.loads(text) for path, text in records.items()}).encode()


def _cluster_seeds() -> Iterator[bytes]:
    yield (_RECORDED / "cluster.json").read_bytes()
    beside = texts(endpoint_record(endpoint("web"), "beta", ["web"]), info_record(node("gamma", is_watched=True)))
    yield _shown({**stored("alpha", "beta"), **beside})
    many = texts(endpoint_record(endpoint("web"), "beta", [f"a{number}" for number in range(NAMES_MAX + 1)]))
    yield _shown({**stored("alpha", "beta"), **many})


def _run_cluster(data: bytes) -> None:
    """Read what a cluster's store holds: what is right stays, faults are bounded, and a record harms itself alone."""
    records = _records(data)
    state = decoded(records, followed=("over", "front"))
    assert len(state.faults) < 200
    assert all(len(each.names) <= NAMES_MAX for network in state.networks.values() for each in network.endpoints)
    _assert_plain(state.faults)
    node_rows(records, "nodes/")
    for path, text in records.items():
        claims(ClusterRecord(path=path, value=text))
    good = {**stored("omega"), **texts(endpoint_record(endpoint("db", "10.0.9.77/24"), "omega", ["db"]))}
    fresh = {path: text for path, text in records.items() if not path.startswith(("network", "nodes/omega"))}
    assert "omega" in decoded({**fresh, **good}).nodes


def _assert_plain(lines: Sequence[str]) -> None:
    for line in lines:
        assert len(line) < 1000, f"{len(line)} characters"
        assert line.isprintable(), ascii(line)


def _own_seeds() -> Iterator[bytes]:
    from contextlib import closing
    from tempfile import TemporaryDirectory

    from reconciler.kv.sqlite import open_sqlite

    with TemporaryDirectory() as folder:
        copy = Path(folder, "state.db")
        copy.write_bytes((_RECORDED / "state.db").read_bytes())
        with closing(open_sqlite(copy)) as store:
            entries = {entry.key: json.loads(entry.value) for entry in store.list("")}
    yield json.dumps(entries).encode()
    reading = Reading(ns="netns:a", name="net/ipv4/ip_forward", typed="1", given="1")  # type: ignore[arg-type]
    found = Found(
        network="lan", ifname="br-lan", ifindex=7, mac="02:42:00:00:00:01", mtu=1500, is_up=True, has_ipv6=True,
        promotes_secondaries=False, alias="", group=0, addresses=("10.0.0.1/24",), ports=("eth1",),
    )  # fmt: skip
    adopted = adoption_record(found)
    told = {"network": "p", "driver": "plug", "id": "0" * 64, "is_complete": True}
    yield json.dumps(
        {
            reading.path: json.loads(reading.text()),
            adopted.path: json.loads(adopted.value),
            "plugin/plugin-network/p": {"told": told, "scope": {"data": "local", "connectivity": "global"}},
            "plugin/plugin-pool/p/10.0.0.0%2F24": {
                "told": told,
                "lease": {"pool_id": "x", "pool": str(ip_network("10.0.0.0/24"))},
            },
            "port/a/8080": {"attachment": "a"},
        }
    ).encode()


def _run_own(data: bytes) -> None:
    """Read this host's own records: the same at once as one after the other, and faults that repeat nothing."""
    records = _records(data)
    found = decode_records(records)
    _assert_plain(found.faults)
    reader = RecordReader()
    reader(dict(list(records.items())[: len(records) // 2]))
    later = reader(records)
    assert (later.promises, later.plugins, later.ports, later.readings) == (
        found.promises,
        found.plugins,
        found.ports,
        found.readings,
    )


# --- answers of stores


class _Scripted:
    """Answers in place of the servers: one after the other, then the last again and again."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self._answers = list(answers) or [b""]

    def send(self, *_: object, **__: object) -> StoreResponse:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return _response(answer)

    def confirm(self, *_: object, **__: object) -> StoreResponse:
        return self.send()

    def stream(self, *_: object, **__: object) -> Any:
        lines = [_response(answer).body for answer in self._answers]
        return SimpleNamespace(status=200, line=lambda _: lines.pop(0) if lines else None, close=lambda: None)

    def close(self) -> None:
        pass


def _response(answer: Any) -> StoreResponse:
    """Make one of {"status", "headers", "body"}, or of a body alone."""
    status, headers, body = 200, {"X-Consul-Index": "7"}, answer
    if isinstance(answer, dict) and "body" in answer:
        body = answer["body"]
        status = answer["status"] if type(answer.get("status")) is int and 200 <= answer["status"] < 600 else 200
        if isinstance(answer.get("headers"), dict):
            headers = answer["headers"]
    raw = [(_ascii(name.lower()), _latin(value)) for name, value in headers.items()]
    content = (
        body if isinstance(body, bytes) else body.encode(errors="replace") if isinstance(body, str) else _dumped(body)
    )
    return StoreResponse(status, Headers(raw), bytearray(content), server=_AT)


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "ignore")


def _latin(value: object) -> bytes:
    return str(value).encode("latin-1", "ignore").translate(None, b"\r\n\0")


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def _answers(data: bytes) -> list[Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return [data]
    if isinstance(found, list) and found:
        return found
    return [found]


def _try_each(*calls: Any) -> None:
    """Call each, and insist that none fails otherwise than in the words of stores; the last error goes on, to be looked at."""
    last: Exception | None = None
    for call in calls:
        try:
            for entry in _entries(call()):
                assert isinstance(entry.key, str)
                assert isinstance(entry.value, bytes)
                assert isinstance(entry.version, int)
        except KvError as error:
            last = error
    if last is not None:
        raise last


def _entries(found: object) -> Sequence[KvEntry]:
    if isinstance(found, Batch):
        return found.entries
    return found if isinstance(found, tuple) else (found,) if isinstance(found, KvEntry) else ()


def _etcd_seeds() -> Iterator[bytes]:
    def coded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    pairs = [{"key": coded(key), "value": coded(text), "mod_revision": "5"} for key, text in stored("alpha").items()]
    header = {"revision": "9"}
    yield _dumped({"header": header, "kvs": pairs})
    yield _dumped([{"header": header, "kvs": pairs[:1]}, {"header": header, "succeeded": True}])
    yield _dumped([{"header": header, "ID": "77", "TTL": "10"}, {"result": {"TTL": "10"}}])
    yield _dumped(
        [
            {
                "result": {
                    "header": header,
                    "events": [{"type": "PUT", "kv": pairs[0]}, {"type": "DELETE", "kv": pairs[1]}],
                }
            }
        ]
    )
    yield _dumped(
        [
            {"result": {"header": header, "created": True}},
            {"result": {"header": header, "canceled": True, "compact_revision": "8"}},
        ]
    )
    yield _dumped({"status": 400, "body": {"error": "etcdserver: permission denied", "code": 7, "message": "denied"}})
    yield _dumped({"status": 503, "body": {"error": {"message": "no leader"}}})


def _run_etcd(data: bytes) -> None:
    store = EtcdStore(StoreConfig(provider=Provider.ETCD, endpoints=(_AT,), timeout_s=1.0))
    scripted: Any = _Scripted(_answers(data))
    store._http = scripted
    watch = store.watch("nodes/")
    watch._next_revision = 5
    deadline = time.monotonic() + 5
    _try_each(
        lambda: store.list("nodes/"),
        lambda: store.get("nodes/a"),
        lambda: store.compare_and_swap("a", b"x", 5),
        lambda: store.confirm(1.0),
        lambda: store.session(10).renew(),
        lambda: watch.look(deadline),
        lambda: watch.look(deadline),
    )


def _consul_seeds() -> Iterator[bytes]:
    items = [
        {"Key": key, "Value": base64.b64encode(text.encode()).decode(), "ModifyIndex": 7, "Flags": 0, "LockIndex": 0}
        for key, text in stored("alpha").items()
    ]
    yield _dumped([items])
    yield _dumped({"status": 200, "headers": {"X-Consul-Index": "12"}, "body": items[:1]})
    yield _dumped({"status": 404, "headers": {"X-Consul-Index": "3"}, "body": ""})
    yield _dumped({"status": 409, "body": {"Errors": [{"OpIndex": 0, "What": "index is stale"}]}})
    yield _dumped([{"ID": "adf4238a-882b-9ddc-4a9d-5b6758e4159e"}, [{"ID": "x", "TTL": "10s"}]])
    yield _dumped({"status": 403, "body": "Permission denied"})
    yield _dumped([True, {"Results": [{"KV": items[0]}]}])


def _run_consul(data: bytes) -> None:
    store = ConsulStore(StoreConfig(provider=Provider.CONSUL, endpoints=(_AT,), timeout_s=1.0))
    scripted: Any = _Scripted(_answers(data))
    store._http = scripted
    store._consul.http._http = scripted
    watch = store.watch("nodes/")
    deadline = time.monotonic() + 5
    _try_each(
        lambda: store.list("nodes/"),
        lambda: store.get("nodes/a"),
        lambda: store.put("a", b"x"),
        lambda: store.compare_and_swap("a", b"x", 5),
        lambda: store.compare_and_swap("a", None, 5),
        lambda: store.session(10).renew(),
        lambda: watch.look(deadline),
        lambda: watch.look(deadline),
    )


class _Nodes:
    """Stands for a connection to ZooKeeper: nodes of one level in another, {name: {...}}; what is no object is data."""

    def __init__(self, root: object) -> None:
        self._root = root

    def begin(self, method: str, _: float, path: str, **__: object) -> tuple[str, str]:
        return method, path

    def found(self, call: tuple[str, str], _: float) -> Any:
        method, path = call
        node: Any = self._root
        for part in filter(None, path.split("/")):
            if not isinstance(node, dict) or part not in node:
                return None
            node = node[part]
        if method == "get_children":
            names = (name.encode(errors="replace").decode() for name in node) if isinstance(node, dict) else ()
            return [name for name in names if name and "/" not in name]
        content = node.encode(errors="replace") if isinstance(node, str) else _dumped(node)
        return content, SimpleNamespace(mzxid=5)


def _zookeeper_seeds() -> Iterator[bytes]:
    root: dict[str, Any] = {}
    for key, text in stored("alpha").items():
        *folders, name = key.split("/")
        node = root
        for folder in folders:
            node = node.setdefault(folder, {})
        node[f":{name}"] = text
    yield _dumped(root)
    yield _dumped({"nodes": {"%C3%A9": {":%2F": "x", ":a%20b": "y", "%zz": {}}}})


def _run_zookeeper(data: bytes) -> None:
    """Read a tree of nodes: only what is a key of ours, whatever others have made there."""
    connection: Any = _Nodes(_answers(data)[0])
    tree = Tree(connection, 1.0)
    entries = tree.read("/", "")
    assert all(is_key(entry.key) for entry in entries)
    assert len({entry.key for entry in entries}) == len(entries)
    assert sorted(entries, key=lambda entry: entry.key) == list(entries)
    decoded({entry.key: entry.value.decode(errors="replace") for entry in entries})


_KEYS: Final = (
    *listed(
        "nodes/ networks/ network/over/endpoints/ network/over/members/ revisions/ info life left beta address "
        "instance watched at id created declaration subnets host mac ipv4 ipv6 names driver driver_opts ipam "
        "labels subnet gateway vni aux declared ip_range format over plugin/ reading/ adopted/ port/ told scope "
        "answer lease config internal attachable"
    ),
)
_OF_STORES: Final = (
    *listed(
        "header revision kvs key value mod_revision result events created canceled compact_revision error message "
        "code TTL ID succeeded status headers body Key Value ModifyIndex X-Consul-Index Results Errors What "
        "OpIndex cancel_reason"
    ),
    *("404 page not found", "lease not found", "invalid auth token"),
)

TARGETS: Final = (
    Target(
        "cluster records",
        "records of hosts and networks in the cluster's store",
        _run_cluster,
        _cluster_seeds,
        Form.JSON,
        _KEYS,
        runs=250,
    ),
    Target(
        "own records",
        "records of this host's own store",
        _run_own,
        _own_seeds,
        Form.JSON,
        _KEYS,
        runs=200,
        length_max=16384,
    ),
    Target("etcd", "answers and watch streams of etcd", _run_etcd, _etcd_seeds, Form.JSON, _OF_STORES),
    Target("consul", "answers of Consul", _run_consul, _consul_seeds, Form.JSON, _OF_STORES),
    Target(
        "zookeeper",
        "nodes of ZooKeeper: names and data",
        _run_zookeeper,
        _zookeeper_seeds,
        Form.JSON,
        (*_KEYS, "%2F", "%", ":"),
    ),
)
