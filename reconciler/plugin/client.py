"""Calls to plugins: one HTTP exchange each, over within its deadline whatever the plugin does (docs/design/docker.md#plugins).

The engine waits up to 15 s for a plugin that is down, in the middle of everything else. Here a call fails at once, and that
plugin is left alone for a while that doubles: whoever runs passes tries again, and nothing else waits meanwhile.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct, field
from pydantic import ValidationError

from reconciler.errors import PluginError, PluginMissing, PluginRefused, PluginUnavailable
from reconciler.http.client_protocol import AnswerTooLong, BadResponse, Request, Response
from reconciler.http.connection import Connection, Origin
from reconciler.plugin.discovery import PluginLocation, find_plugin, tls_context
from reconciler.plugin.messages import ActivateReply, CapabilitiesReply, IpamCapabilitiesReply, PluginReply, faults_of
from reconciler.records.faults import shown

ACCEPT: Final = "application/vnd.docker.plugins.v1.2+json"
REPLY_BYTES_MAX: Final = 1024 * 1024
"""Of one answer; those of real plugins stay below 1 KiB."""

_WAITS_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""How long a plugin that failed is left alone: the engine's 1, 2, 4 and 8 s, and then further apart."""

_WAIT_PER_SECOND_LOST: Final = 9
"""But longer where it took long to fail: of a watcher's time a plugin that hangs costs a tenth at most."""

_INTRODUCTION_S_MAX: Final = 5.0
"""What asking a plugin what it is may take; one that hangs does so there, once it failed."""

_INTRODUCTIONS: Final = ("Plugin.Activate", "NetworkDriver.GetCapabilities", "IpamDriver.GetCapabilities")
"""Calls that say nothing of whether the plugin does its work."""

R = TypeVar("R", bound=PluginReply)


class Interface(StrEnum):
    """What a plugin may implement, as it says to Plugin.Activate."""

    NETWORK = "NetworkDriver"
    IPAM = "IpamDriver"


class NotImplementedByPlugin(PluginRefused):
    """404: the plugin does not know the method."""


class _Known(Struct):
    """What is known of one plugin. implements None: it was not asked yet, or failed since."""

    implements: frozenset[str] | None = None
    capabilities: CapabilitiesReply | None = None
    ipam: IpamCapabilitiesReply | None = None
    failures: int = 0
    not_before: float = 0.0
    reason: str = ""


