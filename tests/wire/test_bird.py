"""Interop: the real speaker over real TCP with BIRD, and what BIRD has to say about it."""

from __future__ import annotations

import re
import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from fairlead.model import PeerConfig, Route
from tests.wire.conftest import eventually

pytestmark = pytest.mark.root

V4, V6 = "192.0.2.10/32", "2001:db8::10/128"
OURS, ROUTER = 4200000001, 4200000002


def peer(**changes) -> PeerConfig:
    usual = {"address": IPv4Address("10.99.0.2"), "as_number": OURS, "next_hop_6": IPv6Address("fd99::1")}
    return PeerConfig(**(usual | changes))


def route(prefix: str) -> Route:
    return Route(ip_network(prefix))


def test_routes_of_both_families_reach_bird(bird, speaker):
    """BIRD has the /32 and the /128 with the four-octet AS path, MED, communities and next hops; a withdrawal takes them away."""
    bird.start()
    speaker.configure(peer(med=50, communities=((64512, 1), (65535, 0))))
    speaker.announce(route(V4), route(V6))
    eventually(lambda: len(bird.routes()) == 2, what="two routes in BIRD")

    usual = {"origin": "IGP", "as_path": "4200000001", "med": "50", "community": "(64512,1) (65535,0)", "local_pref": "100"}
    assert bird.routes() == {V4: usual | {"next_hop": "10.99.0.1"}, V6: usual | {"next_hop": "fd99::1"}}
    status = speaker.status()
    assert (status.state, status.remote_as, status.routes, status.withheld) == ("Established", ROUTER, (V4, V6), ())

    speaker.announce(route(V6))
    eventually(lambda: list(bird.routes()) == [V6], what="the withdrawal of IPv4")
    speaker.announce()
    eventually(lambda: bird.routes() == {}, what="the withdrawal of IPv6")
    assert speaker.downs() == []


def test_internal_session(bird, speaker):
    """Inside one AS BIRD sees an empty path and our local preference, 100 unless configured."""
    bird.start(our_as=OURS)
    speaker.configure(peer())
    speaker.announce(route(V4))
    eventually(bird.routes, what="the route")
    assert (bird.routes()[V4]["as_path"], bird.routes()[V4]["local_pref"]) == ("", "100")

    speaker.configure(peer(local_pref=250))
    eventually(lambda: bird.routes()[V4]["local_pref"] == "250", what="the new local preference")
    assert speaker.ups() == 1


def test_session_over_ipv6(bird, speaker):
    """Over IPv6 the next hop of IPv6 routes is our end of the session, that of IPv4 routes the router id."""
    bird.start(transport=6)
    speaker.configure(peer(address=ip_address("fd99::2"), next_hop_6=None))
    speaker.announce(route(V4), route(V6))
    eventually(lambda: len(bird.routes()) == 2, what="two routes in BIRD")

    assert (bird.routes()[V4]["next_hop"], bird.routes()[V6]["next_hop"]) == ("10.99.0.1", "fd99::1")


def test_filter_and_attributes_change_without_a_reset(bird, speaker):
    """A changed filter withdraws or announces, a changed MED or community re-announces, and the session stays up throughout."""
    bird.start()
    speaker.configure(peer())
    speaker.announce(route(V4), route(V6))
    eventually(lambda: len(bird.routes()) == 2, what="two routes in BIRD")

    speaker.configure(peer(reject=(ip_network("192.0.2.0/24"),)))
    eventually(lambda: list(bird.routes()) == [V6], what="the withdrawal of what is rejected")
    assert speaker.status().withheld == (f"{V4}: rejected by the filter of this peer",)

    speaker.configure(peer(accept=(ip_network(V4),), reject=(ip_network("0.0.0.0/0"),), med=7, communities=((65535, 0),)))
    eventually(lambda: bird.routes().get(V4, {}).get("med") == "7", what="the accepted route with its MED")
    assert bird.routes()[V6]["community"] == "(65535,0)"
    assert (speaker.ups(), speaker.downs()) == (1, [])


def test_bird_asks_for_the_routes_again(bird, speaker):
    """`reload in` on BIRD sends a ROUTE-REFRESH, and every route comes once more."""
    bird.start()
    speaker.configure(peer())
    speaker.announce(route(V4), route(V6))
    eventually(lambda: bird.imports() == 2, what="two updates")
    bird.ask("reload", "in", "fairlead")

    eventually(lambda: bird.imports() == 4, what="two more updates")
    assert speaker.downs() == []


def test_stop_withdraws_and_says_why(bird, speaker):
    """Closing tells BIRD why, in words, and takes no longer than it must."""
    bird.start()
    speaker.configure(peer())
    speaker.announce(route(V4))
    eventually(bird.routes, what="the route")

    assert speaker.close("moving racks") < 2.0
    eventually(lambda: 'Received: Administrative shutdown: "moving racks"' in bird.log(), what="the reason in BIRD's log")
    assert bird.routes() == {}


def test_stop_does_not_wait_for_a_dead_router(bird, speaker):
    """A router that answers nothing delays the end by two seconds at most (and what a busy machine adds)."""
    bird.start()
    speaker.configure(peer())
    eventually(speaker.established, what="the session")
    bird.freeze()

    assert speaker.close("maintenance") < 8.0


def test_removed_peer_is_told_so(bird, speaker):
    """A peer that leaves the configuration hears Cease/Peer De-configured, and status forgets it."""
    bird.start()
    speaker.configure(peer())
    eventually(speaker.established, what="the session")
    speaker.configure()

    eventually(lambda: "Received: Peer de-configured" in bird.log(), what="the reason in BIRD's log")
    assert speaker.do(lambda s: s.status()) == ()


