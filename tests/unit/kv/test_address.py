"""`--cluster-store` and its options."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import ConfigError
from reconciler.kv.address import Discovery, discovery, store_config
from reconciler.kv.config import Endpoint, Provider, TlsFiles


@pytest.mark.parametrize(
    ("url", "provider", "endpoints", "prefix"),
    [
        ("consul://10.0.0.1", Provider.CONSUL, [("10.0.0.1", 8500)], ""),
        ("etcd://a,b:4001/", Provider.ETCD, [("a", 2379), ("b", 4001)], ""),
        ("zk://z1.example.org:2182/one/two", Provider.ZK, [("z1.example.org", 2182)], "one/two/"),
        ("etcd://[fd00::1],[::1]:99/p/", Provider.ETCD, [("fd00::1", 2379), ("::1", 99)], "p/"),
    ],
)
def test_url_gives_provider_servers_and_prefix(url: str, provider: Provider, endpoints: list, prefix: str) -> None:
    config = store_config(url, {}, {})

    assert config.provider is provider
    assert config.endpoints == tuple(Endpoint(*endpoint) for endpoint in endpoints)
    assert config.prefix == prefix


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "must be of the form KV-PROVIDER://KV-URL"),
        ("consul", "must be of the form KV-PROVIDER://KV-URL"),
        ("consul://", "must be of the form KV-PROVIDER://KV-URL"),
        ("boltdb://x", "no provider 'boltdb'; there are consul, etcd, zk"),
        ("consul:///prefix", "'' is not HOST"),
        ("consul://a,,b", "'' is not HOST"),
        ("consul://a:0", "'a:0' is not HOST"),
        ("consul://a:65536", "'a:65536' is not HOST"),
        ("consul://fd00::1", "IPv6 in brackets"),
        ("consul://user:pw@a", "is not HOST"),
        ("consul://a b", "is not HOST"),
        ("consul://a\r\nX-Evil: 1", "is not HOST"),
        ("consul://a/p/../q", "is not a key"),
    ],
)
def test_url_that_says_nothing_usable_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        store_config(url, {}, {})


@given(st.text(max_size=60))
def test_any_text_gives_a_config_or_a_config_error(text: str) -> None:
    for url in (text, f"consul://{text}"):
        try:
            config = store_config(url, {}, {})
        except ConfigError:
            continue
        assert all(0 < endpoint.port < 65536 for endpoint in config.endpoints)


def test_tls_files_are_taken_over() -> None:
    options = {"kv.cacertfile": "/ca", "kv.certfile": "/cert", "kv.keyfile": "/key"}

    assert store_config("etcd://a", options, {}).tls == TlsFiles(
        ca=Path("/ca"), certificate=Path("/cert"), key=Path("/key")
    )
    assert store_config("etcd://a", {"kv.cacertfile": "/ca"}, {}).tls == TlsFiles(ca=Path("/ca"))
    assert store_config("etcd://a", {}, {}).tls is None


@pytest.mark.parametrize("name", ["kv.certfile", "kv.keyfile"])
def test_certificate_without_key_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="belong together"):
        store_config("etcd://a", {name: "/file"}, {})


def test_tls_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")

    with pytest.raises(ConfigError, match=r"kv\.cacertfile .*ca\.pem"):
        TlsFiles(ca=tmp_path / "ca.pem").context()
    with pytest.raises(ConfigError, match=r"kv\.certfile /absent"):
        TlsFiles(ca=None, certificate=Path("/absent"), key=Path("/absent")).context()


def test_secret_comes_from_the_file_before_the_environment(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-file\n")
    options = {"kv.secretfile": str(tmp_path / "secret")}
    environment = {"RECONCILE_KV_SECRET": "from-environment", "CONSUL_HTTP_TOKEN": "consuls-own"}

    assert store_config("consul://a", options, environment).secret == "from-file"
    assert store_config("consul://a", {}, environment).secret == "from-environment"
    assert store_config("consul://a", {}, {"CONSUL_HTTP_TOKEN": "consuls-own"}).secret == "consuls-own"
    assert store_config("etcd://a", {}, {"CONSUL_HTTP_TOKEN": "consuls-own"}).secret == ""


def test_secret_is_never_shown() -> None:
    assert "hidden" not in repr(store_config("consul://a", {}, {"RECONCILE_KV_SECRET": "hidden"}))


@pytest.mark.parametrize("secret", ["alone", ":password", "user:", "two\nlines:x", "ü:x"])
def test_secret_that_cannot_be_one_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(ConfigError, match="RECONCILE_KV_SECRET: expected") as caught:
        store_config("etcd://a", {}, {"RECONCILE_KV_SECRET": secret})

    assert secret not in str(caught.value)


def test_secret_file_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"kv\.secretfile /absent: No such file"):
        store_config("consul://a", {"kv.secretfile": "/absent"}, {})


def test_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"kv\.cafile: unknown; there are kv\.cacertfile"):
        store_config("consul://a", {"kv.cafile": "/ca"}, {})


@pytest.mark.parametrize(
    ("options", "heartbeat_s", "ttl_s"),
    [
        ({}, 20, 60),
        ({"discovery.heartbeat": "5"}, 5, 15),
        ({"discovery.ttl": "31"}, 10, 31),
        ({"discovery.heartbeat": "5", "discovery.ttl": "6"}, 5, 6),
    ],
)
def test_heartbeat_and_ttl_follow_from_each_other(options: dict[str, str], heartbeat_s: int, ttl_s: int) -> None:
    assert discovery(options) == Discovery(heartbeat_s=heartbeat_s, ttl_s=ttl_s)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"discovery.heartbeat": "6", "discovery.ttl": "6"},
            "discovery.ttl timer must be greater than discovery.heartbeat",
        ),
        ({"discovery.ttl": "2"}, "too short"),
        ({"discovery.ttl": "0"}, "whole seconds"),
        ({"discovery.heartbeat": "-1"}, "whole seconds"),
        ({"discovery.heartbeat": "1.5"}, "whole seconds"),
        ({"discovery.grace": "0"}, "whole seconds"),
        ({"kv.path": "a/../b"}, "kv.path"),
        ({"kv.path": "/"}, "a folder for hosts alone"),
        ({"kv.path": "networks"}, "a folder for hosts alone"),
        ({"kv.path": "network/over"}, "a folder for hosts alone"),
    ],
)
def test_discovery_that_makes_no_sense_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        discovery(options)


def test_nodes_folder_is_kv_path() -> None:
    assert discovery({"kv.path": "/docker/nodes/"}).path == "docker/nodes/"


def test_grace_is_a_day_unless_said_otherwise() -> None:
    assert discovery({}).grace_s == 86_400
    assert discovery({"discovery.grace": "60"}).grace_s == 60
