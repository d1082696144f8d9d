"""What a provider is opened with: where the servers are, below which prefix, and how to prove who we are."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import ConfigError
from reconciler.kv.protocol import CALL_TIMEOUT_S

if TYPE_CHECKING:
    import ssl


class Provider(StrEnum):
    CONSUL = "consul"
    ETCD = "etcd"
    ZK = "zk"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server. host: name or address, IPv6 without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files. ca: who may have signed the server's certificate; certificate and key: ours, None for none."""

    ca: Path | None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises ConfigError naming the one that is no good."""
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise ConfigError(f"kv.cacertfile {self.ca}: {error}") from error
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key)
            except OSError as error:
                raise ConfigError(f"kv.certfile {self.certificate}, kv.keyfile {self.key}: {error}") from error
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """prefix: a folder, "" or ending with `/`. secret: Consul's token, or `user:password`; never shown."""

    provider: Provider
    endpoints: tuple[Endpoint, ...]
    prefix: str = ""
    tls: TlsFiles | None = None
    secret: str = field(default="", repr=False)
    timeout_s: float = CALL_TIMEOUT_S
