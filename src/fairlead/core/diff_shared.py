"""The way to what no single service owns: settings, interfaces, VIPs and their bitmap, and the end of quarantine."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.core.diff import add_row, publish, unpoint
from fairlead.core.flow_time import described, timeouts
from fairlead.core.hashes import unmapped, vip_bit
from fairlead.core.ids import Item, Kind
from fairlead.core.rows import RowKey, is_vip, named, parsed
from fairlead.core.steps import Chain, Refusal
from fairlead.core.tables import Have
from fairlead.core.wants import WantVips
from fairlead.model import Address, Link, Op, Publish, Store, Timeouts


def diff_settings(have: Have, wanted: Timeouts) -> Chain:
    """The timeouts of flow entries; refused where the scales that the tables were made with cannot express them."""
    chain = Chain("settings")
    at, text = have.rows.timeouts_at, f"set flow timeouts: {described(wanted)}"
    try:
        ticks = timeouts(have.rows.constants, have.geometry, wanted)
    except ValueError as error:
        chain.refusals.append(Refusal(text, str(error)))
        return chain
    if have.images["settings"][at : at + 8] != ticks:
        chain.add(text, Publish("settings", at, int.from_bytes(ticks, "little")))
    return chain


def diff_interfaces(have: Have, links: Iterable[Link]) -> Chain:
    """One row for each interface that packets may arrive on; an interface without a MAC (lo has six zero bytes) is one too."""
    chain = Chain("interfaces")
    wanted = {link.ifindex: link for link in links}
    for at, row in sorted(have.interfaces.items()):
        if row.ifindex not in wanted:
            chain.add(f"remove interface {row.ifindex}", publish(have, "interfaces", at, 0))
    for link in wanted.values():
        _interface(have, chain, link)
    return chain


def _interface(have: Have, chain: Chain, link: Link) -> None:
    at = link.ifindex % have.rows.constants["INTERFACE_ROWS"]
    there = have.interfaces.get(at)
    live = have.rows.interface_live(link.mac, link.active)
    text = f"interface {link.name} with {link.mac.hex(':')}{'' if link.active else ', not active'}"
    if there is not None and (there.ifindex, there.bond) == (link.ifindex, link.bond):
        if there.live != live:
            chain.add(f"set {text}", publish(have, "interfaces", at, live))
        return
    if there is not None and there.ifindex == link.ifindex:
        chain.add(f"remove interface {link.name}: its bond is another", publish(have, "interfaces", at, 0))
    if there is not None or have.holdings.quarantined(Item(Kind.INTERFACE, at)):
        chain.postponed = True  # the row of another interface: it goes first, or has just gone
        return
    payload = have.rows.interface(link.ifindex, link.bond)
    chain.add(f"add {text}", Store("interfaces", at * len(payload), payload), publish(have, "interfaces", at, live))


def vip_rows(have: Have) -> dict[RowKey, int]:
    """The VIP rows that are there, by key."""
    return {key: at for key, at in have.places.items() if is_vip(key)}


def removed_services(have: Have, wanted: Iterable[RowKey]) -> list[RowKey]:
    """Keys of rows and destinations of services that nobody wants, in a stable order.

    No destination belongs to a VIP's own row; one that says so was written by somebody else, and goes.
    """
    there = {key for key in have.places if not is_vip(key)} | have.owned.keys()
    return sorted(there.difference(wanted))


def add_vip(have: Have, want: WantVips, vip: Address) -> Chain:
    """The VIP's own row, and then the bit that lets its packets in."""
    key = want.rows[vip]
    chain = Chain(("vip", vip))
    then, live, row = _bit(have, want.bitmap, vip_bit(vip), 1), want.lives[vip], have.service(key)
    if row is None:
        add_row(have, chain, f"add VIP {vip}", key, 0, live, *then)
        return chain
    if row.live != live and key not in have.strays:
        says = "answered" if live == have.rows.vip_live(True) else "dropped"
        chain.add(f"set VIP {vip}: unknown ports are {says}", publish(have, "services", have.places[key], live))
    if then:
        chain.add(f"add VIP {vip}", *then)
    return chain


def remove_vip(have: Have, want: WantVips, key: RowKey) -> Chain:
    """No packet comes in any more, then the row goes."""
    vip = unmapped(key[:16])
    chain = Chain(("vip", vip))
    then = _bit(have, want.bitmap, vip_bit(vip), 0)
    chain.add(f"remove VIP {vip}", *then, *unpoint(have, key))
    return chain


def _bit(have: Have, wanted: bytes, bit: int, value: int) -> tuple[Publish, ...]:
    """The word that brings one bit to what it should be; nothing if it is so, or if another VIP needs the bit."""
    if wanted[bit >> 3] >> (bit & 7) & 1 != value:
        return ()
    at = bit >> 6 << 3
    word = int.from_bytes(have.images["vips"][at : at + 8], "little")
    new = word | 1 << (bit & 63) if value else word & ~(1 << (bit & 63))
    return (Publish("vips", at, new),) if new != word else ()


def clear_bits(have: Have, want: WantVips) -> Chain:
    """Bits of the bitmap that belong to no VIP: each costs a look-up, and no more."""
    chain = Chain("bitmap")
    image = have.images["vips"]
    if image == want.bitmap:
        return chain
    for at in range(0, len(image), 8):
        word, mask = (int.from_bytes(b[at : at + 8], "little") for b in (image, want.bitmap))
        if word & ~mask:
            chain.add(f"clear {(word & ~mask).bit_count()} stale VIP bits", Publish("vips", at, word & mask))
    return chain


def free_op(have: Have, item: Item) -> Op | None:
    """What must be written when the quarantine of `item` is over, None for nothing."""
    if item.kind is Kind.DESTINATION and item.number in have.destinations:
        row = have.destinations[item.number]
        text = f"free destination {item.number}: {unmapped(row.backend)} for {named(row.key)}"
        return Op(text, (publish(have, "destinations", item.number, 0),), parsed(row.key))
    if (
        item.kind is Kind.COPY
        and item.number in have.services
        and item.number in have.strays.get(have.services[item.number].key, ())
    ):
        key = have.services[item.number].key
        return Op(
            f"remove the copy of {named(key)} in row {item.number}", (publish(have, "services", item.number, 0),), parsed(key)
        )
    if item.kind is Kind.NEXT_HOP and item.number in have.hop_rows:
        width = have.rows.size["nexthops"]
        return Op(f"free next hop {item.number}", (Store("nexthops", item.number * width, bytes(width)),))
    return None