def test_router_that_restarts(bird, speaker):
    """When BIRD dies and comes back, so do the session and the routes."""
    bird.start()
    speaker.configure(peer())
    speaker.announce(route(V4), route(V6))
    eventually(lambda: len(bird.routes()) == 2, what="two routes in BIRD")
    bird.stop()
    eventually(speaker.downs, what="the end of the session")
    assert speaker.status().routes == ()

    bird.restart()
    eventually(lambda: len(bird.routes()) == 2, what="two routes in the new BIRD")
    assert speaker.ups() == 2


def test_router_that_is_not_there_yet(bird, speaker):
    """A refused dial is named and repeated until the router listens."""
    speaker.configure(peer())
    speaker.announce(route(V4))
    eventually(lambda: speaker.status().last_error == "connection refused", what="the refused dial")
    assert speaker.status().state in {"Active", "Connect"}

    bird.start()
    eventually(bird.routes, what="the route")
    assert speaker.downs() == ["connection refused"]


def test_router_that_falls_silent(bird, speaker):
    """A frozen BIRD is given up when the hold time is over, and taken back when it thaws."""
    bird.start()
    speaker.configure(peer(hold_time=3))
    speaker.announce(route(V4))
    eventually(bird.routes, what="the route")
    bird.freeze()
    eventually(lambda: speaker.downs() == ["nothing was heard for 3 s: hold timer expired"], 8, "the expiry")

    bird.thaw()
    eventually(lambda: speaker.established() and bird.routes(), 30, "the session after the thaw")


def test_session_outlives_its_hold_time(bird, speaker):
    """KEEPALIVEs go out in time: with a hold time of 3 seconds BIRD keeps the session for two of them and more."""
    bird.start(session="keepalive time 1;")
    speaker.configure(peer(hold_time=3))
    eventually(speaker.established, what="the session")
    since = speaker.status().since
    told = re.compile(r"Hold timer:\s+([\d.]+)/3")
    eventually(lambda: told.search(bird.ask("show", "protocols", "all", "fairlead")), what="the negotiated hold time")

    eventually(lambda: time.time() - since > 7, 10, "seven seconds")
    assert (speaker.status().since, speaker.downs()) == (since, [])


def test_old_router(bird, speaker):
    """A BIRD that does not speak four-octet AS numbers takes AS_TRANS, and puts the path together with our AS4_PATH."""
    bird.start(our_as=64500, remote="external", session="enable as4 off;")
    speaker.configure(peer())
    speaker.announce(route(V4))
    eventually(bird.routes, what="the route")

    local, neighbor = bird.ask("show", "protocols", "all", "fairlead").split("Neighbor capabilities")
    assert ("4-octet AS numbers" in local, "4-octet AS numbers" in neighbor) == (False, True)
    assert bird.routes()[V4]["as_path"] == "4200000001"


def test_router_that_expects_another_as(bird, speaker):
    """If BIRD does not know our AS number, status says so in BIRD's words."""
    bird.start(remote="as 64999")
    speaker.configure(peer())

    eventually(lambda: speaker.status().last_error == "received OPEN Message Error/Bad Peer AS", what="the reason")


def test_changed_hold_time_makes_a_new_session(bird, speaker):
    """What an OPEN says takes effect by a new session, and BIRD is told why the old one ended."""
    bird.start()
    speaker.configure(peer())
    eventually(speaker.established, what="the session")
    speaker.configure(peer(hold_time=60))

    eventually(lambda: speaker.ups() == 2, what="the new session")
    assert "Received: Other configuration change" in bird.log()
    assert re.search(r"Hold timer:\s+[\d.]+/60", bird.ask("show", "protocols", "all", "fairlead"))


def test_source_address(net, bird, speaker):
    """The session comes from the configured source; one that is not ours is named, not crashed on."""
    bird.start(session="")
    speaker.configure(peer(source=IPv4Address("10.99.0.1")))
    eventually(speaker.established, what="the session")

    speaker.configure(peer(source=IPv4Address("10.99.0.77")))
    eventually(lambda: "cannot assign requested address" in speaker.status().last_error, what="the reason")


def test_router_with_a_table_of_its_own(bird, speaker):
    """2,000 routes from BIRD are heard and forgotten; ours get through all the same."""
    table = "\n".join(f"  route 10.{i >> 8}.{i & 255}.0/24 unreachable;" for i in range(2000))
    bird.start(export="where source = RTS_STATIC", extra=f"protocol static {{ ipv4;\n{table}\n}}")
    speaker.configure(peer())
    speaker.announce(route(V4))
    eventually(bird.routes, what="our route")

    eventually(lambda: "2000 exported" in bird.ask("show", "protocols", "all", "fairlead"), what="2,000 exported routes")
    assert (speaker.established(), speaker.downs()) == (True, [])


def test_many_routes(bird, speaker):
    """10,000 routes of both families arrive, take a new community and go, all in full messages that BIRD accepts."""
    prefixes = [f"198.18.{i >> 8}.{i & 255}/32" for i in range(5000)] + [f"2001:db8:1::{i:x}/128" for i in range(5000)]
    bird.start()
    speaker.configure(peer())
    speaker.announce(*map(route, prefixes))
    eventually(lambda: bird.imports() == 10000, 30, "10,000 routes")

    speaker.configure(peer(communities=((64512, 5),)))
    eventually(lambda: bird.imports() == 20000, 30, "10,000 routes once more")
    speaker.announce()
    eventually(lambda: bird.routes() == {}, 30, "their withdrawal")
    assert speaker.downs() == []