class Plugins(Struct, kw_only=True):
    """The plugins of this host, by name. root: where the folders of sockets and specs are, `/` on a host.

    timeout_s: of one call, from looking for the plugin to the end of its answer. clock: monotonic seconds.
    """

    root: Path = Path("/")
    timeout_s: float = 20.0
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, _Known] = field(default_factory=dict)

    def call(
        self, plugin: str, interface: Interface, method: str, arguments: Mapping[str, object] | None, answer: type[R]
    ) -> R:
        """Call a method; arguments None: an empty body. Activates the plugin first where that is needed.

        Raises PluginUnavailable when it may or may not have done it, PluginRefused when it says that it has not, and PluginError
        for an answer that cannot be used. Nothing is called twice.
        """
        self.activate(plugin, interface)
        return self._exchange(plugin, f"{interface}.{method}", arguments, answer)

    def activate(self, plugin: str, interface: Interface) -> None:
        """Make sure that the plugin is there and implements `interface`."""
        known = self._known.setdefault(plugin, _Known())
        if known.implements is None:
            reply = self._introduction(plugin)
            known.implements = frozenset(reply.implements)
        if interface not in known.implements:
            known.implements = None  # another one may answer under this name next time
            raise PluginError(f"plugin {plugin!r} does not implement the requested driver: it is no {interface}")

    def _introduction(self, plugin: str) -> ActivateReply:
        """Whoever does not introduce itself was asked for nothing else: it has refused nothing, and may another time."""
        try:
            return self._exchange(plugin, "Plugin.Activate", None, ActivateReply)
        except PluginUnavailable:
            raise
        except PluginError as error:
            raise PluginUnavailable(str(error)) from error

    def scope(self, plugin: str) -> str:
        """Return the scope of a network plugin, `local` or `global`."""
        return self.capabilities(plugin).scope

    def capabilities(self, plugin: str) -> CapabilitiesReply:
        """Ask a network plugin what it can do, once as long as it answers."""
        self.activate(plugin, Interface.NETWORK)
        known = self._known[plugin]
        if known.capabilities is None:
            found = self.call(plugin, Interface.NETWORK, "GetCapabilities", None, CapabilitiesReply)
            scopes = (found.scope, found.connectivity_scope or found.scope)
            wrong = next((scope for scope in scopes if scope not in ("local", "global")), None)
            if wrong is not None:
                text = f"invalid capability: expecting 'local' or 'global', got {shown(wrong)!r}"
                raise PluginError(f"plugin {plugin!r}: {text}")
            known.capabilities = found
        return known.capabilities

    def ipam_capabilities(self, plugin: str) -> IpamCapabilitiesReply:
        """Ask an IPAM plugin what it requires; one that does not know the question requires nothing."""
        self.activate(plugin, Interface.IPAM)
        known = self._known[plugin]
        if known.ipam is None:
            try:
                known.ipam = self.call(plugin, Interface.IPAM, "GetCapabilities", None, IpamCapabilitiesReply)
            except PluginUnavailable:
                raise
            except PluginError:
                known.ipam = IpamCapabilitiesReply()
        return known.ipam

    def incarnation(self, plugin: str) -> str:
        """Return what tells a plugin from the one that ran before under its name; "" where nothing does, or it is not there."""
        try:
            path = find_plugin(plugin, self.root).path
            found = os.stat(path) if path else None
        except (PluginError, OSError):
            return ""
        return f"{found.st_dev}:{found.st_ino}:{found.st_ctime_ns}" if found else ""

    def _exchange(self, plugin: str, path: str, arguments: Mapping[str, object] | None, answer: type[R]) -> R:
        known = self._known.setdefault(plugin, _Known())
        if known.not_before > self.clock():
            raise PluginUnavailable(f"plugin {plugin!r}: {known.reason}")  # word for word as before: nothing is new
        began = self.clock()
        patience_s = min(self.timeout_s, _INTRODUCTION_S_MAX) if path in _INTRODUCTIONS else self.timeout_s
        body = b"" if arguments is None else json.dumps(arguments, separators=(",", ":")).encode()
        try:
            address = find_plugin(plugin, self.root)
            reply = _post(address, path, body, began + patience_s, self.clock)
        except PluginMissing:
            self._known[plugin] = _Known()
            raise
        except (OSError, BadResponse) as error:
            raise self._failed(plugin, f"{path} failed: {_reason(error)}", self.clock() - began) from error
        if path not in _INTRODUCTIONS:
            known.failures = 0
        if reply is None:
            raise PluginError(f"plugin {plugin!r}: {path} answered more than {REPLY_BYTES_MAX} bytes")
        return _read(plugin, path, reply, answer)

    def _failed(self, plugin: str, reason: str, lost_s: float) -> PluginUnavailable:
        """Remember a failure: the plugin is asked for nothing for a while, and introduced to anew afterwards."""
        wait_s = _WAITS_S[min(self._known[plugin].failures, len(_WAITS_S) - 1)]
        wait_s = max(wait_s, _WAIT_PER_SECOND_LOST * lost_s)
        self._known[plugin] = _Known(
            failures=self._known[plugin].failures + 1, not_before=self.clock() + wait_s, reason=reason
        )
        return PluginUnavailable(f"plugin {plugin!r}: {reason}")


def _read(plugin: str, path: str, reply: Response, answer: type[R]) -> R:
    if reply.status != HTTPStatus.OK:
        text = f"plugin {plugin!r}: {path} answered {reply.status}{_told(reply.body)}"
        raise NotImplementedByPlugin(text) if reply.status == HTTPStatus.NOT_FOUND else PluginRefused(text)
    try:
        told = PluginReply.model_validate_json(reply.body)
        if told.error or told.ipam_error:
            raise PluginRefused(f"plugin {plugin!r}: {path}: {shown(told.error or told.ipam_error)}")
        return answer.model_validate_json(reply.body)
    except ValidationError as error:
        raise PluginError(f"plugin {plugin!r}: {path} gave an answer that cannot be used: {faults_of(error)}") from None


def _told(body: bytes | bytearray) -> str:
    """Return the error that an answer carries: as JSON member, or its raw text."""
    try:
        found = PluginReply.model_validate_json(body)
        text = found.error or found.ipam_error
    except ValidationError:
        text = body[:REPLY_BYTES_MAX].decode(errors="replace")
    return f": {told}" if (told := shown(text)) else ""


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, BadResponse):
        return f"no whole HTTP answer: {error}"
    return shown(str(error)) or type(error).__name__


def _post(
    address: PluginLocation, path: str, body: bytes, deadline: float, clock: Callable[[], float]
) -> Response | None:
    """Send one request on a connection of its own; None for an answer over REPLY_BYTES_MAX. Raises OSError, BadResponse."""
    request = Request(method="POST", target=f"/{path}", headers={"Accept": ACCEPT}, body=body)
    tls = tls_context(address.tls) if address.tls else None
    origin = Origin(name="plugin.localhost", unix=address.path, host=address.host, port=address.port, tls=tls)
    connection = Connection(origin, clock)
    connection.deadline = deadline
    try:
        return connection.exchange(request, body_max=REPLY_BYTES_MAX, is_last=True)
    except AnswerTooLong:
        return None
    finally:
        connection.discard()
