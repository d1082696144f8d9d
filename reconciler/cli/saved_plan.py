"""A plan that is saved, to be carried out as it is or not at all (`reconcile apply FILE`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from reconciler.cli.forms import write_file
from reconciler.cli.plan_json import changes_by_address
from reconciler.errors import FileAltered, FileUnreadable, StalePlan
from reconciler.guard.orders import Orders
from reconciler.model.plan import Plan
from reconciler.model.words import some
from reconciler.records.file import content
from reconciler.records.lenient import items_of, mapping_of, text_of, texts_of
from reconciler.records.sealed import LENGTH_MAX, sealed, unsealed
from reconciler.review.values import Planned
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs

_KIND: Final = "saved plan"
_VERSION: Final = "1"
_SHOWN: Final = 5


def save_plan(file: str, planned: Planned, settings: Settings, orders: Orders) -> None:
    """Write the plan with what it was made from. Raises ReconcilerError when the file cannot be written."""
    fields = {
        "host": settings.host,
        "orders": {
            "allow_prune": orders.is_prune_allowed,
            "unprotect": sorted(orders.unprotected),
            "take_over": orders.is_taking_over,
        },
        "specs": _digests(planned.after, settings),
        "changes": changes_by_address(planned.report.plan.operations),
    }
    write_file(file, sealed(_KIND, _VERSION, fields))


class SavedPlan(Struct, frozen=True, kw_only=True):
    """file: where it was read. specs: digests by file. changes: what is done to each object, by its address."""

    file: str
    host: str
    orders: Orders
    specs: Mapping[str, str]
    changes: Mapping[str, Any]

    def check(self, settings: Settings, loaded: LoadedSpecs, plan: Plan) -> None:
        """Raise StalePlan unless the plan of now is the one that was saved, naming what changed since."""
        changed = list(_differences(self.specs, _digests(loaded, settings)))
        if changed:
            raise self._stale("the specs changed", changed)
        differing = list(_differences(self.changes, changes_by_address(plan.operations)))
        if differing:
            raise self._stale("this host changed", differing)

    def _stale(self, why: str, what: list[str]) -> StalePlan:
        return StalePlan(
            f"{self.file} is stale, so nothing was done: {why} since it was saved ({some(what, _SHOWN)}); "
            f"plan and review again with `reconcile --dry-run --out {self.file}`"
        )


def read_plan(file: str, settings: Settings) -> SavedPlan:
    """Read a plan for this host. Raises StalePlan when it is another's or was edited, FileUnreadable for what is none."""
    try:
        found = unsealed(file, content(file, bytes_max=LENGTH_MAX), _KIND, (_VERSION,))
    except OSError as error:
        raise FileUnreadable(f"{file} cannot be read: {error.strerror}") from error
    except FileAltered as error:
        raise StalePlan(f"{error}, or nothing is done") from None
    host, orders = text_of(found, "host"), mapping_of(found, "orders")
    if host != settings.host:
        raise StalePlan(f"{file} is a plan for host {host}, and this is {settings.host}")
    return SavedPlan(
        file=file,
        host=host,
        orders=Orders(
            is_prune_allowed=orders.get("allow_prune") is True,
            unprotected=frozenset(map(str, items_of(orders, "unprotect"))),
            is_taking_over=orders.get("take_over") is True,
        ),
        specs=texts_of(found, "specs"),
        changes=mapping_of(found, "changes"),
    )


def _digests(loaded: LoadedSpecs, settings: Settings) -> Mapping[str, str]:
    """Return a digest of each spec file, by its path below the folder."""
    folder = loaded.folder or str(settings.specs_dir)
    return {
        os.path.relpath(text.name, folder): hashlib.sha256(text.text.encode(errors="replace")).hexdigest()
        for text in loaded.texts
    }


def _differences(saved: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    for name in sorted(saved.keys() | now.keys()):
        if saved.get(name) != now.get(name):
            yield name
