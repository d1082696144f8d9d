"""The page of a watcher, in a browser: it shows what is changed by hand and its repair, and what stands in the way."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest

from tests.browser import MISSING, Browser, Inside, browser
from tests.command_line import Reconcile
from tests.waiting import patient, until

pytestmark = pytest.mark.kernel

IN_CI = bool(os.environ.get("CI"))
ADDRESS = "127.0.0.1:9199"
SPECS = """\
networks:
  front: {ipam: {config: [{subnet: 172.30.1.0/24}]}}
  secret: {driver_opts: {com.docker.network.bridge.name: br-x}, labels: {token: hunter2}}
attachments:
  web: {networks: [front], ports: ["8080:80"]}
  db: {networks: [front, secret]}
"""


def listens(inside: Inside) -> bool:
    host, _, port = ADDRESS.partition(":")
    with inside(), suppress(OSError), socket.create_connection((host, int(port)), patient(5)):
        return True
    return False


@pytest.fixture
def page(reconcile: Reconcile) -> Iterator[Browser]:
    """A window that shows the page of a watcher."""
    reconcile.write(all=SPECS)
    watcher = reconcile.start("watch", "--metrics", ADDRESS)
    inside = partial(reconcile.machine.inside, reconcile.host_ns)
    try:
        with browser(("ip", "netns", "exec", reconcile.host_ns), inside) as opened:
            until(partial(listens, inside))
            opened.open(f"http://{ADDRESS}/")
            yield opened
    finally:
        watcher.kill()
        watcher.wait()
        reconcile("down")


@pytest.mark.skipif(bool(MISSING) and not IN_CI, reason=f"not installed: {MISSING}")
def test_a_link_deleted_by_hand_and_its_repair_are_shown_live(page: Browser, reconcile: Reconcile) -> None:
    machine = reconcile.machine
    card = "[aria-label^='network front']"
    until(lambda: page.run("return document.documentElement.dataset.ready"))
    until(lambda: "ready" in page.text(card))
    page.run("document.querySelector(arguments[0]).click()", f"{card} .chip")
    assert page.text("#panel h2") == "db"
    assert "both are on front" in page.text("#to")
    page.type("Escape")

    bridge = next(name for name in machine.links("H") if name.startswith("br-") and name != "br-x")
    machine.run("", "ip", "-n", "H", "link", "delete", bridge)
    until(lambda: "drift repaired" in page.text(card))
    assert bridge in machine.links("H")
    until(lambda: "repaired" in page.text("#panel .events"))
    assert "front" in page.text("#watcher")

    # A change of the specs is drawn anew, what was picked stays so; what cannot be had says why.
    page.run("document.querySelector(arguments[0]).click()", f"{card} .chip")
    reconcile.write(
        all=SPECS,
        more="networks: {lan: {driver: macvlan, driver_opts: {parent: eth7}, ipam: {config: [{subnet: 10.1.0.0/24}]}}}\n",
    )
    until(lambda: "eth7" in page.text("[aria-label='network lan, not there']"))
    assert page.text("#panel h2") == "db"
    assert "hunter2" not in page.run("return document.documentElement.outerHTML")
    assert page.complaints() == []


def test_what_others_changed_is_drawn_beside_what_the_specs_change(reconcile: Reconcile) -> None:
    reconcile.write(all=SPECS)
    reconcile.ok()
    bridge = next(name for name in reconcile.machine.links("H") if name.startswith("br-") and name != "br-x")
    reconcile.machine.run("", "ip", "-n", "H", "link", "delete", bridge)
    reconcile.write(all=SPECS.replace("[front]", "[secret]"))

    drawn = reconcile.ok("graph", "--plan", "--against", "live").stdout.splitlines()
    assert [line[:2] for line in drawn if "network front" in line] == ["! "]
    assert [line[:2] for line in drawn if line.endswith("web  172.30.1.3") or "─ web" in line] == ["- ", "+ "]
    assert reconcile.ok("graph", "--plan", "--against", "status").stdout.splitlines() != drawn
    reconcile.ok("down")
