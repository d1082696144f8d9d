import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.spec.document import parse_document
from reconciler.spec.export_schema import FILE_NAME, schema, text
from tests.json_schema import json_schema

COMPOSE = (Path(__file__).parent / "compose.yaml").read_text()
SCHEMAS = Path(__file__).parents[3] / "schemas"


def validator() -> Any:
    draft_7 = json_schema().Draft7Validator
    return draft_7(schema(), format_checker=draft_7.FORMAT_CHECKER)


def data_of(typed: str) -> object:
    document, faults = parse_document("a.yaml", typed)
    assert document is not None
    assert not faults
    return document.data


def test_the_committed_schema_is_current() -> None:
    assert (SCHEMAS / FILE_NAME).read_text() == text(), "run: reconcile schema > schemas/" + FILE_NAME


def test_the_schema_is_valid_draft_7_and_resolves() -> None:
    json_schema().Draft7Validator.check_schema(schema())
    references = {part.split('"')[1] for part in text().split('"$ref": ')[1:]}
    assert {reference.rpartition("/")[2] for reference in references} <= schema()["definitions"].keys()
    assert json.loads(text()) == schema()


@pytest.mark.parametrize(
    "typed",
    [
        COMPOSE,
        "",
        "networks:",
        "networks: {a: , b: {ipam: {driver: , config: }, labels: , driver_opts: {com.docker.network.driver.mtu: 1400}}}",
        "networks: {a: {external: {name: b}}, x-y: 1}",
        "attachments: {a: , b: {hosts: x, dns: 1.1.1.1, networks: [c, d], expose: [80, '81/udp']}}",
        "attachments: {a: {networks: {c: , d: {ipv4_address: 10.0.0.1, x-y: 1}}, extra_hosts: {a: ['::1']}, sysctls: [net.a=1]}}",
        "attachments: {a: {ports: [80, '80:80', {target: 80, published: 80-81}], network_mode: none, sandbox: {pid: 1}}}",
    ],
)
def test_good_documents_pass(typed: str) -> None:
    assert [error.message for error in validator().iter_errors(data_of(typed))] == []


@pytest.mark.parametrize(
    "typed",
    [
        "netwroks: {}",
        "networks: [a]",
        "networks: {../a: {}}",
        "networks: {a: {drivr: x}}",
        "networks: {a: {internal: perhaps}}",
        "networks: {a: {ipam: {config: [{gateway: 10.0.0.1}]}}}",
        "networks: {a: {ipam: {config: [{subnet: 10.0.0.0}]}}}",
        "attachments: {a: {network_mode: x}}",
        "attachments: {a: {networks: {b: {ipv4_address: x}}}}",
        "attachments: {a: {networks: {b: {mac_address: 1}}}}",
        "attachments: {a: {ports: [{published: 80}]}}",
        "attachments: {a: {sandbox: {pid: 0}}}",
        "attachments: {a: {sandbox: {name: x}}}",
    ],
)
def test_bad_documents_do_not_pass(typed: str) -> None:
    assert list(validator().iter_errors(data_of(typed)))
