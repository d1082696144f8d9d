"""What a provider is opened with: where the servers are, below which prefix, and how to prove who we are."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from reconciler.errors import ConfigError
from reconciler.kv.protocol import CALL_TIMEOUT_S
from reconciler.model.values import Value
from reconciler.records.file import PEM_MAX, checked

if TYPE_CHECKING:
    import ssl


class Provider(StrEnum):
    CONSUL = "consul"
    ETCD = "etcd"
    ZK = "zk"


class Endpoint(Struct, frozen=True):
    """One server. host: name or address, IPv6 without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class TlsFiles(Struct, frozen=True, kw_only=True):
    """PEM files. ca: who may have signed the server's certificate; certificate and key: ours, None for none."""

    ca: Path | None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises ConfigError naming the one that is no good."""
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.ca and checked(self.ca, bytes_max=PEM_MAX))
        except OSError as error:
            raise ConfigError(f"kv.cacertfile {self.ca}: {error}") from error
        if self.certificate is not None:
            try:
                key = self.key and checked(self.key, bytes_max=PEM_MAX)
                context.load_cert_chain(checked(self.certificate, bytes_max=PEM_MAX), key)
            except OSError as error:
                raise ConfigError(f"kv.certfile {self.certificate}, kv.keyfile {self.key}: {error}") from error
        return context


class StoreConfig(Value, frozen=True, kw_only=True):
    """prefix: a folder, "" or ending with `/`. secret: Consul's token, or `user:password`; never shown."""

    unshown: ClassVar[frozenset[str]] = frozenset({"secret"})
    provider: Provider
    endpoints: tuple[Endpoint, ...]
    prefix: str = ""
    tls: TlsFiles | None = None
    secret: str = ""
    timeout_s: float = CALL_TIMEOUT_S
