"""Which daemon a host runs, with which files. Pure: paths go in, texts come out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from fairlead.lab import frr, gobgp
from fairlead.lab.topology import Host, Role, Software, Topology


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the programs are that hosts run."""

    bird: str
    birdc: str
    nginx: str
    fairlead: str
    frr: str = ""  # the directory of its daemons
    gobgpd: str = ""
    gobgp: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A daemon in the foreground: its command, the files it wants (name under the host's directory -> text), its environment."""

    argv: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


def service(topology: Topology, host: Host, home: PurePosixPath, programs: Programs, env: Mapping[str, str]) -> Service | None:
    """The service of a host whose directory is `home`; None for those that run nothing. `env` is for a balancer's daemon."""
    match host.role:
        case Role.ROUTER if topology.peering.software is Software.FRR:
            return Service(("/bin/sh", f"{home}/bin/frr-start"), frr.files(topology, host, home, programs.frr))
        case Role.ROUTER if topology.peering.software is Software.GOBGP:
            files = gobgp.files(topology, host, home, programs.gobgpd, programs.gobgp)
            return Service(("/bin/sh", f"{home}/bin/gobgp-start"), files)
        case Role.ROUTER:
            return _bird(topology, host, home, programs)
        case Role.BACKEND:
            return _nginx(host, home, programs)
        case Role.BALANCER:
            text = balancer_config(topology, host, topology.config)
            return Service((programs.fairlead, "run", f"{home}/fairlead.yaml"), {"fairlead.yaml": text}, env)
        case _:
            return None


def balancer_config(topology: Topology, host: Host, text: str) -> str:
    """The YAML of one balancer, made from the first one's: its own addresses stand where those of the first stood."""
    first = topology.of(Role.BALANCER)[0]
    for version in (4, 6):
        if old := first.address(version):
            text = re.sub(rf"{re.escape(old)}(?![\d.:a-f])", host.address(version), text)
    return text


def _bird(topology: Topology, host: Host, home: PurePosixPath, programs: Programs) -> Service:
    socket = f"{home}/bird.ctl"
    argv = (programs.bird, "-f", "-c", f"{home}/bird.conf", "-s", socket, "-P", f"{home}/bird.pid")
    wrapper = f"#!/bin/sh\n# the lab's own BIRD, not the machine's\nexec {programs.birdc} -s {socket} \"$@\"\n"
    return Service(argv, {"bird.conf": bird_conf(topology, host), "bin/birdc": wrapper})


def bird_conf(topology: Topology, host: Host) -> str:
    """BIRD 2: it waits for the balancers, takes the VIP prefixes from them and hands all paths of a VIP to the kernel."""
    peering = topology.peering
    sessions = "".join(_session(topology, balancer) for balancer in topology.of(Role.BALANCER))
    v4 = ", ".join(f"{p}{{32,32}}" for p in peering.prefixes if ":" not in p)
    v6 = ", ".join(f"{p}{{128,128}}" for p in peering.prefixes if ":" in p)
    return f"""\
log stderr all;
router id {host.address(4)};
define VIPS4 = [ {v4} ];
define VIPS6 = [ {v6} ];
protocol device {{ scan time 1; }}
protocol kernel kernel4 {{ ipv4 {{ import none; export where source = RTS_BGP; }}; merge paths on limit 16; }}
protocol kernel kernel6 {{ ipv6 {{ import none; export where source = RTS_BGP; }}; merge paths on limit 16; }}
{sessions}"""


def _session(topology: Topology, balancer: Host) -> str:
    peering = topology.peering
    return f"""\
protocol bgp {balancer.name} {{
	local as {peering.router_as};
	neighbor {balancer.address(4)} as {peering.balancer_as};
	passive;
	connect retry time 1;
	error wait time 1, 2;
	ipv4 {{ import where net ~ VIPS4; export none; }};
	ipv6 {{ import where net ~ VIPS6; export none; }};
}}
"""


def _nginx(host: Host, home: PurePosixPath, programs: Programs) -> Service:
    argv = (programs.nginx, "-e", "stderr", "-p", str(home), "-c", f"{home}/nginx.conf")
    return Service(argv, {"nginx.conf": nginx_conf(host)})


def nginx_conf(host: Host) -> str:
    """A real web server in one process, so that killing it kills all of it; it answers with its name and whom it saw."""
    temporary = "\n\t".join(f"{kind}_temp_path tmp/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
	{temporary}
	default_type text/plain;
	access_log access.log combined buffer=32k flush=1s;
	add_header X-Backend {host.name} always;
	client_max_body_size 0;
	server {{
		listen 80 default_server backlog=4096;
		listen [::]:80 default_server ipv6only=on backlog=4096;
		root www;
		location = / {{ return 200 "{host.name} saw $remote_addr ask for $server_addr\\n"; }}
		location = /healthz {{ access_log off; return 200 "ok\\n"; }}
		location / {{ try_files $uri =404; }}
	}}
}}
"""
