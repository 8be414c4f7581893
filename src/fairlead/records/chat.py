"""What is posted to people's chats: one message as Slack, Teams and generic receivers want it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from fairlead.model import Message, Notice
from fairlead.records.record import SEVERITIES, stamp

LINES = 20  # of a message; a phone shows no more at a glance
ALIKE = 3  # of one kind, of one service; what goes beyond is counted
LONGEST = 240  # characters of a text: Teams takes 28 KB in all
_CARD = "application/vnd.microsoft.card.adaptive"
_SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"
_DATES = "<!date^{at:.0f}^{{time_secs}}|{clock}>"  # Slack shows it in the reader's own zone
_COLOURS = ("#a30200", "#a30200", "#a30200", "#a30200", "#daa038", "#2f6f9f", "#2f6f9f", "#2f6f9f")  # of severities
_GOOD = "#2eb886"
_STYLES = ("attention", "attention", "attention", "attention", "warning", "accent", "accent", "accent")
_SIGNS = ("🔴", "🔴", "🔴", "🔴", "🟠", "🔵", "🔵", "🔵")
_MENDED = "🟢"


def payload(kind: str, message: Message, host: str) -> bytes:
    """The body of a POST, JSON. `kind` is "slack", "teams" or "webhook", `host` this machine's name."""
    made = {"slack": slack, "teams": teams, "webhook": webhook}[kind](message, host)
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()


def slack(message: Message, host: str) -> dict[str, Any]:
    """An incoming webhook's message: `text` is what notifications show; Mattermost and Rocket.Chat read the same."""
    body = "\n".join(_slack_line(line) for line in lines(message))
    colour = _GOOD if message.mended else _COLOURS[message.severity]
    attachment = {"color": colour, "fallback": _escaped(headline(message, host)), "text": body, "mrkdwn_in": []}
    return {"text": _escaped(headline(message, host)), "attachments": [attachment]}


def teams(message: Message, host: str) -> dict[str, Any]:
    """A message with an Adaptive Card, version 1.4, as the workflow for incoming webhooks takes it.

    A TextBlock reads a part of Markdown: what could be taken for it is escaped.
    """
    style = "good" if message.mended else _STYLES[message.severity]
    title = {"type": "TextBlock", "text": _plain(headline(message, host)), "weight": "Bolder", "size": "Medium", "wrap": True}
    told = [{"type": "TextBlock", "text": _plain(_line(line)), "wrap": True, "spacing": "Small"} for line in lines(message)]
    card = {
        "$schema": _SCHEMA,
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": [{"type": "Container", "style": style, "bleed": True, "items": [title]}, *told],
    }
    return {"type": "message", "attachments": [{"contentType": _CARD, "contentUrl": None, "content": card}]}


def webhook(message: Message, host: str) -> dict[str, Any]:
    """Everything that is known, for programs; docs/reference/alerts.md describes it. `id` is the same for each try."""
    first = message.notices[0]
    return {
        "format": 1,
        "source": "fairlead",
        "host": host,
        "id": f"{host}-{int(min(n.since for n in message.notices) * 1000)}-{message.number}",
        "severity": message.severity,
        "level": SEVERITIES[message.severity],
        "resolved": message.mended,
        "text": headline(message, host),
        "at": stamp(first.at),
        "left_out": message.left_out,
        "events": [_event(notice) for notice in message.notices],
    }


def _event(notice: Notice) -> dict[str, Any]:
    return {
        "name": notice.name,
        "severity": notice.severity,
        "level": SEVERITIES[notice.severity],
        "resolved": notice.mended,
        "text": notice.text,
        "about": notice.about,
        "at": stamp(notice.at),
        "since": stamp(notice.since),
        "times": notice.times,
        "before": notice.before,
        "facts": dict(notice.details),
    }


# ------------------------------------------------------------------------------------------------------------------------ words


def headline(message: Message, host: str) -> str:
    """One line: the event, if there is one, else how many troubles and ends of troubles."""
    if len(message.notices) == 1 and not message.left_out:
        return f"Fairlead on {host}: {_short(message.notices[0].text)}"
    over = sum(n.mended for n in message.notices)
    left = len(message.notices) - over + message.left_out
    parts = [f"{left} event{'s' * (left != 1)}, the worst: {SEVERITIES[message.severity]}"] if left else []
    parts += [f"{over} over"] if over else []
    return f"Fairlead on {host}: {'; '.join(parts)}"


Line = tuple[Notice | None, str]  # the notice that it is about


def lines(message: Message) -> list[Line]:
    """A line for each notice; those of one kind and service as one from the fourth on, and no more than a screen of them."""
    found = list(_lines(message.notices))
    more = message.left_out + sum(1 for _ in found[LINES:])
    if not more:
        return found
    return [*found[:LINES], (None, f"and {more} more: `fairlead log` has them all")]


def _lines(notices: Iterable[Notice]) -> Iterator[Line]:
    families: dict[tuple[str, str], list[Notice]] = {}
    for notice in notices:
        families.setdefault((notice.name, notice.about), []).append(notice)
    for (name, about), members in families.items():
        yield from ((notice, _told(notice)) for notice in members[:ALIKE])
        if rest := members[ALIKE:]:
            who = [dict(notice.details).get("backend", "") for notice in rest]
            named = f": {', '.join(filter(None, who))}" if any(who) else ""
            yield rest[0], _short(f"{len(rest)} more {name}{f' of {about}' if about else ''}{named}")


def _told(notice: Notice) -> str:
    """What happened, what it was before, and how often within how long."""
    text = _short(notice.text)
    if notice.before:
        text += f" (before: {_short(notice.before)})"
    if notice.times > 1:
        took = notice.at - notice.since
        text += f" [{notice.times} times{f' within {took:.0f} s' if took >= 1 else ''}]"
    return text


def _sign(notice: Notice | None) -> str:
    if notice is None:
        return ""
    return f"{_MENDED if notice.mended else _SIGNS[notice.severity]} "


def _clock(at: float) -> str:
    return f"{stamp(at)[11:19]} UTC"


def _line(line: Line) -> str:
    notice, text = line
    return f"{_sign(notice)}{text}" if notice is None else f"{_sign(notice)}{_clock(notice.at)}  {text}"


def _slack_line(line: Line) -> str:
    notice, text = line
    when = "" if notice is None else _DATES.format(at=notice.at, clock=_clock(notice.at)) + "  "
    return f"{_sign(notice)}{when}{_escaped(text)}"


def _short(text: str) -> str:
    """One line, not endless."""
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST else f"{flat[: LONGEST - 1]}…"


def _escaped(text: str) -> str:
    """Slack's three control characters: without this a text could mention everybody (`<!channel>`) or hide a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(text: str) -> str:
    """Nothing that Teams could take for Markdown: links, emphasis, lists."""
    return "".join(f"\\{c}" if c in "\\`*_[]~" else c for c in text)
