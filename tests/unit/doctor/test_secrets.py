"""Secrets do not leave the host, wherever they stand."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from reconciler.doctor.secrets import (
    REMOVED,
    Redaction,
    in_environment,
    is_telling,
    looks_secret,
    of_plugins,
    secrets_in,
)

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "name",
    [
        "password", "DB_PASSWORD", "dbPassword", "db.passwd", "api_key", "API-KEY", "token", "accessToken", "x-auth-token",
        "client_secret", "clientSecret", "private_key", "psk", "authorization", "com.example.secret", "tokens", "MYSQL_PWD",
    ],
)  # fmt: skip
def test_telling_names(name: str) -> None:
    assert is_telling(name)


@pytest.mark.parametrize(
    "name",
    ["network", "kv.secretfile", "token_path", "auth_method", "author", "spinning", "keyboard", "mtu"],
)
def test_names_that_tell_of_nothing(name: str) -> None:
    assert not is_telling(name)


@pytest.mark.parametrize(
    "value",
    [
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
        "ghp_0123456789abcdefghij",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
def test_values_that_look_secret(value: str) -> None:
    assert looks_secret(value)


@pytest.mark.parametrize(
    "value",
    [
        "172.18.0.0/16",
        "2001:db8:aaaa:bbbb:cccc::/80",
        "com.docker.network.bridge",
        "/run/docker/plugins/x.sock",
        "a sentence of several words",
    ],
)
def test_values_that_do_not(value: str) -> None:
    assert not looks_secret(value)


@pytest.mark.parametrize(
    "text",
    [
        f"password: {SECRET}",
        f"password: '{SECRET}'  # note",
        f'"db_password": "{SECRET}",',
        f"DB_PASSWORD={SECRET} other=1",
        f"- TOKEN={SECRET}",
        f"  # old password: {SECRET}",
        f"labels: {{api-key: {SECRET}, owner: me}}",
        f"private_key: |\n    {SECRET}\n    {SECRET}\nnext: 1",
        f"- token: >-\n    {SECRET}\n\n    {SECRET}",
        f"https://user:{SECRET}@example.org/x",
        f"Authorization: Bearer {SECRET}",
        f"curl -H 'X-Auth-Token: {SECRET}' x",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}",
        "use eyJhbGciOiJIUzI1NiJ9.eyJodW50ZXIyLWh1bnRlcjIi.hunter2-hunter2",
    ],
)
def test_what_looks_secret_is_removed_where_it_stands(text: str) -> None:
    found = Redaction(()).text(text)

    assert SECRET not in found
    assert REMOVED in found


@pytest.mark.parametrize(
    "text",
    [
        "networks:\n  web:\n    driver: bridge\n    ipam: {config: [{subnet: 172.18.0.0/16}]}\n",
        "kv.secretfile=/etc/reconciler/secret",
        "network web: the pass was refused: no token was given",
        '{"auth": null, "id": "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9"}',
        "etcd://192.0.2.1:2379/prefix",
        "mac 02:42:ac:12:00:02 at 2026-01-01T00:00:00Z",
    ],
)
def test_what_a_report_needs_stays(text: str) -> None:
    assert Redaction(()).text(text) == text


def test_known_secrets_go_wherever_they_are_repeated_and_however_they_are_written() -> None:
    secret = "p@ss'wörd\"7"
    redaction = Redaction([secret, "abc", "true"])
    written = [secret, "p%40ss%27w%C3%B6rd%227", json.dumps(secret, ensure_ascii=False), secret.replace("'", "''")]
    text = "\n".join([*written, b64encode(secret.encode()).decode()])

    found = redaction.text(f"{text}\nabc is true")

    assert found.count(REMOVED) == len(written) + 1
    assert found.endswith("abc is true")


def test_what_is_removed_is_not_taken_for_a_value_again() -> None:
    assert Redaction([SECRET]).text(f"{{token: {SECRET}, x: 1}}") == f"{{token: {REMOVED}, x: 1}}"
    nested = json.dumps({"x": json.dumps({"y": 'se"cret'})})
    assert "cret" not in Redaction(['se"cret']).text(nested)


def test_of_several_lines_each_is_a_secret() -> None:
    assert Redaction(["first line\nsecond line"]).text("x second line y") == f"x {REMOVED} y"


def test_data_tells_what_is_secret_in_it() -> None:
    data = {
        "networks": {
            "a": {
                "labels": {"x": "5f4dcc3b5aa765d61d8327deb882cf99", "owner": "me"},
                "driver_opts": {"token": 1234, "mtu": "1500"},
                "ipam": {"options": ["region=eu", "password=pw"]},
            }
        },
        "pairs": [["api-key", "k"], ["name", "n"]],
        "credentials": {"user": "u", "list": ["l"]},
        "id": "5f4dcc3b5aa765d61d8327deb882cf99"[::-1],
        "text": "ghp_0123456789abcdefghij",
    }

    assert set(secrets_in(data)) == {
        "5f4dcc3b5aa765d61d8327deb882cf99", "1234", "pw", "k", "u", "l", "ghp_0123456789abcdefghij"
    }  # fmt: skip


def test_options_of_plugins_are_secret_unless_they_are_plain() -> None:
    options = [("mode", "fast"), ("url", "https://x/y?z=1"), ("mtu", "1450"), ("net", "10.0.0.0/8"), ("k", "a b c d")]

    assert [*of_plugins(options)] == ["https://x/y?z=1", "a b c d"]


def test_the_environment_tells_by_names() -> None:
    assert [*in_environment({"HOME": "/root", "DB_PASSWORD": "x", "RECONCILE_KV_SECRET": "y"})] == ["x", "y"]
