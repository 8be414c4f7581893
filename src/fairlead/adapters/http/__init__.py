"""The daemon's API: HTTP/1.1 with JSON. What is behind each route is handed in (`calls`); docs/reference/api.md has them all."""

from fairlead.adapters.http.access import exposed, read_access
from fairlead.adapters.http.calls import Absent, Act, Call, Handlers, Question, Says, Stream, Text, Word
from fairlead.adapters.http.replies import encode
from fairlead.adapters.http.routes import application, table
from fairlead.adapters.http.server import Kept, Prepared, Server

__all__ = [
    "Absent",
    "Act",
    "Call",
    "Handlers",
    "Kept",
    "Prepared",
    "Question",
    "Says",
    "Server",
    "Stream",
    "Text",
    "Word",
    "application",
    "encode",
    "exposed",
    "read_access",
    "table",
]
