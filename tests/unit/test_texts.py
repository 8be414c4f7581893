"""What people at a shell read: golden texts, one file each. FAIRLEAD_BLESS=1 writes them anew, for review."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead import render
from fairlead.model import Status
from fairlead.render.paint import bare, paint
from tests.unit.sample import DNS, FIRST, NOW, OFF, SECOND, STATUS, THIRD, WEB, WELL

GOLDEN = Path(__file__).parent / "golden"
VIPS = {vip.address: vip for vip in STATUS.vips}


def only(*backends: str) -> list[object]:
    return [replace(s, backends=tuple(b for b in s.backends if b.address in backends)) for s in STATUS.services]


TEXTS: dict[str, Callable[[], str]] = {
    "status": lambda: render.status(STATUS, NOW),
    "status-well": lambda: render.status(WELL, NOW),
    "services": lambda: render.services(STATUS.services, VIPS, NOW),
    "service": lambda: render.service(WEB, VIPS[WEB.vip], NOW),
    "service-down": lambda: render.service(DNS, VIPS[DNS.vip], NOW),
    "backends": lambda: render.backends(STATUS.services, NOW),
    "backend": lambda: render.backend(only("10.1.0.12"), NOW),  # type: ignore[arg-type]
    "backend-drained": lambda: render.backend([replace(WEB, backends=(THIRD,))], NOW),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_is_the_golden_one(name: str) -> None:
    """Word for word, column for column."""
    text, path = TEXTS[name](), GOLDEN / f"{name}.txt"
    if os.environ.get("FAIRLEAD_BLESS"):
        path.write_text(text)

    assert text == path.read_text()


def test_every_golden_text_is_tried() -> None:
    """No file is left over."""
    assert {path.stem for path in GOLDEN.glob("*.txt")} >= set(TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_colour_is_laid_over_the_text(name: str) -> None:
    """Without its colours a text is the same, and there are some."""
    text = TEXTS[name]()

    assert bare(paint(text)) == text
    assert paint(text) != text


def test_states_have_the_colour_that_they_mean() -> None:
    """Green is well, red is not, yellow is what somebody wanted; a backend's address is none of these."""
    painted = paint(render.backends(STATUS.services, NOW))

    assert "\x1b[32mup\x1b[0m" in painted
    assert "\x1b[31mdown\x1b[0m" in painted
    assert "\x1b[33mdrain\x1b[0m" in painted
    assert "\x1b[31m# [2001:db8::53]:53/udp is down" in painted
    assert "\n10.1.0.11" in painted


def test_all_is_well_without_a_word() -> None:
    """A balancer that does what it should has no sentence: exit code 0, and nothing red."""
    assert render.sentences(WELL, NOW) == []


def sentence(status: Status, word: str) -> str:
    (found,) = [text for text in render.troubles(status, NOW) if word in text]
    return found


def test_a_sentence_says_what_to_do() -> None:
    """By what the checks met: a closed port, a silent machine, a VIP that is missing, a way that Fairlead is not on."""
    cases = {
        "connection refused after 0.3 ms": "does anything serve 2001:db8::53 port 53 on 10.1.0.12?",
        "timed out: 10.1.0.12 itself answers: is 2001:db8::53 on its loopback?": "`ip addr add 2001:db8::53 dev lo`",
        "timed out, and 10.1.0.12 itself does not answer either": "is 10.1.0.12 on, and in this network?",
        "is reached through eth3, on which Fairlead does not run": "add it to `interfaces`",
        "503 after 2 ms": "its checks: `fairlead backends 10.1.0.12`",
    }
    for reason, mend in cases.items():
        service = replace(DNS, backends=(replace(OFF, reason=reason),))
        assert mend in sentence(replace(WELL, services=(service,)), "10.1.0.12 is down")


def test_one_backend_is_one_sentence() -> None:
    """Down for many services, it is named once, with how many; of very many backends a screen is named."""
    one = tuple(replace(WEB, port=port, backends=(SECOND,)) for port in (80, 443, 8080))
    many = tuple(replace(FIRST, address=f"10.2.0.{n}", state="down") for n in range(1, 31))

    assert "down for 192.0.2.10:80/tcp and 2 other services: " in sentence(replace(WELL, services=one), "10.1.0.12")
    found = render.troubles(replace(WELL, services=(replace(WEB, backends=many),)), NOW)
    assert (len(found), found[-1]) == (21, "10 more backends are down (`fairlead backends --state down` lists them)")


def test_what_a_pass_could_not_do_is_no_warning() -> None:
    """Warnings degrade nothing; a failure does, and is said once."""
    assert render.troubles(replace(WELL, warnings=("rp_filter is strict",)), NOW) == []
    assert sum("set flow timeouts" in text for text in render.sentences(STATUS, NOW)) == 1
    assert sentence(STATUS, "set flow timeouts").startswith("failed, next try")
