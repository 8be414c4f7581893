"""What runs on a lab's backends for the tests of checks: nginx with TLS, NSD, a UDP echo, and servers that behave badly.

`python servers.py echo PORT ADDRESS...`: answers datagrams with "echo " and what they said.
`python servers.py bad PORT ADDRESS...`: from PORT on, one port for each way to be bad: hangs, drips, garbage, endless, closes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

BAD = ("hangs", "drips", "garbage", "endless", "closes")
_TOOLS = Path(__file__).parents[2] / ".tools"


@contextmanager
def good(lab: Any, host: str, vips: Sequence[str]) -> Iterator[None]:
    """HTTPS on 443, DNS on 53 (TCP and UDP) and a UDP echo on 9100, all on the VIPs of one host, until the block ends."""
    home = lab.directory / "checks" / host
    home.mkdir(parents=True, exist_ok=True)
    (home / "nginx.conf").write_text(_nginx(host, home))
    (home / "nsd.conf").write_text(_nsd(home, vips))
    (home / "zone").write_text("$TTL 60\n@ SOA ns.example.org. root.example.org. 1 60 60 60 60\n@ NS ns\nns A 192.0.2.1\n")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=www.example.org".split()
    subprocess.run(["openssl", *words, "-keyout", home / "key", "-out", home / "crt"], check=True, capture_output=True)
    commands = (
        (_TOOLS / "nginx/usr/sbin/nginx", "-e", "stderr", "-p", home, "-c", home / "nginx.conf"),
        (_TOOLS / "nsd/usr/sbin/nsd", "-d", "-c", home / "nsd.conf"),
        (sys.executable, __file__, "echo", "9100", *vips),
    )
    with ExitStack() as stack:
        for number, command in enumerate(commands):
            stack.enter_context(_process(lab, host, home / f"log{number}", *map(str, command)))
        yield


@contextmanager
def bad(lab: Any, host: str, port: int, vips: Sequence[str]) -> Iterator[None]:
    """Servers of every kind in BAD, one port each."""
    with _process(lab, host, lab.directory / "bad.log", sys.executable, __file__, "bad", str(port), *vips):
        yield


@contextmanager
def _process(lab: Any, host: str, log: Path, *command: str) -> Iterator[None]:
    with log.open("wb") as to:
        started = subprocess.Popen(lab.argv(host, *command), stdout=to, stderr=to, start_new_session=True)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait(10)


def _nginx(host: str, home: Path) -> str:
    temporary = " ".join(f"{kind}_temp_path tmp-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""\
daemon off; master_process off; pid {home}/nginx.pid; error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
	{temporary}
	access_log off;
	server {{
		listen 443 ssl; listen [::]:443 ssl ipv6only=on;
		ssl_certificate {home}/crt; ssl_certificate_key {home}/key;
		location / {{ return 200 "{host} speaks $ssl_protocol for $ssl_server_name, told $http_x_check\\n"; }}
	}}
}}
"""


def _nsd(home: Path, vips: Sequence[str]) -> str:
    addresses = "".join(f"\tip-address: {vip}@53\n" for vip in vips)
    return f"""\
server:
	server-count: 1
	username: ""
	chroot: ""
	zonesdir: "{home}"
	database: ""
	zonelistfile: "{home}/zones"
	xfrdfile: "{home}/xfrd"
	xfrdir: "{home}"
	pidfile: "{home}/nsd.pid"
{addresses}
remote-control:
	control-enable: no
zone:
	name: example.org
	zonefile: zone
"""


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(b"echo " + data, addr)


async def _echo(port: int, addresses: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    for address in addresses:
        await loop.create_datagram_endpoint(_Echo, (address, port))
    await asyncio.Event().wait()


async def _behave(how: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        if how == "closes":
            writer.close()
            return
        await reader.read(1000)
        if how == "drips":
            writer.write(b"HTTP/1.1 200 OK\r\n")
        if how == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while how != "hangs":
            writer.write({"drips": b"X", "garbage": os.urandom(1000), "endless": b"x" * 10000}[how])
            await writer.drain()
            await asyncio.sleep(0.02)
        await reader.read(1)
    writer.transport.abort()


async def _bad(port: int, addresses: Sequence[str]) -> None:
    def serving(how: str) -> Any:
        return lambda reader, writer: _behave(how, reader, writer)

    for number, how in enumerate(BAD):
        await asyncio.start_server(serving(how), list(addresses), port + number)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run({"echo": _echo, "bad": _bad}[sys.argv[1]](int(sys.argv[2]), sys.argv[3:]))
