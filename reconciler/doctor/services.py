"""Whether the network plugins and the container engine that the specs take are there, and the engine answers."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from reconciler.container_engine.client import ContainerEngine
from reconciler.doctor.finding import Finding, command, error
from reconciler.doctor.place import Place
from reconciler.errors import ContainerEngineError, PluginError
from reconciler.model.plugins import OWN_IPAM
from reconciler.model.wanted import SandboxKind, WantedState
from reconciler.plugin.discovery import find_plugin


class Services(Struct, frozen=True, kw_only=True):
    """plugins: those that cannot be used, and why. engine: why it does not answer. socket: where it should."""

    plugins: tuple[tuple[str, str], ...] = ()
    engine: str = ""
    socket: str = ""


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(found: Services) -> Iterator[Finding]:
    for name, reason in found.plugins:
        yield error(reason, f"networks and attachments that take {name} stay as they are")
    if found.engine:
        unit = "podman.socket" if "podman" in found.socket else "docker"
        yield error(
            f"the container engine does not answer: {found.engine}",
            "attachments whose sandboxes are containers stay as they are",
            command("systemctl", "start", unit),
        )


def read(place: Place) -> Services:
    wanted, settings = place.specs.wanted, place.settings
    engine = ContainerEngine(settings.container_engine)
    containers = [a.sandbox.value for a in wanted.attachments if a.sandbox.kind is SandboxKind.CONTAINER]
    failures = [each for each in engine.ask(containers[:1]) if isinstance(each, ContainerEngineError)]
    return Services(
        plugins=tuple((name, why) for name in plugin_names(wanted) if (why := _missing(name, place))),
        engine=str(failures[0]) if failures else "",
        socket=str(engine.socket),
    )


def plugin_names(wanted: WantedState) -> tuple[str, ...]:
    drivers = [network.driver for network in wanted.networks if network.traits.is_plugin]
    pools = [network.ipam_driver for network in wanted.networks if network.ipam_driver not in OWN_IPAM]
    return tuple(sorted({*drivers, *pools}))


def _missing(name: str, place: Place) -> str:
    """Return why a plugin cannot be used. Whether it answers, only what it is asked in a pass tells."""
    try:
        find_plugin(name, place.settings.plugin_root)
    except PluginError as failure:
        return str(failure)
    return ""
