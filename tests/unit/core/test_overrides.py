"""What operators say over the configuration: what wins, what stays, what is taken back."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from fairlead.core.overrides import cleared, described, enabled, named_service, overlaid, require_backend, statuses, told
from fairlead.errors import Refused
from fairlead.model import AdminState, Backend, Override, Protocol
from tests.unit.core.harness import config, key, service

A, B = ip_address("10.1.0.11"), ip_address("10.1.0.12")
SMTP = key(port=25)
DNS = key(port=53, protocol=Protocol.UDP)
CONFIG = config(service(), service(SMTP))
DRAIN, DISABLED, ACTIVE = AdminState.DRAIN, AdminState.DISABLED, AdminState.ACTIVE


def said(backend=A, name=None, state=None, weight=None, who="root", at=1795435471.0) -> Override:
    return Override(backend, name, state, weight, who, at)


def found(made, name=None, backend=A) -> Backend:
    (s,) = (s for s in made.services if s.key == (name or key()))
    return next(b for b in s.backends if b.address == backend)


def test_nothing_said_is_the_same_object():
    """Plans are cached by identity: without overrides, or with ones that concern nobody, nothing is new."""
    assert overlaid(CONFIG, ()) is CONFIG
    assert overlaid(CONFIG, [said(ip_address("10.9.9.9"), state=DRAIN)]) is CONFIG
    made = overlaid(CONFIG, [said(name=SMTP, state=DRAIN)])
    assert made.services[1] is CONFIG.services[1]  # 80 is behind 25


def test_for_all_services_and_for_one():
    """One word for all services, and another one for a single service wins there, field by field."""
    made = overlaid(CONFIG, [said(name=SMTP, weight=7), said(state=DRAIN, weight=3)])
    assert (found(made).state, found(made).weight) == (DRAIN, 3)
    assert (found(made, SMTP).state, found(made, SMTP).weight) == (DRAIN, 7)
    assert found(made, SMTP).override == said(name=SMTP, state=DRAIN, weight=7)
    made = overlaid(CONFIG, [said(name=SMTP, weight=7, who="ann"), said(state=DRAIN, at=1795435472.0)])
    assert found(made, SMTP).override == said(name=SMTP, state=DRAIN, weight=7, who="root and ann", at=1795435472.0)
    made = overlaid(CONFIG, [said(name=SMTP, state=DRAIN, who="ann"), said(state=DISABLED)])
    assert found(made, SMTP).override == said(name=SMTP, state=DRAIN, who="ann")
    assert found(made, backend=B) == found(CONFIG, backend=B)


def test_words_add_up():
    """State and weight of one backend are one entry, which the last who said something signs."""
    after = told(told((), said(state=DRAIN)), said(weight=5, who="ann", at=2.0))
    assert after == (said(state=DRAIN, weight=5, who="ann", at=2.0),)
    assert len(told(after, said(name=SMTP, weight=5))) == 2


@pytest.mark.parametrize(
    ("before", "whom", "after"),
    [
        ((said(state=DRAIN),), None, ()),
        ((said(state=DRAIN, weight=3),), None, (said(weight=3),)),
        ((said(state=DRAIN), said(name=SMTP, state=DISABLED)), None, ()),
        ((said(name=SMTP, state=DISABLED), said(B, state=DRAIN)), SMTP, (said(B, state=DRAIN),)),
        ((said(state=DRAIN),), SMTP, (said(state=DRAIN), said(name=SMTP, state=ACTIVE))),
    ],
)
def test_enable_takes_states_back(before, whom, after):
    """The backend is active afterwards; by an override only where something beneath says otherwise."""
    assert enabled(CONFIG, before, said(name=whom, state=ACTIVE)) == after
    assert found(overlaid(CONFIG, after), whom).state is ACTIVE


def test_enable_over_the_configuration():
    """What the file disables is enabled by an override, and its weight is the file's still."""
    made = config(service(backends=(Backend(A, 4, DISABLED), "10.1.0.12")))
    after = enabled(made, (), said(state=ACTIVE))
    assert after == (said(state=ACTIVE),)
    assert (found(overlaid(made, after)).state, found(overlaid(made, after)).weight) == (ACTIVE, 4)


def test_clearing():
    """Of one backend and service, of all services of a backend, of everything."""
    all_of_it = (said(state=DRAIN), said(name=SMTP, weight=1), said(B, state=DRAIN))
    assert cleared(all_of_it, A, SMTP) == ((all_of_it[0], all_of_it[2]), (all_of_it[1],))
    assert cleared(all_of_it, A, None) == ((all_of_it[2],), all_of_it[:2])
    assert cleared(all_of_it, None, None) == ((), all_of_it)


def test_status_tells_all():
    """Every entry with its words; one whose backend the configuration has not is not effective."""
    gone = said(ip_address("10.9.9.9"), state=DISABLED)
    first, second, third = statuses(CONFIG, [said(name=SMTP, state=DRAIN, weight=2), gone, said(name=DNS, weight=1)])
    assert (first.backend, first.service, first.says, first.who, first.effective) == (
        "10.1.0.11",
        "192.0.2.10:25/tcp",
        "drain, weight 2",
        "root",
        True,
    )
    assert (second.service, second.says, second.effective) == ("", "disabled", False)
    assert not third.effective
    assert described(said(state=DRAIN)).startswith("drain by root since 2026-11-2")


def test_names_of_services():
    """A whole key, one without its protocol, or a name; ambiguity and absence are refused with what there is."""
    made = config(service(name=None), service(SMTP), service(key(port=53)), service(DNS))
    assert named_service(made, "192.0.2.10:80/tcp") == key()
    assert named_service(made, "192.0.2.10:25") == SMTP
    with pytest.raises(Refused, match="could be several services"):
        named_service(made, "192.0.2.10:53")
    with pytest.raises(Refused, match=r"no service web; there are: 192\.0\.2\.10:25/tcp"):
        named_service(made, "web")
    with pytest.raises(Refused, match=r"no backend 10\.1\.0\.99 for 192\.0\.2\.10:25/tcp; there are: 10\.1\.0\.11"):
        require_backend(made, ip_address("10.1.0.99"), SMTP)
