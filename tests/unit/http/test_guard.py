"""Who is let in over TCP: Host, Origin, the token, in that order; judged by octets that were really sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fairlead.adapters.http.access import Access, read_access
from fairlead.adapters.http.guard import judge
from fairlead.errors import Refused
from fairlead.model import Api
from tests.unit.http.tcp import BEARER, TOKEN, tcp

OPEN = Access(public_read=True, hosts=frozenset(["fairlead.example"]))


def code(access: Access = OPEN, method: str = "GET", **headers: str) -> int:
    """What a request with these headers is refused with, 0 for nothing."""
    said = {"host": ["localhost"]} | {name.replace("_", "-"): [value] for name, value in headers.items()}
    found = judge(access, method, said, public=False)
    return found.code if found else 0


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 0),
        ("localhost:8080", 0),
        ("LOCALHOST.", 0),
        ("127.0.0.1:8080", 0),
        ("[2001:db8::1]:8080", 0),
        ("fairlead.example", 0),
        ("Fairlead.Example.:443", 0),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 400),
        ("a b", 400),
        ("localhost:8080:1", 400),
        ("user@localhost", 400),
        ("[::1", 400),
    ],
)
def test_host(host: str, expected: int) -> None:
    """A name that is not ours is a page that somebody had lead here: only addresses, localhost and what `hosts` lists pass."""
    assert code(host=host) == expected


def test_host_is_one() -> None:
    """Two Host headers, or none, are no request (RFC 9112 section 3.2)."""
    assert [judge(OPEN, "GET", said, public=True).code for said in ({}, {"host": ["localhost", "x"]})] == [400, 400]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("http://localhost:8080", "localhost:8080", 0),
        ("https://fairlead.example", "fairlead.example", 0),
        ("http://localhost:3000", "localhost:8080", 403),
        ("https://evil.example", "localhost", 403),
        ("null", "localhost", 403),
        ("file://localhost", "localhost", 403),
        ("http://localhost.evil.example", "localhost", 403),
        ("", "localhost", 403),
        ("http://[", "localhost", 403),
    ],
)
def test_origin(origin: str, host: str, expected: int) -> None:
    """Another site's page is refused, whatever it asks for, with the right token even."""
    assert code(origin=origin, host=host) == expected
    assert code(origin=origin, host=host, method="POST") in {expected, 401}


def test_fetch_metadata() -> None:
    """What a browser says of where a request comes from (Fetch Metadata): another site's images and scripts get nothing."""
    assert code(sec_fetch_site="cross-site", sec_fetch_mode="no-cors") == 403
    assert code(sec_fetch_site="same-site", sec_fetch_mode="cors") == 403
    assert code(sec_fetch_site="same-origin", sec_fetch_mode="cors") == 0
    assert code(sec_fetch_site="none", sec_fetch_mode="navigate") == 0
    assert code(sec_fetch_site="cross-site", sec_fetch_mode="navigate") == 0, "a link that somebody follows"
    assert code(sec_fetch_site="cross-site", sec_fetch_mode="navigate", method="POST") == 403, "a form is none"


@pytest.mark.parametrize("public_read", [True, False])
async def test_the_token(tmp_path: Path, public_read: bool) -> None:
    """Every change needs the token, reading too unless `public-read` says otherwise; wrong ones are told of, never shown."""
    async with tcp(tmp_path, public_read=public_read) as served:
        reading = 200 if public_read else 401
        wrong = {"Authorization": f"Bearer {TOKEN}x"}
        assert (await served.ask("/v1/status")).code == reading
        assert (await served.ask("/v1/status", "HEAD")).code == reading
        assert (await served.ask("/v1/status", headers=BEARER)).code == 200
        assert (await served.ask("/v1/status", headers={"authorization": f"bearer  {TOKEN}"})).code == 200
        assert (await served.ask("/v1/status", headers=wrong)).code == 401, "a wrong token is no reader either"
        assert (await served.ask("/v1/touch", "POST", headers=BEARER)).code == 200
        for headers in ({}, wrong, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": TOKEN}, {"Authorization": "Bearer"}):
            answer = await served.ask("/v1/touch", "POST", headers=headers)
            assert answer.code == 401
            assert answer.headers["www-authenticate"].startswith('Bearer realm="fairlead"')
            assert answer.headers["connection"] == "close"
        assert len(served.asked) == 1
        assert served.asked[0].who == "a token from 127.0.0.1"
        assert {who for who, _ in served.refused} == {"127.0.0.1"}
        assert TOKEN not in str(served.refused)


async def test_without_a_token_file(tmp_path: Path) -> None:
    """Nothing can be changed then, whatever token is brought; reading needs `public-read`."""
    async with tcp(tmp_path, token_file=None) as served:
        assert (await served.ask("/v1/status")).code == 401
        answer = await served.ask("/v1/touch", "POST")
        assert (answer.code, answer.json["error"]) == (
            401,
            "nothing can be changed over TCP: the configuration has no token-file",
        )
        assert (await served.ask("/v1/touch", "POST", headers=BEARER)).code == 401
        assert (await served.ask("/healthz")).body == b"ok\n", "that tells nothing, and needs nothing"


async def test_a_token_does_not_help_a_foreign_page(tmp_path: Path) -> None:
    """Host and Origin are looked at first."""
    async with tcp(tmp_path) as served:
        assert (await served.ask("/v1/status", headers={**BEARER, "Host": "evil.example"})).code == 403
        assert (await served.ask("/v1/touch", "POST", headers={**BEARER, "Origin": "https://evil.example"})).code == 403
        assert (await served.ask("/healthz", headers={"Host": "evil.example"})).code == 403
        assert not served.asked


async def test_the_unix_socket_asks_for_nothing(tmp_path: Path) -> None:
    """Its permissions decide; who asks is the user of the process."""
    async with tcp(tmp_path) as served:
        reader, writer = await asyncio.open_unix_connection(str(served.path))
        writer.write(b"POST /v1/touch HTTP/1.0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert "token" not in served.asked[0].who


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no token"),
        ("# nothing\n\n", "holds no token"),
        ("short\n", ":1: a token is 16 to 512 printable ASCII characters"),
        ("# one\n" + "x" * 16 + "\nwith a blank in the middle\n", ":3: a token is"),
        ("x" * 513, ":1: a token is"),
        ("é" * 20, ":1: a token is"),
        ("x\n" * 40000, "larger than 64 KiB"),
    ],
)
def test_bad_token_files(tmp_path: Path, text: str, says: str) -> None:
    """A file that would protect nothing is refused, with the way to a good one."""
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(Refused) as refused:
        read_access(Api(token_file=str(file)))
    assert says in str(refused.value)
    assert "xxxxxxxx" not in str(refused.value)


def test_several_tokens(tmp_path: Path) -> None:
    """Each line is one: clients change over one by one."""
    file = tmp_path / "token"
    file.write_bytes(b"# old\r\n" + b"a" * 16 + b"\r\n\n" + b"b" * 512)
    found = read_access(Api(token_file=str(file)))
    assert [found.knows(token) for token in (b"a" * 16, b"b" * 512, b"# old", b"", b"a" * 17)] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_every_reason_at_once(tmp_path: Path) -> None:
    """Token and certificate are both looked at."""
    with pytest.raises(Refused) as refused:
        read_access(Api(token_file=str(tmp_path / "no"), certificate=str(tmp_path / "nix"), key=str(tmp_path / "nada")))
    assert len(refused.value.reasons) == 2
