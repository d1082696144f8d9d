"""Folders of files in several styles, and of faulty ones, beside what comes of them: golden/SOURCE/… and golden/SOURCE.yaml."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.importing.carried import carried
from reconciler.importing.cni import SUFFIXES, read_cni
from reconciler.importing.netavark import read_netavark_files
from reconciler.importing.quadlet import SUFFIXES as QUADLET_SUFFIXES
from reconciler.importing.quadlet import read_quadlet
from reconciler.importing.source_files import SourceFile, SourceFiles, read_files
from reconciler.importing.values import Imported
from reconciler.importing.write import stream_text
from reconciler.spec.files import SpecText
from reconciler.spec.load import load_texts

GOLDEN = Path(__file__).parent / "golden"


def cni(folder: Path) -> Imported:
    return read_cni(read_files([folder], SUFFIXES), parent="eth0")


def netavark(folder: Path) -> Imported:
    return read_netavark_files(read_files([folder], (".json",)), parent="eth0")


def quadlet(folder: Path) -> Imported:
    return read_quadlet(read_files([folder], QUADLET_SUFFIXES, is_deep=True), parent="eth0", host="alpha.example")


READERS: dict[str, Callable[[Path], Imported]] = {"cni": cni, "netavark": netavark, "quadlet": quadlet}


@pytest.mark.parametrize("case", sorted(folder.name for folder in GOLDEN.iterdir() if folder.is_dir()))
def test_files_come_to_the_specs_beside_them(case: str) -> None:
    imported = carried(READERS[case.partition("-")[0]](GOLDEN / case), "here")

    _, _, written = stream_text(imported, "test").partition("\n")
    expected = GOLDEN / f"{case}.yaml"
    if not expected.exists():
        expected.write_text(written)
        pytest.fail(f"{expected} is new: look at it")
    assert written == expected.read_text()


ANYTHING = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just([]) | st.just([7]) | st.just({"a": {}})
)
DOCUMENTS = {case: read_files([GOLDEN / case], SUFFIXES).files for case in ("cni", "netavark")}


@settings(max_examples=20)
@given(st.sampled_from(sorted(DOCUMENTS)), st.data())
def test_whatever_stands_in_json_comes_to_specs_that_load(case: str, data: st.DataObject) -> None:
    files = []
    for file in DOCUMENTS[case]:
        document = json.loads(file.text)
        node, way = document, []
        for _ in range(data.draw(st.integers(1, 5))):
            steps = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not steps:
                break
            step = data.draw(st.sampled_from(steps))
            way.append((node, step))
            node = node[step]
            if not isinstance(node, dict | list) or data.draw(st.booleans()):
                break
        for inner, step in way[-1:]:
            inner[step] = data.draw(ANYTHING)
        files.append(SourceFile(name=file.name, text=json.dumps(document)))
    read = read_cni if case == "cni" else read_netavark_files

    text = stream_text(carried(read(SourceFiles(files=tuple(files))), "here"), "test")

    assert load_texts([SpecText("specs.yaml", text)], host="here", digest="").faults == ()


LINES = [
    "[Network]",
    "[Container]",
    "[Pod]",
    "Network=a.network",
    "Network=host",
    "Network=:",
    "Subnet=10.1.0.0/24",
    "Gateway=x",
]
LINES += [
    "IPRange=-",
    "Label=a",
    'Options="x',
    "PublishPort=1:2:3",
    "AddHost=;:",
    "Sysctl==",
    "PodmanArgs=--mac-address",
    "Pod=a",
]
LINES += [
    "ContainerName=%",
    "HostName=%p",
    "IP=7",
    "DNS=",
    "NetworkName=my net",
    "# x \\",
    "Network=a.network:ip=,alias=,=",
    "x",
]


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from(LINES), max_size=8), min_size=3, max_size=3),
    st.sampled_from(["\n", "\\\n", "\r\n"]),
)
def test_whatever_stands_in_units_comes_to_specs_that_load(texts: list[list[str]], end: str) -> None:
    heads = {"a.network": "[Network]", "b.container": "[Container]", "c@d.pod": "[Pod]"}
    files = [
        SourceFile(name=name, text=f"{head}\n{end.join(lines)}")
        for (name, head), lines in zip(heads.items(), texts, strict=True)
    ]

    text = stream_text(carried(read_quadlet(SourceFiles(files=tuple(files))), "here"), "test")

    assert load_texts([SpecText("specs.yaml", text)], host="here", digest="").faults == ()
