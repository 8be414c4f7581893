"""Health probes: each one asks the VIP, marked so that it reaches one certain backend.

The mark (SO_MARK) holds the destination id; at tc egress the probe program writes the header of the very next hop that client
traffic gets. A probe says how it went in words for an operator; whether that makes a backend up or down is not decided here.

    scheduler   when whom; Prober
    engine      sockets and times of all that is under way
    attempt     one run of one check; by type: tcp, http, https, dns, udp, and over shared raw sockets syn, icmp
    diagnosis   a silent VIP: is the backend itself there?
"""

from fairlead.adapters.probes.scheduler import Prober, probe

__all__ = ["Prober", "probe"]
