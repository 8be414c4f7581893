"""Where the API is served and who may ask there, as the file says it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from fairlead.config import expand, parse
from fairlead.model import Api, Config

HERE = (ip_address("127.0.0.1"), 8080)


def read(text: str) -> Config:
    return parse(f"services: []\n{text}", "x")


def says(config: Config) -> str:
    return "\n".join(map(str, config.warnings))


def test_the_default_is_this_machine_alone():
    """Nothing said is loopback, port 8080, and nothing can be asked there without a token."""
    assert read("").api == Api((HERE,), None, public_read=False)
    assert expand(read("")).count("listen") == 0


@pytest.mark.parametrize(
    ("listen", "found"),
    [
        ("none", ()),
        ("[]", ()),
        ("127.0.0.1:80", (("127.0.0.1", 80),)),
        ("'[::]:8080'", (("::", 8080),)),
        ("[0.0.0.0:8080, '[::]:8080']", (("0.0.0.0", 8080), ("::", 8080))),
    ],
)
def test_listen(listen, found):
    """One endpoint, several, or none."""
    assert read(f"listen: {listen}").api.listen == tuple((ip_address(address), port) for address, port in found)


def test_it_survives_its_normal_form():
    """What `check --expand` prints means the same."""
    config = read(
        "listen: ['[2001:db8::1]:443', 192.0.2.1:443]\ntoken-file: /etc/t\npublic-read: true\n"
        "tls: {certificate: /etc/c.pem, key: /etc/k.pem}\nhosts: Fairlead.Example."
    )
    assert parse(expand(config), "x").api == config.api
    assert config.api.hosts == ("fairlead.example",)
    assert parse(expand(read("listen: none")), "x").api.listen == ()


def test_a_token_in_the_clear_is_warned_of():
    """A token that crosses the network without TLS can be read there; on loopback it cannot."""
    clear = "sends the token in the clear"
    assert clear in says(read("listen: 0.0.0.0:8080\ntoken-file: /etc/t"))
    assert clear not in says(read("listen: 127.0.0.1:8080\ntoken-file: /etc/t"))
    assert clear not in says(read("listen: 0.0.0.0:80\ntoken-file: /t\ntls: {certificate: /c, key: /k}"))


def test_what_vc5_wrote_is_no_error():
    """VC5's `listen: true` had no effect: it is warned of, and the default holds."""
    config = read("listen: true")
    assert config.api == Api()
    assert "`listen: true` has no effect" in says(config)
