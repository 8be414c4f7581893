"""Where the API listens besides its unix socket, and who may ask it there."""

from __future__ import annotations

import re
from ipaddress import ip_address

from fairlead.config import scalars
from fairlead.config.addresses import parse_address
from fairlead.config.nodes import Section, Value, list_of, section
from fairlead.config.report import shown
from fairlead.config.scalars import words
from fairlead.config.vocabulary import TLS
from fairlead.model import Address, Api

_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f]*:[0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")
_WANTED = "an address and a port"
_SUCH_AS = "such as 127.0.0.1:8080, 0.0.0.0:8080 or '[::1]:8080'; `none` for the unix socket alone"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")


def read_api(said: Section) -> Api:
    """The keys of the file's top that are about the API."""
    given, default = said.get("listen"), Api()
    listen = _listen(given) if given is not None else None
    certificate, key = _tls(said)
    found = Api(
        listen=default.listen if listen is None else listen,
        token_file=said.take("token-file", scalars.file_name),
        public_read=said.take("public-read", scalars.boolean) or False,
        certificate=certificate,
        key=key,
        hosts=said.take("hosts", list_of(_host, "a name or a list of names")) or (),
    )
    _advise(found, said)
    return found


def _listen(value: Value) -> tuple[tuple[Address, int], ...] | None:
    if value.scalar in ("true", "false"):
        value.warn(f"`listen: {value.scalar}` has no effect", f"VC5 ignores it; here it is where the API is served, {_SUCH_AS}")
        return None
    if value.scalar == "none":
        return ()
    found = list_of(_endpoint, f"{_WANTED}, or a list of them")(value)
    for address, port in dict.fromkeys(each for each in found or () if (found or ()).count(each) > 1):
        value.error(f"{spelled(address, port)} is listed twice")
    return found


def _endpoint(value: Value) -> tuple[Address, int] | None:
    text = words(value, _WANTED, _SUCH_AS)
    if text is None:
        return None
    match = _ENDPOINT.fullmatch(text)
    if match is None:
        value.error(f"{shown(text)} is not {_WANTED}", _meant(text))
        return None
    address, port = parse_address(value, match[1] or match[2]), int(match[3])
    if address is not None and (address.is_multicast or (address.version == 4 and address.is_reserved)):
        value.error(f"nobody can listen on {address}", _SUCH_AS)
        return None
    if not 0 < port < 65536:
        value.error(f"{match[3]} is no port: 1 to 65535")
        return None
    return None if address is None else (address, port)


def _meant(text: str) -> str:
    if re.fullmatch(r":?[0-9]{1,5}", text):
        port = text.lstrip(":")
        return f"write 127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} and '[::]:{port}' for everybody"
    try:
        found = ip_address(text)
    except ValueError:
        return _SUCH_AS
    return f"with a port: write {spelled(found, 8080)}"


def spelled(address: Address, port: int) -> str:
    """An address and a port as one word: `192.0.2.1:8080`, `[::1]:8080`."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _tls(said: Section) -> tuple[str | None, str | None]:
    given = said.get("tls")
    tls = section(given, TLS, "such as `{certificate: FILE, key: FILE}`") if given is not None else None
    if given is None or tls is None:
        return None, None
    files = [tls.take(name, scalars.file_name) for name in ("certificate", "key")]
    for name in ("certificate", "key"):
        if tls.get(name) is None:
            given.error(f"`tls` has no `{name}`", "it takes two files in PEM: the certificate, its chain behind it, and its key")
    return files[0], files[1]


def _host(value: Value) -> str | None:
    text = words(value, "a host name")
    if text is None:
        return None
    found = text.lower().removesuffix(".")
    if not _NAME.fullmatch(found) or len(found) > 253:
        value.must_be("a host name", "the name alone, as a browser's address has it: no port, no scheme, no star")
        return None
    return found


def _advise(api: Api, said: Section) -> None:
    """What is possible, and most likely not meant."""
    if api.certificate or not api.token_file:
        return
    for address, port in api.listen:
        given = said.get("listen")
        if given is not None and not address.is_loopback:
            says = f"who asks {spelled(address, port)} from elsewhere sends the token in the clear"
            given.warn(says, "`tls: {certificate: FILE, key: FILE}` encrypts it; or listen on 127.0.0.1 behind a proxy that does")
            return
