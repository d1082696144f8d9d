"""What a module of `kinds` says of each of its kinds, so that no stage has to list them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Flag, auto
from functools import wraps
from typing import Any, NamedTuple, Protocol, TypeVar

from reconciler.errors import ReconcilerError
from reconciler.kernel.links import Link
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.scripts import Script
from reconciler.kinds.view import Links, NamespaceView, Peers
from reconciler.kinds.world import World
from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import Kind
from reconciler.model.objects import Seen
from reconciler.model.plan import Operation, Outcome

K = TypeVar("K", bound=Kind)


class Where(Flag):
    """Namespaces that objects are looked for in. UNNAMED: those of ours that no attachment names any more."""

    HOST = auto()
    OVERLAY = auto()
    SANDBOX = auto()
    UNNAMED = auto()


class SeenInLink(NamedTuple):
    """Objects are seen in single links of ours, on the host and in overlay networks.

    observe: given the namespace, the link, all links there, and the far ends of pairs.
    """

    observe: Callable[[NsRef, Link, Links, Peers], Iterable[Seen]]


class SeenInView(NamedTuple):
    """Objects are seen in what was read of whole namespaces."""

    where: Where
    observe: Callable[[NsRef, NamespaceView], Iterable[Seen]]


class SeenApart(NamedTuple):
    """Objects are seen by a look of their own."""

    observe: Callable[..., object]


class Scripts(NamedTuple):
    """Objects are made, changed and removed by netlink; None for what does not happen."""

    create: Callable[[Any, Namespaces], Script]
    update: Callable[[Any, Any, Namespaces], Script] | None
    remove: Callable[[Any, Namespaces], Script] | None


class Apply(Protocol):
    """As a `Handler`."""

    def __call__(self, operations: Sequence[Operation], world: World) -> Sequence[Outcome]: ...


class Row(NamedTuple):
    """How objects of one kind are seen, and how they are made, changed and removed. Kinds with one `Apply` are told it together."""

    kind: type[Kind]
    seen: SeenInLink | SeenInView | SeenApart
    made: Scripts | Apply


def scripted(
    kind: type[K],
    *,
    seen: SeenInLink | SeenInView | SeenApart,
    create: Callable[[K, Namespaces], Script],
    update: Callable[[K, K, Namespaces], Script] | None,
    remove: Callable[[K, Namespaces], Script] | None,
) -> Row:
    """Return the row of a kind whose objects are made by netlink. Raises TypeError when remove is not as the traits say.

    update: None for what is the same, or another object. remove: None for what nobody removes by itself, and for links of kinds
    of the kernel's, which go together.
    """
    is_removed = kind.traits.is_removable and not kind.traits.link_kind
    if is_removed == (remove is None):
        raise TypeError(f"{kind.__name__}: its traits say that remove is {'needed' if is_removed else 'never called'}")
    return Row(kind, seen, Scripts(create, update, remove))


def one_by_one(carry_out: Callable[[Operation, World], None]) -> Apply:
    """Return how operations are carried out of which each may raise a ReconcilerError by itself."""

    @wraps(carry_out)
    def apply(operations: Sequence[Operation], world: World) -> list[Outcome]:
        return [Outcome(operation=operation, error=_error_of(operation, world)) for operation in operations]

    def _error_of(operation: Operation, world: World) -> ReconcilerError | None:
        try:
            carry_out(operation, world)
        except ReconcilerError as error:
            return error
        return None

    return apply
