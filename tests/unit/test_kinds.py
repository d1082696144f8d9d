"""Every kind of object says all that the stages ask of it, and one that forgets something is refused when it is imported."""

from __future__ import annotations

import pkgutil
import re
from typing import Any, get_args

import pytest
from msgspec.structs import fields

from reconciler import kinds
from reconciler.kinds.registry import ROWS, handlers
from reconciler.kinds.row import Scripts, SeenApart, scripted
from reconciler.model import kinds as model_kinds
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.base import Kind
from reconciler.model.objects import Bridge, ClusterRecord, LinkUp, Namespace, Object, Route
from reconciler.observe.memory import Memory
from tests.fakes.world import world

KINDS: tuple[type[Object], ...] = get_args(Object)
SANDBOX = NsRef("netns:web")
EXAMPLES: dict[str, Any] = {"ns": SANDBOX, "peer_ns": SANDBOX, "name": "net/ipv4/ip_forward"}

TUNNEL = """
from typing import ClassVar

from reconciler.model import kinds as model_kinds
from reconciler.model.identifiers import HOST
from reconciler.model.kinds.base import NO_FIELDS, UNFELT, Kind, Traits, inside_out, these


class Tunnel(Kind, frozen=True, kw_only=True):
    kind: ClassVar[str] = "Tunnel"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(30),
        immutable=these("remote"),
        felt=UNFELT,
        is_exclusive=True,
        is_endpoint_link=True,
        memory="",
    )
    remote: str

    key = property(lambda self: (self.kind, self.remote))
    describe = lambda self: f"tunnel to {self.remote}"
    owner = lambda self, owners: None
    touches = lambda self: (HOST,)
    carries = lambda self: ()
    sits_on = lambda self: ()
    sandbox = lambda self: HOST
"""
REQUIRED = (
    *("rank", "immutable", "felt", "is_exclusive", "is_endpoint_link", "memory"),
    *("key", "describe", "owner", "touches", "carries", "sits_on", "sandbox"),
)


def example(kind: type[Object]) -> Object:
    needed = (field.name for field in fields(kind) if field.required)
    return kind(**{name: EXAMPLES.get(name, "x") for name in needed})


def test_each_module_holds_kinds_that_are_listed_and_has_its_twin_that_sees_and_makes_them() -> None:
    modules = {module.name for module in pkgutil.iter_modules(model_kinds.__path__)} - {"base"}
    made = {kind: row.made.create if isinstance(row.made, Scripts) else row.made for kind, row in ROWS.items()}

    assert {kind.__module__.rpartition(".")[2] for kind in KINDS} == modules
    assert {kind: kind.__module__.replace(model_kinds.__name__, kinds.__name__) for kind in KINDS} == {
        kind: made[kind].__module__ for kind in ROWS
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_what_a_kind_says_of_itself_holds_together(kind: type[Object]) -> None:
    found, traits = example(kind), kind.traits

    assert found.key[0] == kind.kind == kind.__name__
    assert found.describe()
    assert found.found_as()
    assert set(found.touches()) <= {HOST, SANDBOX}
    assert not set(found.carries()) & set(found.sits_on())
    assert not traits.memory or hasattr(Memory(), traits.memory)
    assert (found.sandbox() != HOST) == (traits.is_endpoint_link or kind is Namespace)
    assert not traits.link_kind or found.carries()


def test_each_kind_has_a_row_and_is_carried_out_by_someone() -> None:
    assert set(ROWS) == set(handlers(world())) == set(KINDS)


def test_what_is_seen_of_a_kind_stands_in_its_module() -> None:
    apart = {
        k
        for k, row in ROWS.items()
        if row.seen.observe.__module__.rpartition(".")[2] != k.__module__.rpartition(".")[2]
    }

    assert apart == {ClusterRecord}  # what many hosts write is read in cluster/


def test_a_made_up_kind_that_says_everything_is_accepted() -> None:
    assert imported(TUNNEL)["Tunnel"](remote="beta").describe() == "tunnel to beta"


@pytest.mark.parametrize("forgotten", REQUIRED)
def test_a_made_up_kind_that_forgets_something_fails_at_import(forgotten: str) -> None:
    text = re.sub(rf"^ +{forgotten} ?=.*\n", "", TUNNEL, flags=re.MULTILINE)
    assert text != TUNNEL

    with pytest.raises(TypeError, match=forgotten):
        imported(text)


@pytest.mark.parametrize("forgotten", ["seen", "create", "update", "remove"])
def test_the_row_of_a_made_up_kind_that_forgets_something_fails_at_import(forgotten: str) -> None:
    told: dict[str, Any] = {"seen": SeenApart(list), "create": list, "update": None, "remove": list}
    tunnel = imported(TUNNEL)["Tunnel"]
    assert scripted(tunnel, **told).kind is tunnel

    with pytest.raises(TypeError, match=forgotten):
        scripted(tunnel, **{name: value for name, value in told.items() if name != forgotten})


@pytest.mark.parametrize(
    ("kind", "remove"), [(Route, None), (LinkUp, list), (Bridge, list)], ids=["needed", "up", "link"]
)
def test_a_row_that_removes_otherwise_than_the_traits_say_fails_at_import(kind: type[Kind], remove: Any) -> None:
    with pytest.raises(TypeError, match=kind.__name__):
        scripted(kind, seen=SeenApart(list), create=list, update=None, remove=remove)  # type: ignore[arg-type]


def test_a_made_up_kind_without_traits_fails_at_import() -> None:
    text = re.sub(r"    traits.*?\n    \)\n", "", TUNNEL, flags=re.DOTALL)

    with pytest.raises(TypeError, match="Tunnel says nothing of traits"):
        imported(text)


def test_traits_that_name_a_field_that_is_not_there_fail_at_import() -> None:
    with pytest.raises(TypeError, match="Tunnel has no fields local"):
        imported(TUNNEL.replace('these("remote")', 'these("local")'))


def imported(text: str) -> dict[str, Any]:
    """Run a module's text as an import does."""
    module: dict[str, Any] = {"__name__": __name__}
    exec(compile(text, "tunnel.py", "exec", dont_inherit=True), module)
    return module
