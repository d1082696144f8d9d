"""Specs and templates, and where a repository of them is."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

from reconciler.git_remote import parse_remote
from reconciler.guard.foresight import foreseen
from reconciler.settings import Settings
from reconciler.spec.document import Document, parse_document
from reconciler.spec.files import SpecText
from reconciler.spec.formatting import formatted
from reconciler.spec.load import load_specs, load_texts
from reconciler.spec.templates import Renderer
from tests.fuzz.second import check_yaml
from tests.fuzz.target import Form, Target, listed

_ROOT: Final = Path(__file__).parent.parent.parent.parent
_CASES: Final = _ROOT / "tests" / "unit" / "spec" / "cases"
_SETTINGS: Final = Settings(host="alpha")
_BETWEEN: Final = b"\n====\n"
"""Between the files of one input."""

_YAML: Final = (
    *listed(
        "networks: attachments: expect: [ ] { } *a ' # driver ipam config subnet gateway ip_range aux_addresses "
        "internal external labels ports 8080:80 networks sandbox netns container service:x host none bridge "
        "overlay macvlan links expose dns sysctls hosts name driver_opts adopt protect suspend drift from to reach "
        "never extra_hosts aliases ipv4_address interface_name mac_address com.docker.network.bridge.name parent "
        "enable_ipv6"
    ),
    *("- ", ": ", "? ", "&a ", "<<: ", "!!str ", "!x ", '"', "---\n", "...\n", "%YAML 1.2\n", "|\n", ">-\n"),
    *("\t", "\r", "\x85"),
)
_JINJA: Final = (
    *listed("range( ) loop.index host * ** ~ x.__class__ ['a'] self namespace( caller() dict("),
    *("{{ ", " }}", "{% for x in ", " %}", "{% endfor %}", "{% if ", "{% endif %}", "{% macro m(a) %}"),
    *("{% endmacro %}", "{{ m(1) }}", "{% set x = ", "{% raw %}", "{% endraw %}", "{# ", " #}", "| join(',')"),
    *("| list", "| replace('a', 'b')", "| tojson", "| indent(4)", "| format(1)", "'%s' % ", "| map('upper')"),
    *("| groupby('a')", "| batch(2)", "| slice(2)", "| sort", "| sum"),
)


def _examples(*patterns: str) -> Iterator[bytes]:
    for pattern in patterns:
        for path in sorted(_ROOT.glob(pattern)):
            if path.is_file() and path.stat().st_size < 4096:
                yield path.read_bytes()


def _spec_seeds() -> Iterator[bytes]:
    yield from _examples("examples/*/*.yaml", "examples/*/specs/*.yaml", "tests/unit/spec/cases/**/*.yaml")
    yield (
        b"networks: {a: {}}\nattachments: {w: {networks: {a: {}}}}\n"
        + _BETWEEN
        + b"attachments: {v: {networks: [a]}}\n"
    )
    layers = "".join(
        f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in pairwise("abcdefghi")
    )
    yield f"a: &a [x]\n{layers}".encode()
    yield b"a: " + b"[" * 2000 + b"]" * 2000
    yield b"networks: {a: &x {internal: true}, b: {<<: *x}}\nexpect:\n- {from: [w], to: [v], reach: never}\n"


def _run_specs(data: bytes) -> None:
    """Load a folder of them: faults of one line each, and what is fine can be chosen for."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, content in enumerate(data.split(_BETWEEN)[:4]):
            (folder / f"{number}.yaml").write_bytes(content)
        loaded = load_specs(folder, host="alpha", is_in_cluster=False)
        again = load_specs(folder, host="alpha", is_in_cluster=False, previous=loaded)
    faults, warnings = foreseen(loaded, _SETTINGS)
    for fault in (*loaded.faults, *faults):
        assert fault.message
        _assert_plain(str(fault))
    for warning in (*loaded.warnings, *warnings):
        _assert_plain(str(warning))
    assert again.wanted == loaded.wanted
    assert [*map(str, again.faults)] == [*map(str, loaded.faults)]


