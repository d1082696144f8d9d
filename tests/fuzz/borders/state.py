"""The files that we wrote, or the host has, and that may be anything by now."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from gzip import decompress
from pathlib import Path
from typing import Any, Final
from unicodedata import category

from reconciler.cli.invocation import invocation
from reconciler.cli.saved_plan import read_plan
from reconciler.cli.status import is_all_ready, status_document, status_text
from reconciler.doctor.secrets import secrets_in
from reconciler.errors import ReconcilerError
from reconciler.guard.last_good import (
    read_last_good,
    read_rejected,
    read_verified,
    write_last_good,
    write_rejected,
    write_verified,
)
from reconciler.guard.orders import NO_ORDERS
from reconciler.guard.state_file import read_fields
from reconciler.guard.suspension import next_end, resume, suspend, suspensions
from reconciler.guard.trial_record import read_trial, write_trial
from reconciler.kinds.container_file import noted, notes_folder
from reconciler.kinds.kv_record import decode_records
from reconciler.kv.address import discovery, store_addresses, store_config
from reconciler.kv.sqlite import open_sqlite
from reconciler.model.marks import Mark, read_mark
from reconciler.records.sealed import sealed
from reconciler.settings import Settings
from reconciler.snapshots import plan_from, read_snapshot
from reconciler.status.json_text import json_text
from reconciler.status.read import InspectedKind, name_of, read_documents, resolve, sandbox_key
from reconciler.status.write import read_summary
from reconciler.watch.journal_reader import EventFiles, latest_events
from reconciler.watch.live_state import state_json
from tests.fuzz.target import Form, Target, listed, try_each

_RECORDED: Final = Path(__file__).parent.parent.parent / "upgrade" / "0.1.0"
_GOLDEN: Final = Path(__file__).parent.parent.parent / "unit" / "status" / "golden"
_SETTINGS: Final = Settings(host="alpha")
_MEMORY: Final = Path("/dev/shm")


def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return one in memory where there is such a place: writes are flushed to the disk elsewhere."""
    return tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)


# --- the store


def _database_seeds() -> Iterator[bytes]:
    yield (_RECORDED / "state.db").read_bytes()
    with _folder() as name:
        path = Path(name, "state.db")
        with closing(open_sqlite(path)) as store:
            store.put("ids/net", b'{"id": "x"}')
        yield path.read_bytes()


def _run_database(data: bytes) -> None:
    """Take it for the store of a host: it reads as empty or as what it holds, and a pass can write to it."""
    with _folder() as name:
        path = Path(name, "state.db")
        path.write_bytes(data)
        try_each(lambda: _read_only(path), lambda: _written(path))


def _read_only(path: Path) -> None:
    before = path.read_bytes()
    with closing(open_sqlite(path, read_only=True)) as store:
        decode_records({entry.key: entry.value.decode(errors="replace") for entry in store.list("")})
    assert path.read_bytes() == before


def _written(path: Path) -> None:
    with closing(open_sqlite(path, timeout_s=0.2)) as store:
        known = {entry.key for entry in store.list("")}
        store.put("fuzz/a", b"x")
        assert store.get("fuzz/a") is not None
        is_set_aside = len(list(path.parent.iterdir())) > 1
        assert is_set_aside or {entry.key for entry in store.list("")} >= known
    with closing(open_sqlite(path)) as store:
        assert store.get("fuzz/a") is not None


# --- files that are handed on


def _sealed_seeds() -> Iterator[bytes]:
    plan = json.loads((_RECORDED / "plan.json").read_bytes())
    yield json.dumps({name: plan[name] for name in ("host", "orders", "specs", "changes")}).encode()
    yield json.dumps(
        json.loads(decompress((_RECORDED / "snapshot.json.gz").read_bytes())), separators=(",", ":")
    ).encode()


def _run_sealed(data: bytes) -> None:
    """Take it for a saved plan and a snapshot, with a checksum that fits: who edits one can compute that too."""
    fields: Mapping[str, Any] = _fields(data)
    content = {name: value for name, value in fields.items() if name not in ("kind", "version", "checksum")}
    with _folder() as name:
        plan, snapshot, raw = (Path(name, one) for one in ("plan.json", "snapshot.json", "raw"))
        plan.write_text(sealed("saved plan", "1", content))
        snapshot.write_text(sealed("snapshot", "2", content))
        raw.write_bytes(data)
        specs = Path(name, "specs")
        specs.mkdir()
        (specs / "a.yaml").write_text(
            "networks: {front: {}, back: {internal: true}}\nattachments: {web: {networks: [front, back]}}\n"
        )
        try_each(
            lambda: read_plan(str(plan), _SETTINGS),
            lambda: read_plan(str(raw), _SETTINGS),
            lambda: read_snapshot(str(raw)),
            lambda: read_snapshot(str(snapshot)),
            lambda: plan_from(str(snapshot), Settings(host="alpha", specs_dir=specs), "", NO_ORDERS),
        )


