"""What each kind of object tells of itself, so that no stage has to list kinds.

A kind is a frozen value that derives from `Kind`, or from the family that it belongs to. It is refused when its module is imported
unless it has all `Traits` and says whose it is, what it touches, what goes with it and what it goes with.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, StrEnum
from typing import ClassVar, Literal, NamedTuple, Protocol

from msgspec import Struct

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.units import HOST_UNIT, Unit
from reconciler.model.values import Value, compared

Plain = str | int | bool | list["Plain"] | None
"""What JSON has by itself."""

Key = tuple[str, ...]
"""Kind first, then what tells objects of the kind apart. Plain strings, so that plans sort the same everywhere."""

Place = tuple[str, ...]
"""A namespace `(ns,)`, a link `(ns, ifname)`, the addresses on one (`addresses_of`) or the links above it (`upper_links_of`)."""

Places = tuple[Place, ...]

IsOwnLink = Callable[[NsRef, str], bool]
"""Says whether there is a link of ours under a name in a namespace."""

MemoryPart = Literal["", "files", "container_files", "firewall", "stale_entries"]


class Disruption(StrEnum):
    """What traffic notices: nothing; changed while it flows; a short loss; connections lost, as the link is made anew."""

    NONE = "none"
    LIVE = "live"
    FLAP = "flap"
    RECREATE = "recreate"


class Phase(IntEnum):
    """The parts of a plan, in their order: see `plan.ordering`."""

    PROMISE = 0
    UNPUBLISH = 1
    REMOVE = 2
    FIREWALL = 3
    BUILD = 4
    PUBLISH = 5
    WITHDRAW = 6


class PlanStep(NamedTuple):
    """When an operation is carried out. Operations of one step are independent of each other."""

    phase: Phase
    place: int


INSIDE = PlanStep(Phase.BUILD, 15)
"""Of the firewall in a namespace of ours: when that is there, and before its links are."""


class Rank(NamedTuple):
    """When an object of a kind is made or changed, and when one goes."""

    made: PlanStep
    gone: PlanStep

    def step(self, *, is_delete: bool) -> PlanStep:
        return self.gone if is_delete else self.made


def inside_out(place: int) -> Rank:
    """Made upwards, removed downwards, before anything is made."""
    return Rank(PlanStep(Phase.BUILD, place), PlanStep(Phase.REMOVE, -place))


BEFORE_FIREWALL = PlanStep(Phase.FIREWALL, -1)
"""Of what ends the forwarding of packets: the rules that judge these stand as long as any are."""

IN_ONE_TRANSACTION = Rank(PlanStep(Phase.FIREWALL, 0), PlanStep(Phase.FIREWALL, 0))


class FieldSet(NamedTuple):
    """Some fields of a kind. is_rest: all fields but these."""

    names: frozenset[str]
    is_rest: bool = False

    def has_any(self, names: frozenset[str]) -> bool:
        return not names <= self.names if self.is_rest else not names.isdisjoint(self.names)


def these(*names: str) -> FieldSet:
    return FieldSet(frozenset(names))


def all_but(*names: str) -> FieldSet:
    return FieldSet(frozenset(names), is_rest=True)


NO_FIELDS, ALL_FIELDS = these(), all_but()


class Felt(NamedTuple):
    """What traffic notices of a change in place and of a removal. flap: fields whose change loses packets for a moment."""

    update: Disruption
    delete: Disruption
    flap: frozenset[str] = frozenset()


UNFELT = Felt(Disruption.NONE, Disruption.NONE)
FELT_LIVE = Felt(Disruption.LIVE, Disruption.LIVE)
FELT_AS_LINK = Felt(Disruption.LIVE, Disruption.RECREATE)


class Traits(Struct, frozen=True, kw_only=True):
    """What the stages ask of a kind.

    immutable: fields that cannot be changed, or not without side effects: the object is made anew. is_exclusive: a foreign object
    under its key is a NameConflict, even when it is as wanted. is_endpoint_link: it is what an endpoint runs by, in `sandbox`.
    memory: what `observe.memory` has of it besides namespaces. link_kind: what the kernel calls links of this kind, "" for what is
    no link that the kernel makes for us. is_removable: False for what only goes with something else. is_awaited: others await
    what it answers, so that it is brought about while its unit waits. is_news: passes on what was promised, or what hosts tell
    each other, so that it is no drift. is_braked: putting it back again and again is a fight with another writer. is_lent: others
    made it and get it back: it is adopted and released where all else is created and deleted.
    """

    rank: Rank
    immutable: FieldSet
    felt: Felt
    is_exclusive: bool
    is_endpoint_link: bool
    memory: MemoryPart
    link_kind: str = ""
    is_removable: bool = True
    is_awaited: bool = False
    is_news: bool = False
    is_braked: bool = True
    is_lent: bool = False


def made_link(
    place: int, link_kind: str, immutable: FieldSet, flap: FieldSet = NO_FIELDS, *, is_endpoint_link: bool
) -> Traits:
    """Return the traits of a link that we make, of a kind of the kernel's. flap: fields whose change loses packets for a moment."""
    return Traits(
        rank=inside_out(place),
        immutable=immutable,
        felt=FELT_AS_LINK._replace(flap=flap.names),
        is_exclusive=True,
        is_endpoint_link=is_endpoint_link,
        memory="",
        link_kind=link_kind,
    )


