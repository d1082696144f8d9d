"""A review as a comment on a pull request."""

from __future__ import annotations

from reconciler.cli.review_markdown import LENGTH_MAX, MARKER, review_markdown
from reconciler.errors import SpecError
from reconciler.model.desired import DesiredState
from reconciler.model.objects import Unit
from reconciler.model.plan import Action, Plan
from reconciler.model.report import Report
from reconciler.model.wanted import Source
from reconciler.review.values import FieldChange, FlowChanges, HostReview, Review, ReviewFlow, SharedChange
from tests.fakes.desired import host_facts


def host(name: str, flows: int) -> HostReview:
    report = Report(desired=DesiredState(host=host_facts(), networks=(), attachments=()), plan=Plan())
    gained = tuple(
        ReviewFlow(clients=(f"a{i}",), servers=(f"b{i}",), what="80/tcp", how="linked", versions=(4,))
        for i in range(flows)
    )
    return HostReview(host=name, report=report, flows=FlowChanges(gained=gained))


def change(name: str, after: str = "10.0.0.0/8") -> SharedChange:
    at = Source("specs/a.yaml", 3, 5)
    field = FieldChange(path="ipam.config.subnet", before=None, after=after, source=at)
    hosts = ((Action.UPDATE, ("h1",)),)
    return SharedChange(unit=Unit(network=name), source=at, is_before=False, fields=(field,), hosts=hosts)


def test_a_comment_stays_below_the_limit_and_counts_what_it_leaves_out() -> None:
    changes = tuple(change(f"n{i}") for i in range(800))

    text = review_markdown(Review(against="HEAD~1", changes=changes, hosts=tuple(host(f"h{i}", 60) for i in range(40))))

    assert text.startswith(MARKER)
    assert 50_000 < len(text) < LENGTH_MAX
    assert "more changes" in text
    assert "more hosts" in text
    assert text.count("<details>") == text.count("</details>") > 0


def test_faults_leave_room_for_themselves_alone() -> None:
    faults = tuple(SpecError("a.yaml", line, 1, "x" * 100) for line in range(1000))

    text = review_markdown(Review(against="HEAD~1", changes=(), hosts=(host("h", 9000),), faults=faults))

    assert len(text) < LENGTH_MAX
    assert "more faults" in text
    assert "<details>" not in text, "what the faults leave out is not known"


def test_text_of_others_is_neither_markup_nor_a_mention() -> None:
    evil = "`@all` <img src=x> [a](b) --> **"

    text = review_markdown(Review(against=evil, changes=(change("n", evil),), hosts=(host("@all <b>", 1),)))

    assert "<img" not in text.replace("'@all' <img", ""), "but in a code span, which shows it as it is"
    assert "[a](b)" not in text.replace("<img src=x> [a](b) --> **`", "")
    assert "&#64;all &lt;b&gt;" in text
