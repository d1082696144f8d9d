"""Where a plugin is: from its name to an address, by the places and the order of the engine (docs/design/docker.md#plugins)."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic import ValidationError

from reconciler.errors import PluginError, PluginMissing
from reconciler.model.identifiers import NAME_MAX, is_name
from reconciler.plugin.messages import PluginSpec, TlsConfig, faults_of
from reconciler.records.file import PEM_MAX, checked, content

_SOCKETS: Final = Path("run/docker/plugins")
_SPECS: Final = (Path("etc/docker/plugins"), Path("usr/lib/docker/plugins"))
_SPEC_BYTES_MAX: Final = 64 * 1024
_TCP: Final = ("tcp", "http", "https")
"""The first is documented, the others are what people write, and the engine takes."""

_MISSING: Final = (FileNotFoundError, NotADirectoryError)


class PluginLocation(Struct, frozen=True, kw_only=True):
    """Where a plugin listens. path: of its Unix socket, "" when it is reached by TCP. tls: None for none."""

    path: str = ""
    host: str = ""
    port: int = 0
    tls: TlsConfig | None = None

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"


def find_plugin(name: str, root: Path) -> PluginLocation:
    """Look a plugin up below `root`, on a host that is `/`. Looks anew each time: plugins come and go.

    Raises PluginMissing, PluginError for a file that is found and cannot be used.
    """
    if not is_name(name):
        raise PluginError(f"{name[:NAME_MAX]!r} is no name of a plugin")
    for socket in _places(root / _SOCKETS, name, ".sock"):
        if _is_socket(socket):
            return PluginLocation(path=str(socket))
    for folder in _SPECS:
        for suffix in (".spec", ".json"):
            for file in _places(root / folder, name, suffix):
                text = _text(file)
                if text is not None:
                    return _parsed(file, text.strip()) if suffix == ".spec" else _from_json(file, text)
    raise PluginMissing(_missing(name, root))


def tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """Make what a TLS connection is made with. Raises OSError for files that cannot be used (ssl.SSLError is one)."""
    ca, certificate, key = (
        each and checked(each, bytes_max=PEM_MAX) for each in (tls.ca_file, tls.cert_file, tls.key_file)
    )
    context = ssl.create_default_context(cafile=ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate, key or None)
    return context


def _places(folder: Path, name: str, suffix: str) -> Iterator[Path]:
    yield folder / f"{name}{suffix}"
    yield folder / name / f"{name}{suffix}"


def _missing(name: str, root: Path) -> str:
    folders = ", ".join(str(root / folder) for folder in _SPECS)
    return (
        f"plugin {name!r} not found: there is no {name}.sock in {root / _SOCKETS}, no {name}.spec or {name}.json in {folders}; "
        "start the plugin, or choose another driver"
    )


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except _MISSING:
        return False
    except OSError as cause:
        raise PluginError(f"{path}: {cause.strerror}") from cause


def _text(path: Path) -> str | None:
    """Return the content of a small regular file; None when there is none."""
    try:
        return content(path, bytes_max=_SPEC_BYTES_MAX).decode(errors="replace")
    except _MISSING:
        return None
    except OSError as cause:
        raise PluginError(f"{path}: {cause.strerror}") from cause


def _from_json(file: Path, text: str) -> PluginLocation:
    try:
        spec = PluginSpec.model_validate_json(text)
    except ValidationError as error:
        raise PluginError(f"{file}: {faults_of(error)}") from None
    return _parsed(file, spec.addr, spec.tls)


def _parsed(file: Path, url: str, tls: TlsConfig | None = None) -> PluginLocation:
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
            return PluginLocation(path=parts.path)
        if parts.scheme in _TCP and parts.hostname and parts.port and parts.path in ("", "/"):
            tls = tls or (TlsConfig() if parts.scheme == "https" else None)
            return PluginLocation(host=parts.hostname, port=parts.port, tls=tls)
    except ValueError:
        pass
    raise PluginError(f"{file}: expected unix:///PATH or tcp://HOST:PORT")
