import os
import signal
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import pytest

from reconciler.spec.document import LineMap
from reconciler.spec.files import SpecText
from reconciler.spec.load import LoadedSpecs, load_specs
from reconciler.spec.templates import Renderer, TooMuch, _bounded
from tests.waiting import patient, within

pytestmark = pytest.mark.apart


@pytest.fixture(autouse=True)
def _who_has_no_processor_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried here is mostly processor time: a second of it may take a minute of a loaded machine's."""
    monkeypatch.setattr("reconciler.spec.rendering.WAIT_SECONDS_MAX", patient(250))


def load(folder: Path, template: str, *, host: str = "alpha") -> LoadedSpecs:
    (folder / "a.yaml.j2").write_text(template)
    return load_specs(folder, host=host)


def test_variables_of_the_host_win_and_the_host_is_one(tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    (tmp_path / "vars.yaml").write_text("mtu: 1400\nnames: [a, b]\nhost: ignored\n")
    (tmp_path / "hosts" / "alpha.yaml").write_text("mtu: 9000\n")
    template = (
        "networks:\n{% for name in names %}"
        "  {{ name }}: {driver_opts: {com.docker.network.driver.mtu: {{ mtu }}}, labels: {host: {{ host }}}}\n"
        "{% endfor %}"
    )

    here = load(tmp_path, template)
    there = load(tmp_path, template, host="beta")

    assert not here.faults
    assert [(n.name, n.labels) for n in here.wanted.networks[:2]] == [(name, (("host", "alpha"),)) for name in "ab"]
    assert here.wanted.networks[0].bridge is not None
    assert here.wanted.networks[0].bridge.mtu == 9000
    assert there.wanted.networks[0].bridge is not None
    assert there.wanted.networks[0].bridge.mtu == 1400


@pytest.mark.parametrize("host", ["../a", "..", "", "a/b", "a\0b"])
def test_a_host_name_never_leaves_the_folder(tmp_path: Path, host: str) -> None:
    (tmp_path / "a.yaml").write_text("boom: [")
    (tmp_path / "specs" / "hosts").mkdir(parents=True)

    assert not load(tmp_path / "specs", "networks: {}", host=host).faults


def test_declared_places_are_lines_of_the_template(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, "networks:\n{% for i in range(3) %}\n  n{{ i }}:\n    internal: true\n{% endfor %}\n  last: {}\n"
    )

    sources = {unit.network: source for unit, source in loaded.wanted.sources.items()}
    places = {name: (source.line, source.column) for name, source in sources.items()}
    assert places["n0"] == places["n2"] == (3, 1)
    assert places["last"] == (6, 3)


def test_a_place_that_cannot_be_told_is_given_in_the_rendered_text(tmp_path: Path) -> None:
    loaded = load(tmp_path, "{% set t %}networks: {a: {bogus: 1}}\n{% endset %}{{ t[:40] }}{{ t | length }}")

    assert "in the rendered text" in str(loaded.faults[0])


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ ().__class__.__mro__[1].__subclasses__() }}", "'__class__' of 'tuple' object is unsafe"),
        ("{{ range.__init__.__globals__ }}", "'__init__' of 'function' object is unsafe"),
        ("{{ '' | attr('__class__') }}", "'__class__' of 'str' object is unsafe"),
        ("{{ '{0.__class__}'.format(1) }}", "'format' of 'str' object is unsafe"),
        ("{{ self._TemplateReference__context }}", "object is unsafe"),
        ("{{ lipsum.__globals__ }}", "'lipsum' is undefined"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% import '/etc/passwd' as x %}", "no loader"),
    ],
)
def test_templates_reach_nothing_but_their_variables(tmp_path: Path, template: str, said: str) -> None:
    """What they give could be no specs anyway: the fault must be that they asked."""
    (fault,) = load(tmp_path, f"# first line\n{template}\n").faults

    assert said in fault.message


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("{{ ().__class__.__mro__[1].__subclasses__() }}", id="classes"),
        pytest.param("{{ lipsum.__globals__ }}", id="globals"),
        pytest.param("{% include '/etc/passwd' %}", id="include"),
        pytest.param("{% import 'x' as x %}", id="import"),
        pytest.param("{{ range(100000) | list }}", id="range"),
        pytest.param(
            "{% for i in range(999) %}{% for j in range(999) %}{% endfor %}{% endfor %}",
            id="loops",
            marks=pytest.mark.long,
        ),
        pytest.param("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", id="endless-macro"),
        pytest.param(
            "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
            id="exploding-macro",
            marks=pytest.mark.long,
        ),
        pytest.param("{{ 'a' * 10**9 }}", id="text-times"),
        pytest.param("{{ 10**9 * 'a' }}", id="times-text"),
        pytest.param("{{ [1] * 10**9 }}", id="list-times"),
        pytest.param("{{ 9**9**9**9 }}", id="power"),
        pytest.param("{{ 'a' | center(10**9) }}", id="center"),
        pytest.param("{{ 'a'.ljust(10**9) }}", id="ljust"),
        pytest.param("{{ '%1000000000d' % 1 }}", id="percent"),
        pytest.param("{{ '{:>1000000000}'.format(1) }}", id="format"),
        pytest.param("{{ 'a' | indent(10**9) }}", id="indent"),
        pytest.param("{{ (1).to_bytes(10**9, 'big') }}", id="to-bytes"),
        pytest.param("{{ [1] | batch(10**9, 0) | list }}", id="batch"),
        pytest.param(
            "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", id="tilde"
        ),
        pytest.param(
            "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}", id="plus"
        ),
        pytest.param(
            "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}{% set n.x = [n.x, n.x] | join %}{% endfor %}",
            id="join",
        ),
        pytest.param(
            "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}{% set n.x = n.x | replace('a', 'aa') %}{% endfor %}",
            id="replace",
        ),
        pytest.param(
            "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}"
            "{% set t %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = t %}{% endfor %}",
            id="capture",
        ),
        pytest.param("{% for i in range(60000) %}" + "x" * 100 + "{% endfor %}", id="long-output"),
        pytest.param("{{ none }}", id="null"),
        pytest.param("{{ 1 / 0 }}", id="division"),
        pytest.param("{{ missing }}", id="undefined"),
        pytest.param("{{ [1, 2] | random }}", id="random"),
        pytest.param("a: {{ '\\ud800' }}", id="surrogate"),
    ],
)
def test_templates_that_break_out_or_blow_up_are_faults_on_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setattr("reconciler.spec.rendering.SECONDS_MAX", 0.3)
    loaded = load(tmp_path, f"# first line\n{template}\n")

    assert loaded.faults
    assert loaded.faults[0].file.endswith("a.yaml.j2")
    assert loaded.faults[0].line == 2


