"""The command line from arguments to output and exit code, with a pipeline that answers what the test says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
from msgspec.structs import replace

from reconciler.cli import main
from reconciler.errors import ExitCode, LockHeld, NameConflict, PrivilegeError, ReconcilerError, SpecError
from reconciler.guard.orders import NO_ORDERS, Orders
from reconciler.model.desired import DesiredNetwork, DesiredState
from reconciler.model.identifiers import HOST
from reconciler.model.objects import Bridge, Unit
from reconciler.model.plan import Action, Operation, Outcome, Plan
from reconciler.model.report import Report
from reconciler.model.wanted import NetworkWanted, Source, SpecWarning
from reconciler.review.values import Planned
from reconciler.settings import PruneLimit, Settings
from reconciler.spec.load import NOTHING
from reconciler.status.tell import Status
from tests.fakes.desired import attachment, endpoint, host_facts, network

GOLDEN = Path(__file__).parent / "golden"
FRONT = Unit(network="front")
CREATE = Operation(
    action=Action.CREATE,
    before=None,
    after=Bridge(unit=FRONT, ns=HOST, ifname="br-front", mac="02:42:00:00:00:01", mtu=1500),
    unit=FRONT,
)


def report(*operations: Operation, problem: ReconcilerError | None = None) -> Report:
    problems = ((FRONT, problem),) if problem is not None else ()
    desired = DesiredState(host=host_facts(), networks=(), attachments=())
    return Report(desired=desired, plan=Plan(operations=operations, problems=problems), drift=Plan(problems=problems))


@dataclass
class FakePipeline:
    """Gives the same report for everything, and remembers what it was asked."""

    report: Report = field(default_factory=report)
    error: ReconcilerError | None = None
    calls: list[tuple[object, ...]] = field(default_factory=list)
    settings: Settings | None = None
    orders: Orders = NO_ORDERS

    @contextmanager
    def open_backends(self, settings: Settings, *, read_only: bool = False) -> Iterator[str]:
        self.settings = settings
        self.calls.append(("open", read_only))
        yield "backends"

    def plan_pass(self, settings: Settings, backends: str, *, against: str, orders: Orders) -> Planned:
        self.orders = orders
        self.calls.append(("plan", against))
        answer = self._answer()
        return Planned(before=NOTHING, after=NOTHING, had=answer.desired, report=answer)

    def reconcile(self, settings: Settings, backends: str, progress: object, orders: Orders) -> Report:
        self.orders = orders
        self.calls.append(("reconcile", progress))
        return self._answer()

    def tear_down(self, settings: Settings, backends: str, progress: object, orders: Orders) -> Report:
        self.orders = orders
        self.calls.append(("tear_down", progress))
        return self._answer()

    def _answer(self) -> Report:
        if self.error is not None:
            raise self.error
        return self.report


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    import reconciler

    fake = FakePipeline()
    module = ModuleType("reconciler.pipeline")
    for name in ("plan_pass", "reconcile", "tear_down"):
        setattr(module, name, getattr(fake, name))
    monkeypatch.setitem(sys.modules, "reconciler.pipeline", module)
    monkeypatch.setattr(reconciler, "pipeline", module, raising=False)
    monkeypatch.setattr("reconciler.backends.open_backends", fake.open_backends)
    return fake


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECONCILE_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("RECONCILE_SPECS", str(tmp_path / "specs"))
    monkeypatch.setenv("RECONCILE_HOST", "alpha")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        return (code, *capsys.readouterr())

    return call


def test_pass_without_anything_to_do_says_so_on_stderr(run: Run, pipeline: FakePipeline) -> None:
    code, out, err = run()

    assert (code, out) == (ExitCode.OK, "")
    assert re.fullmatch(r"nothing to do in \d+\.\d\d s\n", err)
    assert pipeline.calls == [("open", False), ("reconcile", None)]


def test_pass_tells_each_operation_and_the_sum_on_stderr(run: Run, pipeline: FakePipeline) -> None:
    pipeline.report = replace(report(CREATE), outcomes=(Outcome(operation=CREATE),))

    code, out, err = run()

    assert (code, out) == (ExitCode.OK, "")
    assert re.fullmatch(r"create bridge br-front \(mtu 1500\)\n1 created, 0 changed, 0 deleted in \d+\.\d\d s\n", err)


def test_log_can_be_json(run: Run, pipeline: FakePipeline) -> None:
    pipeline.report = replace(report(CREATE), outcomes=(Outcome(operation=CREATE),))

    _, _, err = run("--log-format", "json")

    first, last = map(json.loads, err.splitlines())
    assert (first["level"], first["message"], first["unit"]) == ("info", CREATE.describe(), "network front")
    assert last["message"].startswith("1 created")


def test_quiet_pass_says_only_what_is_wrong(run: Run, pipeline: FakePipeline) -> None:
    pipeline.report = replace(report(CREATE, problem=NameConflict("in the way")), outcomes=(Outcome(operation=CREATE),))

    assert run("-q") == (ExitCode.FAILED, "", "error: network front: in the way\n")


def test_message_with_control_characters_stays_on_its_line(run: Run, pipeline: FakePipeline) -> None:
    pipeline.report = report(problem=NameConflict("a\x1b[2J\nerror: forged"))

    _, _, err = run("-q")

    assert err == "error: network front: a\\x1b[2J\\nerror: forged\n"


def test_dry_run_prints_the_plan_and_opens_everything_read_only(run: Run, pipeline: FakePipeline) -> None:
    pipeline.report = report(CREATE)

    code, out, err = run("--dry-run")

    assert (code, err) == (ExitCode.OK, "")
    assert out.endswith("Plan: 1 to create, 0 to change, 0 to delete\n")
    assert pipeline.calls == [("open", True), ("plan", "live")]


@pytest.mark.parametrize(
    ("of", "code"),
    [
        (report(), ExitCode.OK),
        (report(CREATE), ExitCode.CHANGES),
        (report(CREATE, problem=NameConflict("x")), ExitCode.FAILED),
    ],
    ids=["nothing to do", "changes", "changes and a problem"],
)
def test_detailed_exit_code_follows_the_plan(run: Run, pipeline: FakePipeline, of: Report, code: ExitCode) -> None:
    pipeline.report = of

    assert run("--dry-run", "--detailed-exitcode")[0] == code


def test_json_plan_is_alone_on_stdout_and_the_same_twice(run: Run, pipeline: FakePipeline) -> None:
    pipeline.report = report(CREATE)

    first = run("--dry-run", "--output", "json", "--against", "empty")

    assert json.loads(first[1])["summary"]["create"] == 1
    assert run("--dry-run", "--output", "json", "--against", "empty") == first
    assert ("plan", "empty") in pipeline.calls


def test_faults_of_specs_are_shown_as_compilers_do(run: Run, pipeline: FakePipeline) -> None:
    pipeline.report = replace(report(), spec_faults=(SpecError("specs/a.yaml", 3, 5, "unknown key"),))

    code, _, err = run("--dry-run")

    assert (code, err) == (ExitCode.BAD_SPECS, "specs/a.yaml:3:5: unknown key\n")


def test_error_of_the_tree_becomes_its_exit_code(run: Run, pipeline: FakePipeline) -> None:
    pipeline.error = LockHeld("held by process 17")

    assert run() == (ExitCode.LOCKED, "", "error: held by process 17\n")


def test_missing_privilege_says_what_it_takes(run: Run, pipeline: FakePipeline) -> None:
    pipeline.error = PrivilegeError(1, "create bridge docker0")

    code, _, err = run()

    assert code == ExitCode.NO_PRIVILEGE
    assert err.endswith(
        "it takes root, or the capabilities CAP_NET_ADMIN, CAP_SYS_ADMIN and, to watch, CAP_NET_BROADCAST\n"
    )


def test_interrupted_pass_has_the_shell_s_exit_code(
    run: Run, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "_answer", interrupted)

    assert run()[0] == 130


def test_bug_surfaces(pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Report:
        raise KeyError("bug")

    monkeypatch.setattr(pipeline, "_answer", broken)

    with pytest.raises(KeyError):
        main([])


def test_down_tears_everything_down(run: Run, pipeline: FakePipeline) -> None:
    assert run("down", "-q")[0] == ExitCode.OK
    assert pipeline.calls[-1] == ("tear_down", None)


@pytest.mark.parametrize(
    ("arguments", "orders"),
    [
        ((), NO_ORDERS),
        (("--allow-prune",), Orders(is_prune_allowed=True)),
        (("--dry-run", "--allow-prune"), Orders(is_prune_allowed=True)),
        (("--unprotect", "a", "--unprotect", "b"), Orders(unprotected=frozenset({"a", "b"}))),
        (("--rollback-on-failure",), Orders(is_rollback_wanted=True)),
        (("down",), NO_ORDERS),
        (("down", "--allow-prune"), Orders(is_protection_off=True)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_guards_yield_only_to_what_is_ordered(
    run: Run, pipeline: FakePipeline, arguments: tuple[str, ...], orders: Orders
) -> None:
    run(*arguments)

    assert pipeline.orders == orders


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("stauts", "reconcile status"),
        ("valdiate", "reconcile validate"),
        ("plan", "reconcile --dry-run"),
        ("run", "reconcile"),
        ("ps", "reconcile attachment ls"),
    ],
)
def test_command_that_is_not_there_leads_to_the_one_that_was_meant(
    run: Run, pipeline: FakePipeline, typed: str, meant: str
) -> None:
    code, _, err = run("-v", typed, "--what")

    assert code == ExitCode.USAGE
    assert err.endswith(f"Error: No such command '{typed}'. Did you mean `{meant}`?\n")
    assert pipeline.calls == []


WARNED_SPECS = """networks: {inside: {internal: true, driver_opts: {isolate: 1}}, front: {}}
attachments:
  web: {networks: [inside], ports: [8080:80]}
  both: {networks: [inside, front], ports: [8081:80, "[::1]:8082:80"]}
  here: {network_mode: host, ports: [80]}