def _assert_plain(text: str) -> None:
    assert "\n" not in text
    assert len(text) < 4000, f"{len(text)} characters"


def _run_format(data: bytes) -> None:
    """Format a file: it says the same as before, and formatting it again changes nothing."""
    text = data.decode(errors="replace")
    found, faults = formatted("a.yaml", text, "schema.json")
    for fault in faults:
        _assert_plain(str(fault))
    if faults:
        return
    before, after = parse_document("a.yaml", text)[0], parse_document("a.yaml", found)[0]
    assert before is not None
    assert after is not None
    assert before.data == after.data
    check_yaml(text, before.data)
    assert formatted("a.yaml", found, "schema.json") == (found, [])


def _template_seeds() -> Iterator[bytes]:
    yield from _examples("examples/templates/**/*.j2", "tests/unit/spec/cases/**/*.j2")
    yield b"a: [1, 2]\nname: web\n" + _BETWEEN + b"networks:\n{% for x in a %}\n  {{ name }}{{ x }}: {}\n{% endfor %}\n"
    yield (
        b"a: {b: c}"
        + _BETWEEN
        + b"{% macro m(x) %}{{ x | indent(2) }}{% endmacro %}{{ m(a | tojson) }}{{ 2 ** 8 ~ host }}\n"
    )


def _run_template(data: bytes) -> None:
    """Render one with its variables, and understand what it gives. What takes too long is ended by `spec.rendering`."""
    variables, _, template = data.rpartition(_BETWEEN)
    document, _ = parse_document("vars.yaml", variables.decode(errors="replace"))
    faults: list[Exception] = []
    renderer = Renderer([document] if isinstance(document, Document) else [], host="alpha", faults=faults)  # type: ignore[arg-type]
    found = renderer.render(SpecText("a.yaml.j2", template.decode(errors="replace"), is_template=True))
    for fault in faults:
        _assert_plain(str(fault))
    assert faults or found is not None
    if found is not None:
        document, _ = parse_document("a.yaml.j2", *found)
        if document is not None:
            load_texts([SpecText("a.yaml", found[0])], host="alpha", digest="")


def _run_remote(data: bytes) -> None:
    """Read where a repository is: an address that git is given names no program, and no other place after another reading."""
    remote = parse_remote(data.decode(errors="replace"), is_proved=True)
    assert not remote.url.startswith("-")
    assert not remote.ref.startswith("-")
    assert not re.match(r"\w+::", remote.url)
    assert ".." not in remote.path.split("/")
    assert parse_remote(str(remote), is_proved=True) == remote


def _remote_seeds() -> Iterator[bytes]:
    yield b"https://example.org/specs.git#main:hosts/alpha"
    yield b"git@example.org:specs.git#v1.0"
    yield b"ssh://git@example.org:2222/specs"
    yield b"file:///srv/specs#0123456789abcdef0123456789abcdef01234567"
    yield b"/srv/specs.git"
    yield b"http://[::1]:80/a"


_ADDRESS_WORDS: Final = (
    *listed("https:// ssh:// git:// file:// --upload-pack=x # : @ .. -oProxyCommand=x ext:: a@-b:c"),
    "ext::sh -c ",
)

TARGETS: Final = (
    Target("specs", "spec files: a folder of YAML", _run_specs, _spec_seeds, Form.TEXT, _YAML, runs=150),
    Target("formatting", "spec files that `fmt` writes anew", _run_format, _spec_seeds, Form.TEXT, _YAML, runs=150),
    Target(
        "templates",
        "templates and their variables",
        _run_template,
        _template_seeds,
        Form.TEXT,
        (*_YAML, *_JINJA),
        runs=150,
        is_bounded_elsewhere=True,
    ),
    Target(
        "git addresses",
        "where a repository of specs is",
        _run_remote,
        _remote_seeds,
        Form.TEXT,
        _ADDRESS_WORDS,
        length_max=600,
    ),
)