def told_plugin(
    place: int, immutable: FieldSet, felt: Felt = UNFELT, *, is_awaited: bool = False, is_news: bool = False
) -> Traits:
    """Return the traits of what a plugin is told: nothing of it is on this host, and nobody there fights over it.

    place: made upwards, removed downwards (docs/design/docker.md#plugins), when all else is done: one that hangs delays nothing.
    """
    return Traits(
        rank=Rank(PlanStep(Phase.PUBLISH, 100 + place), PlanStep(Phase.PUBLISH, 100 - place)),
        immutable=immutable,
        felt=felt,
        is_exclusive=False,
        is_endpoint_link=False,
        memory="",
        is_awaited=is_awaited,
        is_news=is_news,
        is_braked=False,
    )


def kept_record(depth: int) -> Traits:
    """Return the traits of a record in a store: deeper ones speak of those above."""
    return Traits(
        rank=Rank(PlanStep(Phase.PROMISE, depth), PlanStep(Phase.WITHDRAW, -depth)),
        immutable=NO_FIELDS,
        felt=UNFELT,
        is_exclusive=False,
        is_endpoint_link=False,
        memory="",
        is_news=True,
    )


def in_firewall(felt: Felt, *, is_exclusive: bool) -> Traits:
    """Return the traits of our nft tables and of what is in them: all is changed in one transaction."""
    return Traits(
        rank=IN_ONE_TRANSACTION,
        immutable=NO_FIELDS,
        felt=felt,
        is_exclusive=is_exclusive,
        is_endpoint_link=False,
        memory="firewall",
        is_braked=False,
    )


OF_REMOTE_ENDPOINTS = Traits(
    rank=inside_out(27),
    immutable=NO_FIELDS,
    felt=FELT_LIVE,
    is_exclusive=False,
    is_endpoint_link=False,
    memory="stale_entries",
    is_news=True,
)
"""Of what a VXLAN device knows of endpoints on other hosts."""


class OwnerLookup(Protocol):
    """Who has what, as far as it is known: see `plan.ownership`."""

    def of_host_link(self, ifname: str, /) -> Unit | None: ...

    def of_namespace(self, ns: NsRef, /) -> Unit | None: ...

    def of_link(self, ns: NsRef, ifname: str, /) -> Unit | None: ...


