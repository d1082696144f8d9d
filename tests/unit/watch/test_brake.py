"""Two writers that fight over one object."""

from __future__ import annotations

from reconciler.errors import KernelError
from reconciler.model.identifiers import HOST
from reconciler.model.objects import Bridge, FirewallRules, Object, Unit
from reconciler.model.plan import Action, Operation, Outcome
from reconciler.watch.brake import CORRECTIONS_MAX, PAUSE_S, WINDOW_S, Brake

BRIDGE = Bridge(unit=Unit(network="lan"), ns=HOST, ifname="br-lan", mac="", mtu=1500)


def correction(found: Object = BRIDGE, error: KernelError | None = None) -> Outcome:
    return Outcome(operation=Operation(action=Action.CREATE, before=None, after=found, unit=found.unit), error=error)


def test_a_few_corrections_are_no_fight() -> None:
    brake = Brake()

    for second in range(CORRECTIONS_MAX):
        brake.corrected([correction()], float(second))

    assert brake.braked(10.0) == ()


def test_the_unit_is_left_alone_after_too_many_and_the_object_is_named() -> None:
    brake = Brake()

    for second in range(CORRECTIONS_MAX + 1):
        brake.corrected([correction()], float(second))

    [(unit, reason)] = brake.braked(10.0)
    assert unit == Unit(network="lan")
    assert "br-lan" in str(reason)


def test_corrections_far_apart_are_no_fight() -> None:
    brake = Brake()

    for number in range(10 * CORRECTIONS_MAX):
        brake.corrected([correction()], number * WINDOW_S)

    assert brake.braked(10 * CORRECTIONS_MAX * WINDOW_S) == ()


def test_the_pause_ends_by_itself_and_with_new_specs() -> None:
    brake = Brake()
    for second in range(CORRECTIONS_MAX + 1):
        brake.corrected([correction()], float(second))

    assert brake.next_release_s() == CORRECTIONS_MAX + PAUSE_S
    assert brake.braked(CORRECTIONS_MAX + PAUSE_S) == ()
    for second in range(CORRECTIONS_MAX + 1):
        brake.corrected([correction()], 1000.0 + second)
    brake.release()
    assert brake.braked(1010.0) == ()


def test_a_person_ends_the_pause_of_what_is_named() -> None:
    brake = Brake()
    other = Bridge(unit=Unit(network="wan"), ns=HOST, ifname="br-wan", mac="", mtu=1500)
    for second in range(CORRECTIONS_MAX + 1):
        brake.corrected([correction(), correction(other)], float(second))

    brake.release_units(frozenset({"lan"}))

    assert [unit for unit, _ in brake.braked(10.0)] == [Unit(network="wan")]


def test_the_firewall_is_put_back_however_often_it_is_flushed() -> None:
    brake = Brake()

    for second in range(5 * CORRECTIONS_MAX):
        brake.corrected([correction(FirewallRules(family="inet", table="reconciler", digest=""))], float(second))

    assert brake.braked(30.0) == ()


def test_a_correction_that_failed_does_not_count() -> None:
    brake = Brake()

    for second in range(5 * CORRECTIONS_MAX):
        brake.corrected([correction(error=KernelError(16, "create"))], float(second))

    assert brake.braked(30.0) == ()