"""
WARNINGS = [
    (1, 60, "'isolate' has no effect: driver bridge has no such option"),
    (3, 3, "attachment web: no port is published: none of its networks is a bridge that leads outside"),
    (4, 3, "attachment both: nothing is published on ::1: no IPv6 default route leads into the sandbox"),
    (
        5,
        3,
        "attachment here: published ports are discarded when using host network mode: what listens there listens on the host",
    ),
]


def test_validate_warns_of_what_comes_to_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "a.yaml").write_text(WARNED_SPECS)

    code, out, err = run("validate")
    document = json.loads(run("validate", "--output", "json")[1])
    annotations = run("validate", "--output", "github")[1].splitlines()

    assert (code, out) == (ExitCode.OK, "")
    lines = err.splitlines()
    for (line, column, text), said in zip(WARNINGS, sorted(lines[:-1]), strict=True):
        assert said.startswith(f"{tmp_path}/specs/a.yaml:{line}:{column}: warning: {text}")
    assert lines[-1] == "5 networks and 3 attachments for host alpha: fine, 4 warnings"
    assert (document["valid"], document["error_count"], document["warning_count"]) == (True, 0, 4)
    assert [each["severity"] for each in document["diagnostics"]] == ["warning"] * 4
    assert [each.split(",")[0] for each in annotations] == [f"::warning file={tmp_path}/specs/a.yaml"] * 4


@pytest.mark.parametrize(
    ("specs", "said"),
    [
        pytest.param(
            "networks: {n: {ipam: {config: [{subnet: 10.1.0.0/29}]}}}\nattachments: {"
            + ", ".join(f"a{number}: {{networks: [n]}}" for number in range(6))
            + "}",
            "2:120: attachment a5: no available IPv4 addresses on this network's address pools: n",
            id="no address left",
        ),
        pytest.param(
            'attachments: {a: {ports: ["8080:80", "127.0.0.1:8080:81"]}}',
            "1:15: attachment a: Bind for 127.0.0.1:8080 failed: port is already allocated: it is published twice here",
            id="port twice",
        ),
        pytest.param(
            "networks: {n: {driver: macvlan, driver_opts: {parent: eth0, macvlan_mode: passthru}}}\n"
            "attachments: {a: {networks: [n]}, b: {networks: [n]}}",
            "2:35: attachment b: network n is in mode passthru, which attachment a has to itself",
            id="passthru shared",
        ),
    ],
)
def test_validate_refuses_what_no_host_can_have(run: Run, tmp_path: Path, specs: str, said: str) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "a.yaml").write_text(specs)

    code, _, err = run("validate")

    assert code == ExitCode.BAD_SPECS
    (line,) = err.splitlines()
    assert line.startswith(f"{tmp_path}/specs/a.yaml:{said}")


def test_validate_says_nothing_of_who_joins_what_is_declared_elsewhere(run: Run, tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "a.yaml").write_text(
        "networks: {far: {external: true}, own: {driver: overlay}}\n"
        "attachments: {a: {networks: {far: {ipv4_address: 10.9.9.9}, own: }, ports: [8080:80]}}"
    )

    assert run("validate", "--cluster-store", "etcd://127.0.0.1:1")[0] == ExitCode.OK
    code, _, err = run("validate")
    assert (code, "far is external and declared nowhere" in err) == (ExitCode.BAD_SPECS, True)


def test_plan_tells_what_comes_to_nothing(run: Run, pipeline: FakePipeline) -> None:
    remark, warning = (Unit(attachment="web"), "no port is published"), SpecWarning(Source("a.yaml", 3, 5), "no effect")
    told = report(CREATE)
    pipeline.report = replace(told, desired=replace(told.desired, remarks=(remark,)), spec_warnings=(warning,))

    _, out, err = run("--dry-run")
    document = json.loads(run("--dry-run", "--output", "json")[1])
    annotations = run("--dry-run", "--output", "github")[1]

    assert "warning: attachment web: no port is published\n\nPlan:" in out
    assert err == "a.yaml:3:5: warning: no effect\n"
    assert document["remarks"] == [{"unit": {"attachment": "web", "network": ""}, "message": "no port is published"}]
    assert [(each["severity"], each["summary"]) for each in document["diagnostics"]] == [("warning", "no effect")]
    assert "::warning file=a.yaml,line=3,col=5::no effect\n" in annotations
    assert "::warning title=remark::attachment web: no port is published\n" in annotations


def test_prune_limit_is_a_setting(run: Run, pipeline: FakePipeline) -> None:
    run("--prune-limit", "5,10%")

    assert pipeline.settings is not None
    assert pipeline.settings.prune_limit == PruneLimit(count=5, percent=10)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nonsense",),
        ("nonsense",),
        ("network",),
        ("network", "inspect"),
        ("exec", "web"),
        ("exec", "web", "--"),
        ("--dry-run", "network", "ls"),
        ("--detailed-exitcode",),
        ("--against", "live"),
        ("--output", "xml"),
        ("--output", "json"),
        ("--output", "text"),
        ("--bridge", "docker0"),
        ("--host", "../../etc"),
        ("--cluster-store-opt", "token"),
        ("--prune-limit", "0,50%"),
        ("--prune-limit", "half"),
        ("--rollback-on-failure", "--dry-run"),
        ("--unprotect", "front", "network", "ls"),
        ("try", "--confirm", "--revert"),
        ("try", "--timeout", "0"),
        ("suspend", "--for", "soon"),
    ],
    ids=" ".join,
)
def test_usage_error_has_its_own_exit_code(run: Run, pipeline: FakePipeline, arguments: tuple[str, ...]) -> None:
    code, _, err = run(*arguments)

    assert code == ExitCode.USAGE, err
    assert pipeline.calls == []


def test_bad_configuration_has_its_own_exit_code(run: Run, pipeline: FakePipeline, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("spec: x\n")

    code, _, err = run("--config", str(tmp_path / "c.yaml"))

    assert code == ExitCode.BAD_CONFIG
    assert err.endswith("unknown key 'spec': did you mean 'specs'?\n")


def test_missing_namespace_of_the_host_is_a_configuration_error(
    run: Run, pipeline: FakePipeline, tmp_path: Path
) -> None:
    assert run("--host-netns", str(tmp_path / "H"))[0] == ExitCode.BAD_CONFIG
    assert pipeline.calls == []


@pytest.mark.parametrize("place", ["before", "after"])
def test_global_option_stands_before_or_after_the_command(run: Run, pipeline: FakePipeline, place: str) -> None:
    option = ("--run-dir", "/elsewhere", "--cluster-store-opt", "a=1", "--cluster-store-opt", "b=2")

    run(*((*option, "down") if place == "before" else ("down", *option)))

    assert pipeline.settings is not None
    assert pipeline.settings.run_dir == Path("/elsewhere")
    assert pipeline.settings.cluster_store_options == {"a": "1", "b": "2"}


def test_option_next_to_the_command_wins(run: Run, pipeline: FakePipeline) -> None:
    run("--run-dir", "/far", "down", "--run-dir", "/near")

    assert pipeline.settings is not None
    assert pipeline.settings.run_dir == Path("/near")


RECORDED = (
    ("9509a5f3ca033b6a4c16ac7832c2b4d37b2d4276c49c4ed65023dc59eee13f64", "bad", "bridge", "local"),
    ("089d2f661ca1cfc5bff478d699a013bded4dfffe44231bf33f340ee47aeecf2c", "bridge", "bridge", "local"),
    ("8b27d7e4c8734a4e0b540d87b08d1cf2c3a73922ef24258f19e9540216ab5d78", "docker_gwbridge", "bridge", "local"),
    ("63fb6ee597a4307b1c1a9038ae78706a381328213f77c27092166d964723f779", "host", "host", "local"),
    ("fcce482bee0b58eac2483d6a4ffb9da0e7abf9834d1d24fa4a0b7632f73f1762", "my-multi-host-network", "overlay", "global"),
    ("1d16b9c4c15065c7ef41f179aecb3a676a2d76a09789a471ee870c6c5feed099", "none", "null", "local"),
)


def with_status(folder: Path, *rows: tuple[str, str, str, str]) -> None:
    """Write status as a pass does that found the networks of `rows`, and web on `bridge`."""
    networks = tuple(
        DesiredNetwork(
            wanted=NetworkWanted(name=name, driver=driver, labels=(("team", "x\x1b[2J"),)),
            id=id_,
            created="2026-01-01T00:00:00.000000000Z",
            scope=scope,
        )
        for id_, name, driver, scope in rows
    )
    web = attachment("web", [endpoint("web", "bridge", "172.17.0.2/16")])
    desired = DesiredState(host=host_facts(), networks=networks, attachments=(web,))
    settings = Settings(host="alpha", specs_dir=folder / "specs", status_dir=folder / "status")
    Status(settings).told(Report(desired=desired, plan=Plan()))


@pytest.fixture
def status(tmp_path: Path) -> None:
    with_status(tmp_path, *RECORDED)


@pytest.mark.usefixtures("status")
def test_ls_prints_what_docker_printed(run: Run) -> None:
    recorded = (GOLDEN / "ls.txt").read_text().splitlines()
    names = {row[1] for row in RECORDED}
    expected = [line for line in recorded if line.startswith("NETWORK") or line[15:39].strip() in names]

    code, out, err = run("network", "ls")

    assert (code, err) == (ExitCode.OK, "")
    assert out.splitlines() == expected


def test_ls_no_trunc_prints_what_docker_printed(run: Run, tmp_path: Path) -> None:
    with_status(tmp_path, *(row for row in RECORDED if row[1] != "bad"))

    assert run("network", "ls", "--no-trunc")[1] == (GOLDEN / "ls_no_trunc.txt").read_text()


@pytest.mark.usefixtures("status")
@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (("driver=overlay",), ["my-multi-host-network"]),
        (("driver=null", "driver=host"), ["host", "none"]),
        (("type=builtin",), ["bridge", "host", "none"]),
        (("type=custom", "driver=bridge"), ["bad", "docker_gwbridge"]),
        (("scope=global",), ["my-multi-host-network"]),
        (("name=bridge",), ["bridge", "docker_gwbridge"]),
        (("id=089d2f",), ["bridge"]),
        (("label=team", "name=bad"), ["bad"]),
        (("label=team", "label=other"), []),
        (("label=team=y",), []),
        (("dangling=1", "name=multi"), ["my-multi-host-network"]),
    ],
    ids=" ".join,
)
def test_ls_filters_as_docker_does(run: Run, filters: tuple[str, ...], names: list[str]) -> None:
    arguments = [argument for text in filters for argument in ("--filter", text)]

    assert run("network", "ls", *arguments, "--format", "{{ Name }}")[1].splitlines() == names


@pytest.mark.usefixtures("status")
@pytest.mark.parametrize("text", ["type=odd", "dangling=2", "colour=red", "name"])
def test_ls_refuses_a_filter_that_means_nothing(run: Run, text: str) -> None:
    code, out, err = run("network", "ls", "-f", text)

    assert (code, out) == (ExitCode.FAILED, "")
    assert "nvalid filter" in err


@pytest.mark.usefixtures("status")
def test_ls_quiet_gives_ids_only(run: Run) -> None:
    assert run("network", "ls", "-q", "-f", "name=bad")[1] == "9509a5f3ca03\n"


@pytest.mark.usefixtures("status")
def test_ls_as_json_has_text_values_only(run: Run) -> None:
    line = json.loads(run("network", "ls", "--format", "json", "-f", "name=bad")[1])

    assert (line["Name"], line["IPv6"], line["Internal"]) == ("bad", "false", "false")


@pytest.mark.usefixtures("status")
def test_label_cannot_steer_the_terminal(run: Run) -> None:
    for arguments in (("ls", "--format", "{{ Labels }}"), ("ls", "--format", "json"), ("inspect", "bad")):
        _, out, _ = run("network", *arguments)
        assert "\x1b" not in out
        assert "team" in out


@pytest.mark.usefixtures("status")
def test_inspect_prints_the_file_as_it_is(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("network", "inspect", "bridge")

    assert code == ExitCode.OK
    assert out == (tmp_path / "status/networks/bridge.json").read_text()


@pytest.mark.usefixtures("status")
def test_inspect_leaves_out_what_20_10_does_not_have(run: Run) -> None:
    template = "{{ EnableIPv4 is defined }} {{ Status is defined }} {{ EnableIPv6 is defined }}"

    assert [run("network", "inspect", "bridge", *mode, "-f", template)[1] for mode in ((), ("--mode", "20.10"))] == [
        "True True True\n",
        "False False True\n",
    ]
    old, new = (
        json.loads(run("attachment", "inspect", "web", "--mode", mode)[1])[0]["NetworkSettings"]["Networks"]["bridge"]
        for mode in ("20.10", "newest")
    )
    assert new.keys() - old.keys() == {"GwPriority", "DNSNames"}
    assert run("network", "inspect", "bridge", "--mode", "1.0")[0] == ExitCode.USAGE


@pytest.mark.usefixtures("status")
def test_inspect_goes_on_after_what_there_is_not(run: Run) -> None:
    code, out, err = run("network", "inspect", "nope", "none", "63fb", "9")

    assert code == ExitCode.FAILED
    assert [document["Name"] for document in json.loads(out)] == ["none", "host", "bad"]
    assert err == "Error: No such network: nope\n"


@pytest.mark.usefixtures("status")
def test_inspect_of_nothing_prints_an_empty_array(run: Run) -> None:
    assert run("network", "inspect", "nope")[:2] == (ExitCode.FAILED, "[]\n")


@pytest.mark.usefixtures("status")
def test_inspect_renders_a_template_per_document(run: Run) -> None:
    template = "{{ Name }}: {{ IPAM.Driver }} {{ Containers | length }} {{ Labels | json }}"

    _, out, _ = run("network", "inspect", "--format", template, "none", "bridge")

    assert out == 'none: default 0 {"team":"x\\u001b[2J"}\nbridge: default 1 {"team":"x\\u001b[2J"}\n'


@pytest.mark.usefixtures("status")
@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Name}}", "Jinja2 has no dot before a name"),
        ("{{ Nme }}", "'Nme' is undefined"),
        ("{{ Name", "--format: "),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ Labels.update({}) }}", "unsafe"),
        ("{{ 1 / 0 }}", "division by zero"),
    ],
)
def test_template_that_cannot_be_rendered_is_refused(run: Run, template: str, message: str) -> None:
    code, _, err = run("network", "inspect", "none", "-f", template)

    assert code == ExitCode.FAILED
    assert message in err


@pytest.mark.usefixtures("status")
def test_attachments_are_listed_with_networks_and_addresses(run: Run) -> None:
    web = attachment("web")

    assert run("attachment", "ls")[1].splitlines() == [
        "ATTACHMENT ID   NAME      NETWORKS   ADDRESSES    SANDBOX",
        f"{web.id[:12]}    web       bridge     172.17.0.2   /run/netns/web",
    ]
    assert json.loads(run("attachment", "inspect", "web")[1])[0]["Name"] == "/web"
    assert run("attachment", "ls", "-f", "network=other", "-q")[1] == ""


def test_reading_before_the_first_pass_says_so(run: Run) -> None:
    code, out, err = run("network", "ls")

    assert (code, out) == (ExitCode.FAILED, "")
    assert "no status below" in err


@pytest.mark.usefixtures("status")
def test_exec_in_an_unknown_attachment_says_so(run: Run) -> None:
    assert run("exec", "nope", "--", "true") == (ExitCode.FAILED, "", "error: No such attachment: nope\n")


@pytest.mark.usefixtures("status")
def test_exec_leaves_the_options_of_the_command_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr("reconciler.sandbox_exec.run_in_sandbox", lambda *given: calls.append(given))

    run("exec", "--run-dir", str(tmp_path), "web", "--", "ip", "-q", "--help")
    run("exec", "web", "ip", "-v")

    assert [command for _, command in calls] == [("ip", "-q", "--help"), ("ip", "-v")]
    sandbox = calls[0][0]
    assert (sandbox.key, sandbox.files_dir) == ("/run/netns/web", tmp_path / "sandboxes/web")  # type: ignore[attr-defined]


def test_version_is_printed_both_ways(run: Run) -> None:
    assert run("version") == run("--version")


def test_network_of_another_name_order_is_natural(run: Run, tmp_path: Path) -> None:
    with_status(tmp_path, *((f"{n:064x}", f"net{n}", "bridge", "local") for n in (10, 9, 1)))

    assert run("network", "ls", "--format", "{{Name}}")[1] == "net1\nnet9\nnet10\n"


def test_bridge_network_of_the_fakes_can_be_shown(run: Run, tmp_path: Path) -> None:
    desired = DesiredState(host=host_facts(), networks=(network("bridge", "172.17.0.0/16"),), attachments=())
    settings = Settings(host="alpha", specs_dir=tmp_path / "specs", status_dir=tmp_path / "status")
    Status(settings).told(Report(desired=desired, plan=Plan()))

    _, out, _ = run("network", "inspect", "-f", "{{ IPAM.Config[0].Subnet }}", "bridge")

    assert out == "172.17.0.0/16\n"


@pytest.mark.usefixtures("status")
def test_output_that_cannot_be_written_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", "network", "ls"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (
        ExitCode.FAILED,
        "error: stdout cannot be written: No space left on device\n",
    )


@pytest.mark.usefixtures("status")
def test_reader_that_left_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "network", "ls"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
