"""`fairlead explain`: what the running data plane would do with a packet, or with each frame of a capture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairlead.cli import options

if TYPE_CHECKING:
    from fairlead.cli.showing import How, Shown

_AT_ONCE = 200  # frames in one question: of 3.5 kB at most, in hex


@click.command(cls=options.Reading)
@click.argument("source", required=False)
@click.argument("destination", required=False, metavar="[VIP:PORT/PROTOCOL]", shell_complete=options.known("services"))
@click.option("--flags", metavar="FLAGS", help="Of TCP, as in ack or ack+psh; syn if nobody says otherwise.")
@click.option("--size", type=click.IntRange(1, 65535), metavar="BYTES", help="Of the IP packet; the least if nobody says.")
@click.option("--vlan", type=click.IntRange(0, 4094), metavar="ID", help="The tag that the frame arrives with.")
@click.option("--interface", metavar="NAME", help="Where it arrives; the first that forwards if nobody says.")
@click.option("--pcap", type=click.Path(), metavar="FILE", help="Each frame of a capture, pcap or pcapng, instead.")
@options.reading
def explain(source: str | None, destination: str | None, socket: str, pcap: str | None, **given: Any) -> None:
    """Say what the running data plane would do with a packet, and why.

    As in `fairlead explain 198.51.100.7:40000 192.0.2.10:443/tcp`; 192.0.2.10/icmp is a ping. The data plane's own programs
    compute it on the live tables, with all that writes taken out: nothing changes, and nothing is counted. Of a capture each
    frame is told as if it were the next to arrive.
    """
    from fairlead.cli import showing

    how = showing.How(**{name: given.pop(name) for name in ("as_json", "watch", "color")})
    interface = given.pop("interface")
    if pcap is not None:
        if source or any(value is not None for value in given.values()):
            raise click.UsageError("a capture says itself what its packets are: leave out the rest")
        sys.exit(_capture(socket, pcap, interface, how))
    if not (source and destination):
        raise click.UsageError("name source and VIP, as in 198.51.100.7:40000 192.0.2.10:443/tcp, or a capture: --pcap FILE")
    sys.exit(_packet(socket, {"source": source, "destination": destination, "interface": interface} | given, how))


def _packet(socket: str, given: dict[str, Any], how: How) -> int:
    from urllib.parse import urlencode

    from fairlead import render
    from fairlead.cli.online import decode, get
    from fairlead.cli.showing import Shown, show
    from fairlead.model.explaining import Explanation

    words = urlencode({name: value for name, value in given.items() if value is not None})

    def look() -> Shown:
        found = get(socket, f"/v1/explain?{words}")
        return Shown(render.explanation(decode(Explanation, found)), found)

    return show(look, how)


def _capture(socket: str, path: str, interface: str | None, how: How) -> int:
    from fairlead.cli.captures import BadCapture, frames
    from fairlead.cli.online import complain
    from fairlead.cli.showing import show

    try:
        found = list(frames(Path(path).read_bytes()))
    except OSError as e:
        return complain(f"cannot read {path}: {e.strerror}")
    except BadCapture as e:
        return complain(f"{path}: {e}")
    if not found:
        return complain(f"{path} holds no frame")
    return show(lambda: _explained(socket, found, interface), how)


def _explained(socket: str, frames: list[bytes], interface: str | None) -> Shown:
    """All frames, in questions of a bounded size."""
    import json
    from urllib.parse import urlencode

    from fairlead import render
    from fairlead.cli.online import Denied, ask, decode
    from fairlead.cli.showing import Shown
    from fairlead.model.explaining import Explanation

    told: list[Any] = []
    words = urlencode({"interface": interface} if interface else {})
    for at in range(0, len(frames), _AT_ONCE):
        body = json.dumps({"frames": [frame.hex() for frame in frames[at : at + _AT_ONCE]]}).encode()
        code, answer = ask(socket, "POST", f"/v1/explain?{words}", body)
        found = json.loads(answer)
        if code != 200:  # as everywhere in HTTP
            raise Denied(f"frames {at + 1} to {min(at + _AT_ONCE, len(frames))}: {found.get('error', found)}")
        told += found
    return Shown(render.explanations([decode(Explanation, each) for each in told]), told)
