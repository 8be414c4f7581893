"""A scan of the flow table, put in order: by service, backend and state."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.model import Address, BackendFlows, FlowsInState, FlowTable, Layout, ServiceFlows, ServiceKey

_STATES = ("EMBRYONIC", "ESTABLISHED", "DATAGRAM", "CLOSING")
Cells = Mapping[int, tuple[int, float, float]]  # by flow state: entries, youngest and oldest in seconds


def flow_table(
    layout: Layout, owners: Mapping[int, tuple[ServiceKey, Address]], scanned: Mapping[int, Cells], rows: int, at: float
) -> FlowTable:
    """What `scanned` found for each destination id; services and backends without a flow are in it too."""
    numbers = {layout.constants[f"FLOW_{name}"]: name.lower() for name in _STATES}
    services: dict[ServiceKey, list[tuple[Address, BackendFlows]]] = {}
    for number, (key, address) in owners.items():
        cells = scanned.get(number, {})
        states = tuple(FlowsInState(numbers[s], *cells[s]) for s in sorted(cells) if s in numbers)
        backend = BackendFlows(str(address), sum(s.entries for s in states), states)
        services.setdefault(key, []).append((address, backend))
    found = []
    for key in sorted(services, key=lambda k: k.sort_key):
        backends = tuple(b for _, b in sorted(services[key], key=lambda pair: (pair[0].version, int(pair[0]))))
        found.append(ServiceFlows(str(key), sum(b.entries for b in backends), backends))
    return FlowTable(at, sum(s.entries for s in found), rows, tuple(found))
