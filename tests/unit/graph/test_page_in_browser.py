"""The page as people use it: searched, clicked, read, with keys alone, light and dark, with 200 attachments on 20 networks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reconciler.cli.root import main
from tests.browser import MISSING, Browser, browser
from tests.waiting import until

IN_CI = bool(os.environ.get("CI"))


def specs() -> dict[str, object]:
    """Give 20 networks, every fifth internal, every seventh with its members apart, and 200 attachments on one or two of them."""
    networks = {
        f"net{number:02}": {
            "internal": number % 5 == 1,
            "driver_opts": {"com.docker.network.bridge.enable_icc": str(number % 7 != 2).lower()},
            "ipam": {"config": [{"subnet": f"172.30.{number}.0/24"}]},
        }
        for number in range(20)
    }
    attachments = {
        f"app{number:03}": {
            "networks": {f"net{number % 20:02}": {}, **({f"net{number // 20:02}": {}} if number % 3 == 0 else {})},
            "ports": [f"{9000 + number}:80"] if number % 20 == 0 else [],
        }
        for number in range(200)
    }
    attachments["app007"]["networks"] = {"net07": {"aliases": ["lookup"]}}
    return {"networks": networks, "attachments": attachments}


def words(opened: Browser, selector: str) -> str:
    return " ".join(opened.text(selector).split())


@pytest.mark.skipif(bool(MISSING) and not IN_CI, reason=f"not installed: {MISSING}")
def test_a_person_searches_clicks_and_reads_the_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "all.yaml").write_text(json.dumps(specs(), indent=1))
    where = ("--specs", str(tmp_path / "specs"), "--state-dir", str(tmp_path / "state"), "--host", "alpha")
    assert main([*where, "graph", "--format", "html"]) == 0
    (tmp_path / "page.html").write_text(capsys.readouterr().out)

    with browser() as opened:
        opened.open(f"file://{tmp_path}/page.html")
        assert opened.run("return document.querySelectorAll('.card').length") == 20
        assert "1 host, 20 networks, 200 attachments" in words(opened, "#panel")

        # A search by alias leaves one; Enter picks it, and its details say what it reaches, how, and why.
        opened.type("/", "lookup")
        until(lambda: opened.text("#found") == "1 attachment on 1 network")
        opened.type("Enter")
        assert opened.text("#panel h2") == "app007"
        reaches = words(opened, "#to")
        assert "every port masqueraded · IPv4 outside" in reaches
        assert "by the default route, on net07" in reaches
        assert "app027" in reaches
        assert "both are on net07" in reaches
        assert f"{tmp_path}/specs/all.yaml:" in reaches
        assert "reaches" in opened.run("return document.getElementById('said').textContent")
        assert opened.run("return document.activeElement.attachment") == 7

        # Keys: to the details and back; Escape clears the search; arrows go through the network.
        opened.type("Enter")
        assert opened.run("return document.activeElement.id") == "panel"
        opened.type("Escape", "/", "Escape", "Escape")
        until(lambda: opened.text("#found") == "")
        assert opened.text("#panel h2") == "What there is"
        opened.run("document.querySelector('.card:nth-of-type(3) .chip').focus()")
        before = opened.run("return document.activeElement.attachment")
        opened.type("Down")
        assert opened.run("return document.activeElement.attachment") > before
        opened.type("Right")
        assert opened.run("return document.activeElement.closest('.card').getAttribute('aria-label')").startswith(
            "network net03"
        )

        # Who is apart, and who publishes: a click tells both, and why not.
        opened.click(".card:nth-of-type(3) .chip")
        assert opened.run("return document.querySelectorAll('.card:nth-of-type(3) .chip.to').length") <= 1
        opened.click("#refused summary")
        opened.run("document.querySelectorAll('#refused .more').forEach((button) => button.click())")
        assert "enable_icc is off on net02" in words(opened, "#refused")
        assert "published ports" in words(opened, "#to")
        opened.run(
            "[...document.querySelectorAll('#to button')].find((b) => b.textContent.startsWith('app020')).click()"
        )
        assert opened.text("#panel h2") == "app020"
        reached = words(opened, "#from")
        assert "80/tcp published at 9020" in reached
        assert "published: 0.0.0.0:9020/tcp leads to app020" in reached

        # Chips show it too, not by colour alone, and the page is dark where its reader wants that.
        assert opened.run("return document.querySelectorAll('.chip.from').length") > 100
        chip = "getComputedStyle(document.querySelector('.chip.from:not(.to)'), '::before')"
        look = f"return [getComputedStyle(document.body).backgroundColor, {chip}.content]"
        assert opened.run(look) == ["rgb(246, 247, 249)", '"←"']
        opened.prefer("dark")
        assert opened.run(look)[0] == "rgb(18, 21, 26)"
        assert opened.complaints() == []
