"""One failure harms what depends on it, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.apply.executor import carry_out, failures
from reconciler.errors import KernelError
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Bridge, ClusterRecord, KvRecord, LinkUp, Namespace, Object, Unit
from reconciler.model.plan import Action, Operation, Outcome

REFUSED = KernelError(16, "create bridge br-a")


def create(found: Object) -> Operation:
    return Operation(action=Action.CREATE, before=None, after=found, unit=found.unit)


def bridge(network: str) -> Operation:
    return create(Bridge(unit=Unit(network=network), ns=HOST, ifname=f"br-{network}", mac="", mtu=1500))


def link(network: str, attachment: str) -> Operation:
    unit = Unit(network=network, attachment=attachment)
    return create(LinkUp(unit=unit, ns=NsRef(f"netns:{attachment}"), ifname="eth0"))


def namespace(attachment: str) -> Operation:
    return create(Namespace(unit=Unit(attachment=attachment), ns=NsRef(f"netns:{attachment}"), name=attachment))


class Recorder:
    """Carries out everything but what it is told to refuse."""

    def __init__(self, *refused: Operation) -> None:
        self.done: list[Operation] = []
        self._refused = refused

    def __call__(self, operations: Sequence[Operation]) -> list[Outcome]:
        self.done += [o for o in operations if o not in self._refused]
        return [Outcome(operation=o, error=REFUSED if o in self._refused else None) for o in operations]

    def handlers(self) -> dict[type[Object], Recorder]:
        return {Bridge: self, LinkUp: self, Namespace: self}


def test_a_failed_network_skips_its_endpoints_and_no_others() -> None:
    operations = [bridge("a"), bridge("b"), link("a", "web"), link("b", "db")]
    kernel = Recorder(operations[0])

    outcomes = carry_out(operations, kernel.handlers())

    assert kernel.done == [bridge("b"), link("b", "db")]
    assert [(o.operation, o.error, o.skipped) for o in outcomes if o.error] == [
        (bridge("a"), REFUSED, False),
        (link("a", "web"), REFUSED, True),
    ]


def test_a_failed_sandbox_skips_all_endpoints_of_its_attachment() -> None:
    operations = [namespace("web"), link("a", "db"), link("a", "web"), link("b", "web")]
    kernel = Recorder(namespace("web"))

    carry_out(operations, kernel.handlers())

    assert kernel.done == [link("a", "db")]


def delete(found: Object) -> Operation:
    return Operation(action=Action.DELETE, before=found, after=None, unit=found.unit)


def record(path: str, network: str, attachment: str = "") -> KvRecord:
    return KvRecord(unit=Unit(network=network, attachment=attachment), path=path, value="{}")


def member(network: str) -> ClusterRecord:
    return ClusterRecord(unit=Unit(network=network), path=f"network/{network}/members/alpha", value="{}")


def test_a_network_is_not_forgotten_before_its_endpoints_are() -> None:
    """What was left of them was found by nobody: in the cluster's store, at its plugins."""
    veth = delete(link("b", "web").object)
    endpoints = [delete(record("endpoint/a/web", "a", "web")), delete(record("endpoint/a/db", "a", "db"))]
    networks = [delete(member("a")), delete(record("network/a", "a")), delete(record("network/c", "c"))]
    recorder = Recorder(veth)
    handlers = dict.fromkeys((LinkUp, KvRecord, ClusterRecord), recorder)

    outcomes = carry_out([veth, *endpoints, *networks], handlers)

    assert recorder.done == [endpoints[1], networks[2]]
    assert [o.operation for o in outcomes if o.skipped] == [endpoints[0], networks[0], networks[1]]


def test_what_is_made_anew_waits_for_no_endpoint() -> None:
    veth, before = delete(link("a", "web").object), record("network/a", "a")
    recorder = Recorder(veth)

    carry_out([veth, delete(before), create(before)], dict.fromkeys((LinkUp, KvRecord), recorder))

    assert recorder.done == [delete(before), create(before)]


def test_failures_name_the_units_that_failed_by_themselves() -> None:
    operations = [bridge("a"), link("a", "web")]

    outcomes = carry_out(operations, Recorder(bridge("a")).handlers())

    assert failures(outcomes) == ((Unit(network="a"), REFUSED),)


def test_operations_of_one_step_reach_their_handler_as_one_batch() -> None:
    batches: list[int] = []

    def handler(operations: Sequence[Operation]) -> list[Outcome]:
        batches.append(len(operations))
        return [Outcome(operation=o) for o in operations]

    carry_out([bridge("a"), bridge("b"), link("a", "web")], {Bridge: handler, LinkUp: handler})

    assert batches == [2, 1]


def test_progress_counts_up_to_the_number_of_operations() -> None:
    told: list[tuple[int, int]] = []

    carry_out(
        [bridge("a"), bridge("b")], Recorder().handlers(), lambda done, total, operation: told.append((done, total))
    )

    assert told == [(1, 2), (2, 2)]
