"""The records of this host's own store."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from reconciler.facts import Records
from reconciler.ipam.promises import decode_promises
from reconciler.model.objects import KvRecord, Seen
from reconciler.model.observed import Keyed, keyed
from reconciler.model.plugins import PLUGIN_RECORDS
from reconciler.plugin.records import decode_plugin_records
from reconciler.ports.promises import decode_ports
from reconciler.sandbox.readings import decode_readings


def decode_records(texts: Mapping[str, str]) -> Records:
    """Read all records (path to text); never raises."""
    promises, faults = decode_promises(texts)
    plugins, faults_of_plugins = decode_plugin_records(texts)
    ports, faults_of_ports = decode_ports(texts)
    return Records(
        promises=replace(promises, answers=plugins.answers) if plugins.answers else promises,
        plugins=plugins,
        ports=ports,
        readings=decode_readings(texts),
        seen=_seen(texts),
        faults=(*faults, *faults_of_plugins, *faults_of_ports),
    )


def _seen(texts: Mapping[str, str]) -> Keyed:
    """Return the records as objects. What plugins were told is no promise: it is seen as what exists there."""
    ours = ((path, value) for path, value in texts.items() if not path.startswith(PLUGIN_RECORDS))
    return keyed(Seen(KvRecord(path=path, value=value), is_ours=True) for path, value in ours)
