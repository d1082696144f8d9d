"""Before a pass: what was loaded, with what must stay declared again and what must be left alone marked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec.structs import replace

from reconciler.errors import AnothersHost, Refused
from reconciler.guard.keep import declared_again, missing
from reconciler.guard.last_good import LastGood, read_last_good, read_verified
from reconciler.guard.orders import Orders
from reconciler.guard.prune import Refusals, refusals, unheeded
from reconciler.guard.suspension import EVERYTHING, suspensions
from reconciler.guard.whose import anothers_specs, anothers_state
from reconciler.ipam.promises import NetworkPromise, Promises, decode_promises
from reconciler.kernel.place import place
from reconciler.kv.protocol import KvStore
from reconciler.model.holds import Holds, OnDrift
from reconciler.model.marks import Mark
from reconciler.model.wanted import WantedState
from reconciler.observe.marks import HostMarks
from reconciler.settings import Settings
from reconciler.spec.load import NOTHING, LoadedSpecs

log = logging.getLogger(__name__)

_UNMARKED = HostMarks()


def guarded(
    loaded: LoadedSpecs,
    settings: Settings,
    kv: KvStore,
    orders: Orders,
    host: HostMarks = _UNMARKED,
    promised: Callable[[], Promises] | None = None,
) -> LoadedSpecs:
    """Return the specs as this pass may apply them. Reads the state folder and writes nothing.

    What stays although it is no longer declared, or is suspended, is declared as it was when it was last verified, and so goes on
    being named, listed and (unless suspended) repaired. Where nobody remembers how it was, nothing at all is pruned.
    host: what the kernel knows, of which the store may have lost everything, or never heard as the host is taken over.
    promised: what the store says, from who keeps what it read there.
    """
    promises = _promises(kv, loaded.wanted) if promised is None else promised()
    marked = {mark.network: _marked(mark) for mark in host.marks}
    if marked.keys() - promises.networks.keys():
        promises = replace(promises, networks={**marked, **promises.networks})
    for warning in unheeded(orders, loaded.wanted, promises):
        log.warning("%s", warning)
    has_members = bool(promises.endpoints) or host.has_members
    refused = _refusals(loaded.wanted, promises, settings, orders, has_members=has_members)
    suspended = suspensions(settings.state_dir, time.time())
    names = {*refused.networks, *(suspension.network for suspension in suspended)} - {EVERYTHING}
    wanted = loaded.wanted
    if any(suspension.network == EVERYTHING for suspension in suspended):
        last = read_last_good(settings.state_dir)
        wanted = wanted if last is None else applied(last, settings).wanted
    elif names or refused.is_whole:
        wanted = _with_kept(wanted, names, settings, refused, names & promises.networks.keys())
    holds = Holds(refused=refused.told(), suspended=tuple((one.unit, one.error()) for one in suspended))
    holds = _with_drift(holds, loaded, settings, orders)
    return loaded if holds == Holds() else replace(loaded, wanted=replace(wanted, holds=holds))


def anothers_host(
    host: HostMarks, wanted: WantedState, settings: Settings, kv: KvStore, orders: Orders
) -> AnothersHost | None:
    """Return why a pass with `wanted` may not be made on this host; None when it may. Reads the store and writes nothing."""
    error = anothers_state(host.marks, settings, orders)
    is_ours = not host.marks or any(mark.is_of_specs(settings.specs_folder) for mark in host.marks)
    if error is not None or is_ours:
        return error
    entries = [*kv.list("network/"), *kv.list("endpoint/")]
    promises, _ = decode_promises({entry.key: entry.value.decode(errors="replace") for entry in entries})
    return anothers_specs(host.marks, wanted, promises, settings, orders)


def refuse_when_suspended(state_dir: Path) -> None:
    """Raise Refused while anything is suspended."""
    for suspension in suspensions(state_dir, time.time()):
        raise Refused(str(suspension.error()))


def _promises(kv: KvStore, wanted: WantedState) -> Promises:
    """Read no more of the store than the guards ask for; what is wrong with a record is told by the pass itself."""
    entries = [*kv.list("network/"), *(() if wanted.attachments else kv.list("endpoint/"))]
    return decode_promises({entry.key: entry.value.decode(errors="replace") for entry in entries})[0]


def _marked(mark: Mark) -> NetworkPromise:
    return NetworkPromise(name=mark.network, id="", created="", is_protected=mark.is_protected)


def _refusals(
    wanted: WantedState, promises: Promises, settings: Settings, orders: Orders, *, has_members: bool
) -> Refusals:
    found = refusals(wanted, promises, settings.prune_limit, orders, has_members=has_members)
    if not orders.is_reverting or not found.networks:
        return found
    # The way back takes away what the failed specs brought, protected or not; what was kept before stays.
    last = read_last_good(settings.state_dir)
    kept = last.kept if last else {}
    return Refusals(networks={name: error for name, error in found.networks.items() if name in kept})


def applied(last: LastGood, settings: Settings) -> LoadedSpecs:
    """Return what was in force after the last verified pass: its specs, and what stayed as it was before."""
    loaded = last.load(settings)
    state = loaded.wanted
    for digest, names in last.versions_of(last.kept).items():
        state = declared_again(state, last.load(settings, digest).wanted, names, is_whole=False)
    return replace(loaded, wanted=state)


def applied_last(settings: Settings) -> LoadedSpecs:
    """Return what was in force after the last verified pass; nothing is declared where there was none."""
    last = read_last_good(settings.state_dir)
    return NOTHING if last is None else applied(last, settings)


def _with_kept(
    wanted: WantedState, names: Iterable[str], settings: Settings, refused: Refusals, running: Iterable[str]
) -> WantedState:
    last = read_last_good(settings.state_dir) or LastGood(versions={}, current="")
    by_version = dict(last.versions_of(names))
    by_version.setdefault(last.current, frozenset())
    known: set[str] = set()
    for digest, of_version in by_version.items():
        source = last.load(settings, digest).wanted
        known |= of_version - missing(of_version, source)
        is_whole = refused.is_whole and digest == last.current
        wanted = declared_again(wanted, source, of_version, is_whole=is_whole)
    is_lost = bool(set(running) - known) or (refused.is_whole and not last.versions)
    return replace(wanted, has_faults=wanted.has_faults or is_lost)


def _with_drift(holds: Holds, loaded: LoadedSpecs, settings: Settings, orders: Orders) -> Holds:
    lenient = {
        network.name: network.on_drift for network in loaded.wanted.networks if network.on_drift is not OnDrift.CORRECT
    }
    if not lenient or orders.is_reverting:
        return holds
    verified = read_verified(settings.state_dir)
    if verified is None or verified.digest != loaded.digest or verified.place != place():
        return holds
    return replace(holds, on_drift=lenient, sandboxes=verified.sandboxes)