def test_ordinary_means_of_expression_work(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "networks:\n  {{ ['a', 'b'] | join('-') }}{{ 1 + 1 }}{{ 'x' ~ 2 }}:\n"
        "    labels: {{ {'k': 'v'} | tojson }}\n    internal: {{ 'yes' | replace('yes', 'true') }}\n",
    )

    assert not loaded.faults
    assert loaded.wanted.networks[0].name == "a-b2x2"
    assert loaded.wanted.networks[0].labels == (("k", "v"),)


def test_templates_are_not_rendered_while_their_variables_are_bad(tmp_path: Path) -> None:
    (tmp_path / "vars.yaml").write_text("a: [")

    loaded = load(tmp_path, "networks: {{ a }}")

    assert [fault.file.endswith("vars.yaml") for fault in loaded.faults] == [True]


TIME = "s of processor time"
GROWING = (
    "{% set ns = namespace(l=[]) %}{% for i in range(3000) %}\n{% set ns.l = [ns.l, ('y' * 1000000) ~ i] %}{% endfor %}"
)
SHARED = "{% set a = range(60000)|list %}{% set b = [a, a, a, a, a, a, a, a, a, a] %}{% set c = [b, b, b, b, b, b, b, b, b] %}"
BOMBS = {
    "values kept in a list": (GROWING, 2, "memory"),
    "sorting again and again": (
        "\n{% for i in range(9999) %}{% set x = range(65536)|map('string')|sort %}{% endfor %}",
        2,
        TIME,
    ),
    "one list in many places as JSON": (f"{SHARED}\n{{{{ [c, c]|tojson }}}}", 2, "too large"),
    "one list in many places as text": (f"{SHARED}\n{{{{ ([c, c]|string)|length }}}}", 2, "too large"),
    "one list in many places written": (f"{SHARED}\n{{{{ [c, c] }}}}", 2, "too large"),
    "a wide column": ("\n{{ 'a'|center(10**9) }}", 2, "center"),
    "text times a number": ("\n{{ 'a' * 10**9 }}", 2, "too large"),
    "a long range": ("\n{% for i in range(10**9) %}{% endfor %}", 2, "range"),
    "loops in loops": ("\n{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", 2, "turns"),
    "a macro that calls itself": ("\n{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", 2, "without end"),
    "nested without end": ("{% if 1 %}" * 5000 + "{% endif %}" * 5000, 0, "nested too deeply"),
}