class Kind(Value, frozen=True, kw_only=True):
    """A kind of object. What raises NotImplementedError here is required of each."""

    kind: ClassVar[str]
    traits: ClassVar[Traits]
    uncompared: ClassVar[frozenset[str]] = frozenset({"unit"})
    unit: Unit = HOST_UNIT

    def __init_subclass__(cls) -> None:
        if "kind" not in cls.__dict__:
            return  # a family
        missing = [] if "traits" in cls.__dict__ else ["traits"]
        missing += [name for name in _REQUIRED if getattr(cls, name) is getattr(Kind, name)]
        if not missing and cls.traits.is_endpoint_link and cls.sandbox is Kind.sandbox:
            missing.append("sandbox")
        if missing:
            raise TypeError(f"{cls.__name__} says nothing of {', '.join(missing)}: see model/kinds/base.py")
        listed = cls.traits.immutable.names | cls.traits.felt.flap
        if unknown := listed - set(cls.__annotations__):
            raise TypeError(f"{cls.__name__} has no fields {', '.join(sorted(unknown))}, as its traits say")

    @property
    def key(self) -> Key:
        raise NotImplementedError

    def describe(self) -> str:
        """Return in a few words what this is, for plans and logs."""
        raise NotImplementedError

    def owner(self, owners: OwnerLookup) -> Unit | None:
        """Return the unit on whose behalf it exists, where it was observed; None when nothing tells."""
        raise NotImplementedError

    def touches(self) -> tuple[NsRef, ...]:
        """Return the network namespaces in which its making, change or removal changes something."""
        raise NotImplementedError

    def carries(self) -> Places:
        """Return what goes with it: the kernel takes along whatever sits there."""
        raise NotImplementedError

    def sits_on(self) -> Places:
        """Return the places each of which takes it along."""
        raise NotImplementedError

    def may_carry(self) -> Places:
        """Return what may go with it besides."""
        return ()

    def step(self, *, is_delete: bool) -> PlanStep:
        return self.traits.rank.step(is_delete=is_delete)

    def disruption_of_delete(self) -> Disruption:
        return self.traits.felt.delete

    def is_barred_by(self, found: Kind, is_own_link: IsOwnLink) -> bool:
        """Return whether a foreign object under its key keeps it from being made."""
        return self.traits.is_exclusive

    def is_endpoint(self) -> bool:
        """Return whether an endpoint runs where it is found."""
        return self.traits.is_endpoint_link

    def is_news_after(self, before: Kind | None) -> bool:
        """Return whether making this of `before`, or of nothing, is no drift put right, but passes on what somebody said."""
        return self.traits.is_news

    def sandbox(self) -> NsRef:
        """Return the sandbox whose processes lose something with it, the host's namespace for none."""
        return HOST

    def owner_unknown(self) -> Unit:
        """Return the unit that its removal fails with when nothing tells whose it is."""
        return HOST_UNIT

    def found_as(self) -> str:
        """Name it as a person finds it who must get it out of the way."""
        return self.describe()

    def attributes(self) -> dict[str, Plain]:
        """Return the fields for the plan's JSON: plain values, in order of declaration, without what is not compared."""
        return {name: _plain(getattr(self, name)) for name in compared(type(self))}


_REQUIRED = ("key", "describe", "owner", "touches", "carries", "sits_on")


class OfLink(Kind, frozen=True, kw_only=True):
    """The family of links."""

    ns: NsRef
    ifname: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname)

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return owners.of_link(self.ns, self.ifname)

    def touches(self) -> tuple[NsRef, ...]:
        return (self.ns,)

    def carries(self) -> Places:
        return ((self.ns, self.ifname),)

    def sits_on(self) -> Places:
        return ()


class OnParent(OfLink, frozen=True, kw_only=True):
    """The family of links in sandboxes that sit on a link of the host."""

    parent: str

    def sandbox(self) -> NsRef:
        return self.ns

    def sits_on(self) -> Places:
        return (upper_links_of(self.parent),)


class OnLink(Kind, frozen=True, kw_only=True):
    """The family of what a link has, and loses when it or its namespace goes."""

    ns: NsRef
    ifname: str

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return owners.of_link(self.ns, self.ifname)

    def touches(self) -> tuple[NsRef, ...]:
        return (self.ns,)

    def carries(self) -> Places:
        return ()

    def sits_on(self) -> Places:
        return (self.ns,), (self.ns, self.ifname)


class OfFirewall(Kind, frozen=True, kw_only=True):
    """The family of our nft tables and what is in them."""

    ns: NsRef

    def step(self, *, is_delete: bool) -> PlanStep:
        return self.traits.rank.step(is_delete=is_delete) if self.ns == HOST else INSIDE

    def touches(self) -> tuple[NsRef, ...]:
        return ()

    def carries(self) -> Places:
        return ()

    def sits_on(self) -> Places:
        return ((self.ns,),)


class Apart(Kind, frozen=True, kw_only=True):
    """The family of what is in no network namespace: files, records, and what others were told."""

    def touches(self) -> tuple[NsRef, ...]:
        return ()

    def carries(self) -> Places:
        return ()

    def sits_on(self) -> Places:
        return ()


class Record(Apart, frozen=True, kw_only=True):
    """The family of what stands in a key-value store."""

    path: str
    value: str

    @property
    def key(self) -> Key:
        return (self.kind, self.path)


def addresses_of(ns: NsRef, ifname: str) -> Place:
    return ns, ifname, "addresses"


def upper_links_of(parent: str) -> Place:
    """Return the place of links in any namespace that sit on a link of the host, and that the kernel deletes with it."""
    return HOST, parent, "upper links"


def where(ns: NsRef) -> str:
    return f" in {ns}" if ns else ""


def _plain(value: object) -> Plain:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return [_plain(item) for item in value] if isinstance(value, tuple) else str(value)
