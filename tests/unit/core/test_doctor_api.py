"""Whether the API can be served: ports that others have, files that cannot be used."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from fairlead.core.doctor_api import api
from fairlead.model import Api
from fairlead.model.machine import Level


@pytest.mark.parametrize(
    ("wanted", "there", "level"),
    [
        ("127.0.0.1", None, Level.OK),
        ("127.0.0.1", "127.0.0.1", Level.FAIL),
        ("127.0.0.1", "192.0.2.1", Level.OK),
        ("127.0.0.1", "0.0.0.0", Level.FAIL),
        ("0.0.0.0", "192.0.2.1", Level.FAIL),
        ("127.0.0.1", "::", Level.OK),
        ("::", "::1", Level.FAIL),
    ],
)
def test_ports(wanted: str, there: str | None, level: Level) -> None:
    """Somebody else on the port is in the way where the addresses meet."""
    taken = {8080: [ip_address(there)] if there else []}
    (found,) = api(Api(listen=((ip_address(wanted), 8080),)), taken, [], [])
    assert found.level is level
    assert (":8080" in found.mend) == (level is Level.FAIL)


def test_files() -> None:
    """What is wrong with a file keeps Fairlead from starting; that everybody may read it does not."""
    found = api(Api(listen=()), {}, ["the token file /t holds no token"], ["/k"])
    assert [each.level for each in found] == [Level.FAIL, Level.WARN]
    assert found[1].mend == "chmod o-r /k"