def _fields(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"snapshot": found}


# --- the state folder


def _guard_seeds() -> Iterator[bytes]:
    yield (_RECORDED / "verified.json").read_bytes()
    yield (_RECORDED / "last-good.json").read_bytes()
    yield json.dumps(
        {"suspensions": {"front": {"actor": "me", "reason": "x", "since": 1.0, "until": 2e9}, "": {"actor": "me"}}}
    ).encode()
    yield json.dumps({"digest": "d", "reason": "bad", "successor": ""}).encode()
    yield json.dumps({"suspensions": {"front": {"actor": "me", "since": -1e300, "until": 1e300}}}).encode()
    yield json.dumps(
        {"id": "t", "digest": "d", "deadline": 5.5, "boot": "b", "texts": {"files": [{"name": "a.yaml", "text": "{}"}]}}
    ).encode()
    yield json.dumps({"path": "/x/hosts", "process": "pid:1@2", "before": "", "ours": ["a"]}).encode()


def _run_guard(data: bytes) -> None:
    """Take it for each of the small files of the state folder: what is read is the same when it was written again."""
    with _folder() as name:
        folder = Path(name)
        for file in ("last-good.json", "verified.json", "rolled-back.json", "suspensions.json", "trial.json"):
            (folder / file).write_bytes(data)
        again = folder / "again"
        last, verified, rejected, trial = (
            read_last_good(folder),
            read_verified(folder),
            read_rejected(folder),
            read_trial(folder),
        )
        if last is not None:
            last.load(_SETTINGS)
            last.versions_of(["front"])
            write_last_good(again, last)
            assert read_last_good(again) == last
        if verified is not None:
            write_verified(again, verified)
            assert read_verified(again) == verified
        if rejected is not None:
            write_rejected(again, rejected)
            assert read_rejected(again) == rejected
        if trial is not None:
            trial.is_over()
            write_trial(again, trial)
            assert read_trial(again) == trial
        found = suspensions(folder, 100.0)
        errors = [suspension.error() for suspension in found]
        next_end(folder, 100.0)
        suspend(folder, found, 100.0)
        assert suspensions(folder, 100.0) == found
        resume(folder, (), 100.0)
        assert suspensions(folder, 100.0) == ()
        read_fields(folder / "trial.json")
        note = notes_folder(folder) / "web" / "hosts"
        note.parent.mkdir(parents=True)
        note.write_bytes(data)
        [*noted(folder)]
        if errors:
            raise errors[0]


# --- status and journal


def _status_seeds() -> Iterator[bytes]:
    for path in sorted(_GOLDEN.glob("*.json")):
        if path.stat().st_size < 8000:
            yield path.read_bytes()
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "KernelError",
        "message": "x",
        "lastTransitionTime": "2026-11-24T10:00:00Z",
    }
    entry = {"conditions": [condition], "driftRepaired": 3, "observedRevision": {"commit": "a" * 40, "dirty": True}}
    yield json.dumps(
        {
            **entry,
            "host": "alpha",
            "networks": {"front": entry},
            "attachments": {"web": entry},
            "specFaults": ["x"],
            "names": entry,
        }
    ).encode()
    yield b'{"time": "2026-11-24T10:00:00Z", "event": "changed", "message": "m"}\n{"time": 7}\n[]\n{"event": "x"'


def _run_status(data: bytes) -> None:
    """Take it for the summary, the document of a network, and the journal: what is shown controls no terminal and is JSON."""
    with _folder() as name:
        folder = Path(name)
        for place in (
            "networks/front.json",
            "attachments/web.json",
            "summary.json",
            "events.ndjson",
            "events.ndjson.1",
        ):
            (folder / place).parent.mkdir(exist_ok=True)
            (folder / place).write_bytes(data)
        with closing(EventFiles(folder)) as files:
            events = [*files.earlier(), *files.new()]
        latest_events(folder, 1000)
        for text in (json.dumps(event) for event in events):
            assert text.isascii()
            assert "\n" not in text
        json.loads(state_json(folder, folder, is_well=True, reason="", drawing=""))
        summary = read_summary(folder)
        is_all_ready(summary)
        _plain(status_text(summary, {"front": 1}, now=1.8e9))
        _plain(json_text(status_document(summary, {})))
        [*secrets_in(summary)]
        for kind in InspectedKind:
            for document in read_documents(folder, kind):
                name_of(document), sandbox_key(document)
                _plain(json_text(document))
                assert resolve((document,), kind, str(document["Id"]) or "?")


