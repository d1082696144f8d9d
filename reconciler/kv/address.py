"""`--cluster-store` and `--cluster-store-opt`: from what the user wrote to what a provider is opened with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.cluster.records import OWN_FOLDERS
from reconciler.errors import ConfigError
from reconciler.kv.config import Endpoint, Provider, StoreConfig, TlsFiles
from reconciler.kv.protocol import checked_prefix
from reconciler.model.objects import IPAddress
from reconciler.records.file import content_or_piped
from reconciler.settings import SECRET_VARIABLE

DEFAULT_PORTS: Final[Mapping[Provider, int]] = {Provider.CONSUL: 8500, Provider.ETCD: 2379, Provider.ZK: 2181}

OPTIONS: Final = (
    "kv.cacertfile",
    "kv.certfile",
    "kv.keyfile",
    "kv.path",
    "kv.secretfile",
    "discovery.heartbeat",
    "discovery.ttl",
    "discovery.grace",
)

_HEARTBEAT_S: Final = 20
_HEARTBEATS_PER_TTL: Final = 3
"""The engine's defaults."""

_GRACE_S: Final = 86_400
"""A day: a host that is repaired until then comes back to its addresses."""

_FORM: Final = "kv store daemon config must be of the form KV-PROVIDER://KV-URL"
_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?\Z")
_SECRET_BYTES_MAX: Final = 4096


class Discovery(Struct, frozen=True, kw_only=True):
    """How a host makes itself known. path: the folder of nodes, below the store's prefix.

    grace_s: for how long what a dead host had is kept for it.
    """

    heartbeat_s: int = _HEARTBEAT_S
    ttl_s: int = _HEARTBEAT_S * _HEARTBEATS_PER_TTL
    path: str = "nodes/"
    grace_s: int = _GRACE_S


def store_config(url: str, options: Mapping[str, str], environment: Mapping[str, str]) -> StoreConfig:
    """Return what `PROVIDER://HOST[:PORT][,HOST…][/PREFIX]` and the `kv.` options say. Raises ConfigError."""
    _check_options(options)
    name, separator, rest = url.partition("://")
    if not separator or not rest:
        raise ConfigError(f"{_FORM}, not {url!r}")
    if name not in tuple(Provider):
        raise ConfigError(f"--cluster-store {url}: no provider {name!r}; there are {', '.join(Provider)}")
    provider = Provider(name)
    hosts, _, prefix = rest.partition("/")
    return StoreConfig(
        provider=provider,
        endpoints=tuple(_endpoint(host, DEFAULT_PORTS[provider], url) for host in hosts.split(",")),
        prefix=_folder(prefix, f"--cluster-store {url}"),
        tls=_tls(options),
        secret=_secret(provider, options, environment),
    )


def store_addresses(url: str) -> Iterator[IPAddress]:
    """Yield the store's servers as far as they stand in the address as numbers; names are not looked up."""
    for host in url.partition("://")[2].partition("/")[0].split(","):
        match = _HOST.match(host)
        with suppress(ValueError):
            yield ip_address((match["v6"] or match["name"]) if match else "")


def discovery(options: Mapping[str, str]) -> Discovery:
    """Return what the `discovery.` options and `kv.path` say; of heartbeat and TTL each follows from the other."""
    _check_options(options)
    heartbeat_s = _seconds(options, "discovery.heartbeat")
    ttl_s = _seconds(options, "discovery.ttl")
    if heartbeat_s is None:
        heartbeat_s = _HEARTBEAT_S if ttl_s is None else ttl_s // _HEARTBEATS_PER_TTL
    if ttl_s is None:
        ttl_s = heartbeat_s * _HEARTBEATS_PER_TTL
    if heartbeat_s == 0:
        raise ConfigError(f"discovery.ttl={ttl_s} is too short for {_HEARTBEATS_PER_TTL} heartbeats")
    if ttl_s <= heartbeat_s:
        raise ConfigError("discovery.ttl timer must be greater than discovery.heartbeat")
    grace_s = _seconds(options, "discovery.grace")
    return Discovery(
        heartbeat_s=heartbeat_s,
        ttl_s=ttl_s,
        path=_nodes_folder(options),
        grace_s=_GRACE_S if grace_s is None else grace_s,
    )


def _nodes_folder(options: Mapping[str, str]) -> str:
    path = _folder(options.get("kv.path", "nodes"), "kv.path")
    if path.partition("/")[0] in ("", *OWN_FOLDERS):
        raise ConfigError(
            f"kv.path={path}: expected a folder for hosts alone, not at or below one of {', '.join(OWN_FOLDERS)}"
        )
    return path


def _check_options(options: Mapping[str, str]) -> None:
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        raise ConfigError(f"--cluster-store-opt {unknown[0]}: unknown; there are {', '.join(OPTIONS)}")


def _endpoint(text: str, default_port: int, url: str) -> Endpoint:
    match = _HOST.match(text)
    port = int(match["port"] or default_port) if match else 0
    if match is None or not 0 < port < 65536:
        raise ConfigError(f"--cluster-store {url}: {text!r} is not HOST or HOST:PORT (IPv6 in brackets)")
    return Endpoint(match["v6"] or match["name"], port)


def _folder(text: str, where: str) -> str:
    path = text.strip("/")
    try:
        return checked_prefix(f"{path}/" if path else "")
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _tls(options: Mapping[str, str]) -> TlsFiles | None:
    """As the engine, but an authority alone will do where the server asks for no certificate of ours."""
    names = [options.get(f"kv.{name}") for name in ("cacertfile", "certfile", "keyfile")]
    if not any(names):
        return None
    ca, certificate, key = (Path(name) if name else None for name in names)
    if (certificate is None) != (key is None):
        raise ConfigError("kv.certfile and kv.keyfile belong together: one of them is missing")
    return TlsFiles(ca=ca, certificate=certificate, key=key)


def _secret(provider: Provider, options: Mapping[str, str], environment: Mapping[str, str]) -> str:
    file = options.get("kv.secretfile")
    secret = _read_secret(Path(file)) if file else environment.get(SECRET_VARIABLE, "")
    if not secret and provider is Provider.CONSUL:
        secret = environment.get("CONSUL_HTTP_TOKEN", "")
    where = f"kv.secretfile {file}" if file else SECRET_VARIABLE
    if not (secret.isprintable() and secret.isascii()):
        raise ConfigError(f"{where}: expected one line of printable ASCII characters")
    if secret and provider is not Provider.CONSUL and not all(secret.partition(":")):
        raise ConfigError(f"{where}: expected USER:PASSWORD for {provider}")
    return secret


def _read_secret(path: Path) -> str:
    try:
        return content_or_piped(path, bytes_max=_SECRET_BYTES_MAX).decode(errors="replace").strip()
    except OSError as error:
        raise ConfigError(f"kv.secretfile {path}: {error.strerror}") from error


def _seconds(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) == 0:
        raise ConfigError(f"{name}={text}: expected whole seconds, 1 or more")
    return int(text)
