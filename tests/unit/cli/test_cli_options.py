"""Global options: one table, three sources, the nearest wins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.cli.invocation import Invocation, invocation
from reconciler.cli.options import GLOBAL_OPTIONS
from reconciler.errors import ConfigError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def resolved(given: Mapping[str, object], environment: Mapping[str, str] | None = None) -> Invocation:
    return invocation({"host": "alpha", **given}, environment or {})  # type: ignore[dict-item]


def test_defaults_hold_when_nobody_says_anything() -> None:
    found = invocation({}, {"RECONCILE_HOST": "alpha", "RECONCILE_SPECS": ""})

    assert found.settings.specs_dir == Path("specs")
    assert found.settings.status_dir == Path("/var/lib/reconciler/status")
    assert (found.verbosity, found.log_format) == (0, "text")


def test_status_folder_follows_the_state_folder() -> None:
    assert resolved({"state-dir": "/s"}).settings.status_dir == Path("/s/status")


def test_flag_wins_over_environment_over_file(config: Path) -> None:
    config.write_text("specs: from-file\nstate-dir: /from-file\nrun_dir: /from-file\n")
    environment = {"RECONCILE_SPECS": "from-environment", "RECONCILE_STATE_DIR": "/from-environment"}

    settings = resolved({"config": str(config), "specs": "from-flag"}, environment).settings

    assert settings.specs_dir == Path("from-flag")
    assert settings.state_dir == Path("/from-environment")
    assert settings.run_dir == Path("/from-file")


def test_relative_path_in_the_file_starts_at_its_folder(config: Path) -> None:
    config.write_text("specs: networks\n")

    assert resolved({}, {"RECONCILE_CONFIG": str(config)}).settings.specs_dir == config.parent / "networks"


@pytest.mark.parametrize(
    "text",
    [
        "cluster-store-opt: {kv.path: p, token: t}",
        "cluster-store-opt: [kv.path=p, token=t]",
    ],
    ids=["mapping", "list"],
)
def test_store_options_are_pairs(config: Path, text: str) -> None:
    config.write_text(text)

    found = resolved({"config": str(config)}).settings.cluster_store_options

    assert found == {"kv.path": "p", "token": "t"}


def test_store_options_of_the_environment_are_parted_by_commas() -> None:
    environment = {"RECONCILE_CLUSTER_STORE_OPT": "kv.path=p,token=a=b"}

    assert resolved({}, environment).settings.cluster_store_options == {"kv.path": "p", "token": "a=b"}


def test_container_engine_is_the_path_of_its_socket(config: Path) -> None:
    config.write_text("container-engine: unix:///run/podman/podman.sock\n")
    environment = {"RECONCILE_CONTAINER_ENGINE": "unix:///run/other.sock"}

    assert resolved({"config": str(config)}).settings.container_engine == Path("/run/podman/podman.sock")
    assert resolved({"config": str(config)}, environment).settings.container_engine == Path("/run/other.sock")
    assert resolved({}).settings.container_engine is None


def test_bridge_none_switches_the_default_bridge_off(config: Path) -> None:
    config.write_text("bridge: none\nverbose: 1\nlog-format: json\n")

    found = resolved({"config": str(config), "quiet": 2})

    assert not found.settings.is_bridge_enabled
    assert (found.verbosity, found.log_format) == (-1, "json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spec: x\n", r"config\.yaml:1:1: unknown key 'spec': did you mean 'specs'\?"),
        ("a: 1\nb: 2\n", r"config\.yaml:1:1: unknown key 'a'; known are bridge, "),
        ("config: x\n", r"unknown key 'config'"),
        ("specs: [x]\n", r"config\.yaml:1:8: specs takes text, not \['x'\]"),
        ("specs:\n", r"specs takes text, not None"),
        ("verbose: lots\n", r"verbose takes a number, not 'lots'"),
        ("log-format: xml\n", r"log-format is one of text, json, not 'xml'"),
        ("bridge: docker0\n", r"bridge is one of none, not 'docker0'"),
        ("host: ../../etc\n", r"'../../etc' is no host name"),
        ("cluster-store-opt: a=b\n", "cluster-store-opt takes a list of K=V, not 'a=b'"),
        ("cluster-store-opt: [token]\n", r"a store option is K=V"),
        ("container-engine: tcp://192.0.2.1:2375\n", r"container-engine is unix:// and the path of a socket"),
        ("container-engine: unix://run/docker.sock\n", r"container-engine is unix:// and the path of a socket"),
        (f"container-engine: unix:///{'x' * 107}\n", r"container-engine is unix:// and the path of a socket"),
        ("- specs\n", r"expected a mapping"),
        ("specs: x\nspecs: y\n", r"config\.yaml:2"),
        ("specs: [\n", r"bad YAML"),
    ],
)
def test_fault_of_the_file_is_named_with_its_place(config: Path, text: str, message: str) -> None:
    config.write_text(text)

    with pytest.raises(ConfigError, match=message):
        resolved({"config": str(config)})


def test_empty_file_says_nothing(config: Path) -> None:
    config.write_text("# nothing yet\n")

    assert resolved({"config": str(config)}).settings.specs_dir == Path("specs")


def test_file_that_was_asked_for_must_exist(config: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such configuration file"):
        resolved({"config": str(config)})


def test_fault_of_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="RECONCILE_LOG_FORMAT: log-format is one of"):
        resolved({}, {"RECONCILE_LOG_FORMAT": "xml"})


def test_value_of_a_store_option_stays_out_of_messages() -> None:
    with pytest.raises(ConfigError) as raised:
        resolved({}, {"RECONCILE_CLUSTER_STORE_OPT": "s3cret-token"})

    assert "s3cret" not in str(raised.value)


def test_hostname_that_is_no_name_asks_for_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "(none)")

    with pytest.raises(ConfigError, match="say which host this is with --host"):
        invocation({}, {})


def test_every_option_has_a_variable_of_its_own() -> None:
    assert len({option.variable for option in GLOBAL_OPTIONS}) == len(GLOBAL_OPTIONS)