def _plain(text: str) -> None:
    """No control character, line separator, mark that turns the writing direction, or half of a pair."""
    turning = ("\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)))
    found = {char for char in set(text) - {"\n"} if category(char) in ("Cc", "Cs", "Zl", "Zp") or char in turning}
    assert not found, ascii(found)


# --- configuration


def _config_seeds() -> Iterator[bytes]:
    yield b"specs: specs\nstate-dir: state\nhost: alpha\nprune-limit: 3,50%\nverbose: 1\nlog-format: json\n"
    yield b"cluster-store: etcd://a:1,[::1]:2/x\ncluster-store-opt: [discovery.ttl=30]\ncluster-advertise: eth0\n"
    yield b"container_engine: unix:///run/docker.sock\nplugin-timeout: 0.5\nbridge: none\n"


def _run_config(data: bytes) -> None:
    """Take it for the configuration file, for a variable of each kind, and for the file of a store's secret."""
    text = data.decode(errors="replace").replace("\0", "")
    with _folder() as name:
        config, secret = Path(name, "config.yaml"), Path(name, "secret")
        config.write_bytes(data)
        secret.write_bytes(data)
        environment = {
            f"RECONCILE_{option}": text
            for option in ("HOST", "CLUSTER_STORE", "CLUSTER_ADVERTISE", "PRUNE_LIMIT", "VERBOSE")
        }
        store = {"kv.secretfile": str(secret)}
        try_each(
            lambda: invocation({"config": str(config)}, {}),
            *(lambda one=one: invocation({}, {one: environment[one]}) for one in environment),
            lambda: [*store_addresses(text)],
            lambda: store_config(text, {}, {}),
            lambda: discovery({"kv.path": text, "discovery.ttl": text[:10]}),
            lambda: _secret(store, data),
        )


def _secret(store: Mapping[str, str], data: bytes) -> None:
    """A secret that cannot be one is not shown in the error that says so."""
    for provider in ("consul", "etcd", "zk"):
        told = ""
        try:
            store_config(f"{provider}://192.0.2.1", store, {})
        except ReconcilerError as error:
            told = str(error)
        shown = data.decode(errors="replace").strip()
        assert len(shown) < 8 or shown not in told


def _mark_seeds() -> Iterator[bytes]:
    yield (
        Mark(network="front", state="/var/lib/reconciler", specs="/etc/reconciler/specs", is_protected=True)
        .text()
        .encode()
    )


def _run_mark(data: bytes) -> None:
    """Take it for the alias of a link: a mark of ours, which reads back as it is, or none."""
    mark = read_mark(data.decode(errors="replace"))
    if mark is not None:
        assert read_mark(mark.text()) is not None
        mark.is_of_state("/var/lib/reconciler")


_STATE_WORDS: Final = (
    *listed(
        "versions current previous kept specs files name text is_template digest place sandboxes reason successor "
        "id deadline boot suspensions actor since until conditions type Ready status message lastTransitionTime "
        "networks attachments specFaults driftRepaired observedRevision commit Name Id NetworkSettings SandboxKey "
        "path process before ours host orders changes snapshot is of args fields Facts HostFacts Snapshot "
        "KernelError map set IPv4Address SandboxFact Unit"
    ),
)
_CONFIG_WORDS: Final = (
    *listed("consul:// etcd:// zk:// kv.cacertfile= kv.path= 3,50% unix:///a [::1] :2379 , /"),
    *("specs: ", "host: ", "state-dir: ", "cluster-store: ", "cluster-store-opt: ", "prune-limit: "),
    *("verbose: ", "bridge: none", "plugin-timeout: ", "container-engine: "),
)

TARGETS: Final = (
    Target("state.db", "the store of a host, as a file", _run_database, _database_seeds, runs=40, length_max=65536),
    Target(
        "sealed files",
        "saved plans and snapshots",
        _run_sealed,
        _sealed_seeds,
        Form.JSON,
        _STATE_WORDS,
        runs=30,
        length_max=1 << 17,
    ),
    Target(
        "state folder",
        "last-good.json, verified.json, suspensions, trials, notes",
        _run_guard,
        _guard_seeds,
        Form.JSON,
        _STATE_WORDS,
        runs=100,
    ),
    Target(
        "status files",
        "status files and the journal",
        _run_status,
        _status_seeds,
        Form.JSON,
        _STATE_WORDS,
        runs=150,
        length_max=8192,
    ),
    Target(
        "configuration",
        "configuration file, variables, secret files",
        _run_config,
        _config_seeds,
        Form.TEXT,
        _CONFIG_WORDS,
        runs=100,
        length_max=900,
    ),
    Target(
        "marks", "aliases of links", _run_mark, _mark_seeds, Form.TEXT, ("reconciler:", " ", "protected", "%2F", "~")
    ),
)
