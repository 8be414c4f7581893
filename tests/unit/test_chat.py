"""What is posted to Slack, Teams and webhooks: the forms that they document, and nothing that a text could turn into more."""

from __future__ import annotations

import json

import pytest

from fairlead.model import Message, Notice
from fairlead.records import chat

AT = 1_700_000_000.0
DOWN = Notice(
    AT,
    "vip-down",
    3,
    "VIP 192.0.2.10 is down: <!channel> & _all_ [x](http://evil.example)",
    since=AT,
    details=(("vip", "192.0.2.10"),),
)
UP = Notice(AT + 60, "vip-up", 5, "VIP 192.0.2.10 is up", mended=True, times=2, since=AT, before="VIP 192.0.2.10 is down: x")


def backends(count: int) -> tuple[Notice, ...]:
    return tuple(
        Notice(
            AT, "backend-down", 5, f"backend 10.1.0.{n} is down for S: x", "S", since=AT, details=(("backend", f"10.1.0.{n}"),)
        )
        for n in range(count)
    )


def sent(kind: str, message: Message) -> dict[str, object]:
    """The body as the other side decodes it."""
    found = json.loads(chat.payload(kind, message, "lb1"))
    assert isinstance(found, dict)
    return found


def test_slack():
    """`text` for the notification, an attachment for the lines: nothing in them is a mention, a link or markup."""
    found = sent("slack", Message(1, (DOWN, UP)))

    assert found["text"] == "Fairlead on lb1: 1 event, the worst: error; 1 over"
    (attachment,) = found["attachments"]
    assert attachment["color"] == "#a30200"
    assert attachment["mrkdwn_in"] == []
    first, second = attachment["text"].splitlines()
    assert first == (
        "🔴 <!date^1700000000^{time_secs}|22:13:20 UTC>  "
        "VIP 192.0.2.10 is down: &lt;!channel&gt; &amp; _all_ [x](http://evil.example)"
    )
    assert second.endswith("VIP 192.0.2.10 is up (before: VIP 192.0.2.10 is down: x) [2 times within 60 s]")
    assert sent("slack", Message(1, (UP,)))["attachments"][0]["color"] == "#2eb886"


def test_teams():
    """An Adaptive Card 1.4 in a message, each text of it without meaning in Markdown."""
    found = sent("teams", Message(1, (DOWN, UP)))

    assert found["type"] == "message"
    (attachment,) = found["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    title, first, _ = card["body"]
    assert title["style"] == "attention"
    assert title["items"][0]["text"] == "Fairlead on lb1: 1 event, the worst: error; 1 over"
    assert first["text"].endswith("VIP 192.0.2.10 is down: <!channel> & \\_all\\_ \\[x\\](http://evil.example)")
    assert {block["type"] for block in [*title["items"], *card["body"][1:]]} == {"TextBlock"}
    assert sent("teams", Message(1, (UP,)))["attachments"][0]["content"]["body"][0]["style"] == "good"


def test_webhook():
    """All that is known; the severity is of what goes on."""
    found = sent("webhook", Message(7, (DOWN, UP), 3))

    first, second = found.pop("events")
    assert found == {
        "format": 1,
        "source": "fairlead",
        "host": "lb1",
        "id": "lb1-1700000000000-7",
        "severity": 3,
        "level": "error",
        "resolved": False,
        "text": "Fairlead on lb1: 4 events, the worst: error; 1 over",
        "left_out": 3,
        "at": "2023-11-14T22:13:20.000000Z",
    }
    assert first["facts"] == {"vip": "192.0.2.10"}
    assert second == {
        "name": "vip-up",
        "severity": 5,
        "level": "notice",
        "resolved": True,
        "text": "VIP 192.0.2.10 is up",
        "about": "",
        "at": "2023-11-14T22:14:20.000000Z",
        "since": "2023-11-14T22:13:20.000000Z",
        "times": 2,
        "before": "VIP 192.0.2.10 is down: x",
        "facts": {},
    }


def test_one_event_is_its_own_headline():
    """Nobody has to open anything to know."""
    assert chat.headline(Message(1, (UP,)), "lb1") == "Fairlead on lb1: VIP 192.0.2.10 is up"
    assert chat.headline(Message(1, (UP,), 2), "lb1") == "Fairlead on lb1: 2 events, the worst: notice; 1 over"


def test_alike_share_a_line():
    """A rack that dies is four lines, not forty."""
    found = [text for _, text in chat.lines(Message(1, (DOWN, *backends(40))))]

    assert len(found) == 5
    assert found[-1].startswith("37 more backend-down of S: 10.1.0.3, 10.1.0.4, ")
    assert len(found[-1]) <= chat.LONGEST


def test_no_more_than_a_screen():
    """The rest is counted, with what was left out before."""
    notices = tuple(Notice(AT, f"n{n}", 4, f"text {n}", since=AT) for n in range(50))

    found = chat.lines(Message(1, notices, 7))
    assert len(found) == chat.LINES + 1
    assert found[-1] == (None, "and 37 more: `fairlead log` has them all")


@pytest.mark.parametrize("kind", ["slack", "teams"])
def test_size(kind):
    """Teams takes 28 KB, Slack 40,000 characters: the worst that there can be is within both."""
    text = "_\n\\ü" * 2000
    notices = tuple(Notice(AT, f"n{n}", 3, text, f"s{n}", times=9, since=AT - 99, before=text) for n in range(200))

    assert len(chat.payload(kind, Message(1, notices, 10**6), "h" * 64)) <= 28 * 1024