@pytest.mark.long
@pytest.mark.parametrize(("text", "line", "said"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_costs_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int, said: str
) -> None:
    if said == TIME:
        monkeypatch.setattr("reconciler.spec.rendering.SECONDS_MAX", 0.2)
    before = max(getrusage(each).ru_maxrss for each in (RUSAGE_CHILDREN, RUSAGE_SELF))  # a fork has what we have
    (tmp_path / "bomb.yaml.j2").write_text(text)
    (tmp_path / "fine.yaml.j2").write_text("networks: {lan: {}}")

    loaded = load_specs(tmp_path, host="h")

    (fault,) = loaded.faults
    assert (Path(fault.file).name, fault.line) == ("bomb.yaml.j2", line)
    assert said in fault.message
    assert "lan" in {network.name for network in loaded.wanted.networks}
    assert getrusage(RUSAGE_CHILDREN).ru_maxrss - before < 400 << 10


def test_time_that_is_up_between_two_pieces_of_text_has_its_line() -> None:
    pieces = 0

    class Slow(str):
        def __len__(self) -> int:
            nonlocal pieces
            pieces += 1
            if pieces == 3:
                raise TooMuch("time is up")
            return 1

    def generate() -> Generator[str, None, None]:
        for _ in range(9):
            yield Slow("x")

    with pytest.raises(TooMuch) as caught:
        list(_bounded(generate(), is_marked=False))

    assert "generate" in [entry.name for entry in caught.traceback]


def test_a_template_that_no_signal_stops_is_ended_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.spec.rendering.ALL_SECONDS_MAX", 1)
    (tmp_path / "a.yaml.j2").write_text("networks: {lan: {}}")
    (tmp_path / "b.yaml.j2").write_text("{{ range(65536)|map('string')|map('list')|sum(start=[])|length }}")
    (tmp_path / "c.yaml.j2").write_text("networks: {never: {}}")

    loaded = load_specs(tmp_path, host="h")

    assert {Path(fault.file).name for fault in loaded.faults} >= {"b.yaml.j2"}
    assert "lan" in {network.name for network in loaded.wanted.networks}


def test_a_child_that_ends_in_the_middle_of_a_word_costs_its_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.spec.rendering._write_all", lambda pipe, text: os.write(pipe, text[:10]))
    (tmp_path / "fine.yaml").write_text("networks: {plain: {}}")

    loaded = load(tmp_path, "networks: {lan: {}}")

    (fault,) = loaded.faults
    assert fault.file.endswith("a.yaml.j2")
    assert "plain" in {network.name for network in loaded.wanted.networks}


def in_the_child(
    monkeypatch: pytest.MonkeyPatch, *, before: Callable[[], object], at_once: Callable[[], object]
) -> list[int]:
    """Have something done right before the fork, and as the child's very first; give the children."""
    fork, children = os.fork, list[int]()

    def forked() -> int:
        before()
        children.append(fork())
        if children[-1] == 0:
            at_once()
        return children[-1]

    monkeypatch.setattr("reconciler.spec.rendering.os.fork", forked)
    return children


def test_a_child_that_waits_for_ever_costs_the_templates_from_there_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Lock()
    held.acquire()  # by a thread that the child has not

    class Waits(Renderer):
        def render(self, template: SpecText) -> tuple[str, LineMap] | None:
            if template.name.endswith("b.yaml.j2"):
                held.acquire()
            return super().render(template)

    children = in_the_child(monkeypatch, before=lambda: None, at_once=lambda: None)
    monkeypatch.setattr("reconciler.spec.templates.Renderer", Waits)
    monkeypatch.setattr("reconciler.spec.rendering.WAIT_SECONDS_MAX", patient(4))
    for name in "abc":
        (tmp_path / f"{name}.yaml.j2").write_text(f"networks: {{{name}: {{}}}}")

    with within(20):
        loaded = load_specs(tmp_path, host="h")

    assert [(Path(fault.file).name, fault.message.partition(" within")[0]) for fault in loaded.faults] == [
        ("b.yaml.j2", "not rendered"),
        ("c.yaml.j2", f"not rendered, as {tmp_path}/b.yaml.j2 took too long"),
    ]
    assert "a" in {network.name for network in loaded.wanted.networks}
    with pytest.raises(ChildProcessError):  # it is ended, and waited for
        os.waitpid(children[0], os.WNOHANG)


def test_another_process_that_has_the_pipe_holds_up_no_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []

    def pipe() -> tuple[int, int]:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        kept.append(os.dup(writing))
        return reading, writing

    monkeypatch.setattr("reconciler.spec.rendering.os.pipe", pipe)
    monkeypatch.setattr("reconciler.spec.rendering._write_all", lambda *_: os._exit(1))
    monkeypatch.setattr("reconciler.spec.rendering.WAIT_SECONDS_MAX", 0.1)

    with within(10):
        loaded = load(tmp_path, "networks: {lan: {}}")

    os.close(kept[0])
    assert "not rendered within 0.1 s" in loaded.faults[0].message


def test_what_the_parent_had_thrown_away_is_not_cleared_away_by_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, told = os.getpid(), tmp_path / "told"

    class Thrown:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            if os.getpid() != parent:
                told.write_text("")

    in_the_child(monkeypatch, before=Thrown, at_once=lambda: None)

    loaded = load(tmp_path, "{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}")

    assert not loaded.faults
    assert not told.exists()


def test_a_signal_that_comes_at_the_fork_ends_the_child_and_means_nothing_else_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    before = signal.signal(signal.SIGINT, lambda *_: told.write_text(""))
    in_the_child(monkeypatch, before=lambda: None, at_once=lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        loaded = load(tmp_path, "networks: {lan: {}}")
    finally:
        signal.signal(signal.SIGINT, before)

    assert len(loaded.faults) == 1
    assert not told.exists()
