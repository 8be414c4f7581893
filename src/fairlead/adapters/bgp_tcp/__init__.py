"""BGP over TCP: sockets, the clock and chance for `fairlead.bgp`, and nothing else.

`speaker` knows all neighbours and who of them may dial us, `peer` one session with its links and its timer, `link` one TCP
connection, `sockets` what the kernel must be told about it.
"""

from __future__ import annotations

from fairlead.adapters.bgp_tcp.speaker import Speaker

__all__ = ["Speaker"]
