"""Client libraries of stores: loaded when a store is used, named when they are missing."""

from __future__ import annotations

import sys

import pytest

from reconciler.errors import ConfigError
from reconciler.kv.address import store_config
from reconciler.kv.registry import open_store


@pytest.mark.parametrize(
    ("store", "library", "modules", "package"),
    [
        ("consul://127.0.0.1", "consul", ("reconciler.kv.consul",), "python-consul"),
        ("zk://127.0.0.1", "kazoo", ("reconciler.kv.zookeeper", "reconciler.kv.zookeeper_connection"), "kazoo"),
    ],
    ids=["consul", "zookeeper"],
)
def test_a_store_without_its_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, store: str, library: str, modules: tuple[str, ...], package: str
) -> None:
    for loaded in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, library, None)
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)

    with pytest.raises(ConfigError, match=f"package {package}: pip install"):
        open_store(store_config(store, {}, {}))
