"""Links of plugins on their way into a sandbox and back."""

from __future__ import annotations

import pytest

from reconciler.errors import NameConflict, PluginError
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import LinkUp, PluginLink
from tests.kernel.engine import Engine
from tests.machine import Machine

pytestmark = pytest.mark.kernel


@pytest.fixture
def ns(engine: Engine) -> NsRef:
    return engine.make_sandbox("box")


def make_given(machine: Machine) -> int:
    """Make what a plugin would make, and give its index."""
    machine.run("", "ip", "-n", "H", "link", "add", "given", "type", "veth", "peer", "kept")
    index: int = machine.ip_json("H", "link", "show", "given")[0]["ifindex"]
    return index


def link(ns: NsRef, index: int, ifname: str = "eth0", mac: str = "") -> PluginLink:
    return PluginLink(ns=ns, ifname=ifname, mac=mac, src_name="given", src_index=index, endpoint="0123456789ab")


def test_link_is_moved_renamed_and_marked(engine: Engine, machine: Machine, ns: NsRef) -> None:
    wanted = link(ns, make_given(machine), mac="02:00:00:00:00:07")

    engine.create(wanted)

    assert engine.has(wanted)
    seen = engine.look(wanted)
    assert seen is not None
    assert seen.is_ours
    assert isinstance(seen.object, PluginLink)
    assert (seen.object.src_name, seen.object.endpoint, seen.object.mac) == (
        "given",
        "0123456789ab",
        "02:00:00:00:00:07",
    )
    assert machine.links("H") == ["kept", "lo"]


def test_link_that_is_there_already_is_fine(engine: Engine, machine: Machine, ns: NsRef) -> None:
    wanted = link(ns, make_given(machine))
    engine.create(wanted)
    engine.create(LinkUp(ns=ns, ifname="eth0"))

    assert engine.create_error(wanted) is None


def test_link_of_another_endpoint_in_its_place_is_a_conflict(engine: Engine, machine: Machine, ns: NsRef) -> None:
    index = make_given(machine)
    engine.create(link(ns, index))

    other = PluginLink(ns=ns, ifname="eth0", src_name="given", src_index=index, endpoint="ffffffffffff")

    assert isinstance(engine.create_error(other), NameConflict)


@pytest.mark.parametrize("is_up", [False, True])
def test_foreign_link_in_its_place_stays(is_up: bool, engine: Engine, machine: Machine, ns: NsRef) -> None:
    index = make_given(machine)
    machine.run("", "ip", "-n", "box", "link", "add", "eth0", "type", "veth", "peer", "other")
    machine.run("", "ip", "-n", "box", "link", "set", "eth0", "up" if is_up else "down")

    assert isinstance(engine.create_error(link(ns, index)), NameConflict)
    assert machine.links("box") == ["eth0", "lo", "other"]
    assert machine.links("H") == ["given", "kept", "lo"]


def test_namesake_of_the_link_is_not_taken_for_it(engine: Engine, machine: Machine, ns: NsRef) -> None:
    index = make_given(machine)

    error = engine.create_error(link(ns, index + 1))

    assert isinstance(error, PluginError)
    assert "another link has its name by now" in str(error)
    assert machine.links("H") == ["given", "kept", "lo"]


def test_link_goes_back_as_it_came(engine: Engine, machine: Machine, ns: NsRef) -> None:
    wanted = link(ns, make_given(machine))
    engine.create(wanted)
    engine.create(LinkUp(ns=ns, ifname="eth0"))
    seen = engine.look(wanted)
    assert seen is not None

    assert engine.delete_error(seen.object) is None

    assert machine.links("box") == ["lo"]
    (back,) = machine.ip_json("H", "link", "show", "given")
    assert (back["group"], back["operstate"], "ifalias" in back) == ("default", "DOWN", False)
    assert engine.delete_error(seen.object) is None


def test_link_whose_name_is_taken_meanwhile_goes_back_under_another(
    engine: Engine, machine: Machine, ns: NsRef
) -> None:
    wanted = link(ns, make_given(machine))
    engine.create(wanted)
    machine.run("", "ip", "-n", "H", "link", "add", "given", "type", "veth", "peer", "other")
    seen = engine.look(wanted)
    assert seen is not None

    assert engine.delete_error(seen.object) is None

    assert machine.links("box") == ["lo"]
    assert machine.links("H") == ["given", "kept", "lo", "other", "plugin0"]


def test_link_whose_mark_was_tampered_with_goes_back_all_the_same(engine: Engine, machine: Machine, ns: NsRef) -> None:
    wanted = link(ns, make_given(machine))
    engine.create(wanted)
    machine.run("box", "ip", "link", "set", "eth0", "alias", "reconciler-plugin:x:../../etc")
    seen = engine.look(wanted)
    assert seen is not None
    assert isinstance(seen.object, PluginLink)
    assert (seen.object.src_name, seen.object.endpoint) == ("", "")

    assert engine.delete_error(seen.object) is None

    assert machine.links("H") == ["kept", "lo", "plugin0"]


def test_foreign_link_is_never_moved_back(engine: Engine, machine: Machine, ns: NsRef) -> None:
    machine.run("", "ip", "-n", "box", "link", "add", "eth0", "type", "veth", "peer", "other")

    assert isinstance(engine.delete_error(link(ns, 5)), NameConflict)
    assert machine.links("box") == ["eth0", "lo", "other"]
