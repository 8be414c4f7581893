"""The grammar of alerts: VC5's bare URLs, mappings, levels, and what makes no sense."""

from __future__ import annotations

import pytest

from fairlead.config import expand, parse
from fairlead.errors import ConfigError
from fairlead.model import Alert, Config

SERVICE = "services: [{virtual: 192.0.2.10, servers: [10.1.0.11], policy: {http: }}]\n"
HOOK = "https://hooks.example.net/T0/B0"


def alerts(text: str) -> Config:
    """A configuration that is good, has this in `logging`, and means the same in its normal form."""
    config = parse(f"{SERVICE}logging: {{{text}}}", "x")
    assert parse(expand(config), "x").logging == config.logging
    return config


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        alerts(text)
    return "\n".join(map(str, refused.value.problems))


def test_vc5():
    """VC5's shape: two URLs and a number; who may read the file may post, which is worth a warning each."""
    config = alerts(f"alert: 3, slack: {HOOK}, teams: '{HOOK}?sig=x'")

    assert config.logging.alerts == (Alert("slack", HOOK, level=3), Alert("teams", f"{HOOK}?sig=x", level=3))
    assert [w.hint for w in config.warnings] == ["write the URL into a file of its own: `url-file`"] * 2


def test_everything_said():
    """All keys; a level as a word, priorities in the order of the grammar."""
    config = alerts(
        "webhook: [{url-file: /a, token-file: /b, ca-file: /c, level: notice, priorities: [low, critical], group: 1m, most: 5}]"
    )

    expected = Alert("webhook", "", "/a", "/b", "/c", 5, ("critical", "low"), 60.0, 5)
    assert config.logging.alerts == (expected,)
    assert not config.warnings


def test_defaults():
    """Warnings and errors, ten seconds, sixty messages; `alert` is for those that say no level."""
    config = alerts(f"alert: error, webhook: [{HOOK}, {{url: {HOOK}/2, level: warning}}]")

    assert config.logging.alerts == (Alert("webhook", HOOK, level=3), Alert("webhook", f"{HOOK}/2"))
    assert Alert("webhook").level == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("webhook: {level: error}", "`webhook` needs a `url` or a `url-file`"),
        (f"slack: {{url: '{HOOK}', url-file: /x}}", "there are a `url` and a `url-file`"),
        (f"slack: {HOOK}, webhook: {HOOK}", "two alerts go to the same place"),
        ("webhook: ftp://x.example/", "must be a URL"),
        ("webhook: 'https://a:b@x.example/'", "no place for a password"),
        ("webhook: 'https://x.example/ü'", "must be a URL"),
        ("webhook: 'https://x.example:0/'", "must be a URL"),
        (f"webhook: {{url: '{HOOK}', level: 8}}", "or 0 to 7"),
        (f"webhook: {{url: '{HOOK}', level: loud}}", "or 0 to 7"),
        (f"webhook: {{url: '{HOOK}', most: 1}}", "a whole number from 2 to 3600"),
        (f"webhook: {{url: '{HOOK}', priorities: urgent}}", "critical"),
        ("slack: ", "has no value"),
        ("slack: []\n", ""),
    ],
)
def test_what_makes_no_sense(text, says):
    """Each is an error that says what to write; an empty list is none at all."""
    if says:
        assert says in problems(text)
    else:
        assert alerts(text).logging.alerts == ()


def test_nothing_is_that_severe():
    """VC5's default level, 0, would never tell anything."""
    (warning,) = alerts(f"alert: 0, webhook: {HOOK}").warnings

    assert "nothing will be told" in warning.says
