"""Answers that no store gives: an error that says so in a few words, whatever they hold."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.errors import KvUnavailable
from reconciler.http.headers import Headers
from reconciler.kv.config import Endpoint, Provider, StoreConfig
from reconciler.kv.consul import ConsulStore
from reconciler.kv.etcd import EtcdStore
from reconciler.kv.fail_over import StoreResponse

AT = Endpoint("192.0.2.1", 1)


def answering(body: bytes) -> Any:
    headers = Headers([(b"x-consul-index", b"7")])
    return SimpleNamespace(send=lambda *_, **__: StoreResponse(200, headers, body, server=AT))


def consul(body: bytes) -> ConsulStore:
    store = ConsulStore(StoreConfig(provider=Provider.CONSUL, endpoints=(AT,)))
    store._consul.http._http = answering(body)
    return store


def etcd(body: bytes) -> EtcdStore:
    store = EtcdStore(StoreConfig(provider=Provider.ETCD, endpoints=(AT,)))
    store._http = answering(body)
    return store


@pytest.mark.parametrize(
    "body",
    [
        b'[{"Key": "a", "Value": "", "ModifyIndex": 1e999}]',
        b"[" * 100_000,
        json.dumps([{"Key": "a", "Value": "", "ModifyIndex": "\x1b[31m" + "x" * 9000}]).encode(),
        b"[7]",
    ],
    ids=["infinite", "endless", "long", "a number"],
)
def test_of_consul(body: bytes) -> None:
    with pytest.raises(KvUnavailable, match="the server's answer is not Consul's") as raised:
        consul(body).list("")
    assert len(str(raised.value)) < 500
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "body",
    [
        b'{"header": {"revision": 1e999}}',
        json.dumps({"header": {"revision": "\x1b[31m" + "x" * 9000}}).encode(),
        b'{"header": {"revision": "1"}, "kvs": [{"key": "YQ==", "mod_revision": []}]}',
        b'{"header": {"revision": "1"}, "kvs": 7}',
    ],
    ids=["infinite", "long", "a list", "no list"],
)
def test_of_etcd(body: bytes) -> None:
    with pytest.raises(KvUnavailable, match=r"the (server's )?answer is not etcd's") as raised:
        etcd(body).list("")
    assert len(str(raised.value)) < 500
    assert str(raised.value).isprintable()
