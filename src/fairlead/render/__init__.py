"""What is known as text for a terminal: pure functions of the model and of the present moment."""

from fairlead.render.explained import explanation, explanations
from fairlead.render.figures import number, service_name, span, table
from fairlead.render.lists import backend, backends, service, services, troubles_of
from fairlead.render.looked import findings, problems
from fairlead.render.moving import change, draining, flows
from fairlead.render.overview import status
from fairlead.render.sessions import bgp, peer
from fairlead.render.sources import blocks, sources
from fairlead.render.told import event, events
from fairlead.render.wrong import sentences, troubles

__all__ = [
    "backend",
    "backends",
    "bgp",
    "blocks",
    "change",
    "draining",
    "event",
    "events",
    "explanation",
    "explanations",
    "findings",
    "flows",
    "number",
    "peer",
    "problems",
    "sentences",
    "service",
    "service_name",
    "services",
    "sources",
    "span",
    "status",
    "table",
    "troubles",
    "troubles_of",
]
