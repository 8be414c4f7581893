"""Events to Elasticsearch and OpenSearch, through their official clients; in memory, then on disk, while the cluster is away."""

from fairlead.adapters.search.sink import SearchSink

__all__ = ["SearchSink"]
