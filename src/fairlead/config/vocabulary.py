"""Every key of the grammar: honoured, known but of a later part, dead since VC5, or once called otherwise.

docs/reference/config.md describes each of them; a test compares the two.
"""

from __future__ import annotations

from fairlead.config.nodes import Vocabulary

# What services and policy entries may both say, and checks inherit.
ASKING = frozenset("host path method expect headers body verify interval timeout window fall rise".split())
CALM = frozenset("hold panic damping".split())  # the file may say them for all services, too
TUNNEL = frozenset("tunnel-type tunnel-port tunnel-no-checksum tunnel-mtu".split())
_TRAFFIC = frozenset("need sticky ttl on-down reset scheduler table-size track reject".split())
SETTINGS = ASKING | TUNNEL | CALM | _TRAFFIC | frozenset("name description priority".split())
_SETTINGS_LATER = {
    "timeouts": "write it at the top of the file, where it holds for all services",
}
_PERSIST = {"persist": "VC5 read `persist` and did nothing with it; `sticky: true` keeps a client on one server"}
_OLD_SETTINGS = {
    "leastconns": "leave it out; new flows are spread by Maglev hashing",
    "fallback": "leave it out; it went before VC5 0.2",
    "tunnel": "it is called `tunnel-type`",
    "wildcard": "every port is an entry of the policy: `policy: {any/tcp: }`",
}

DOCUMENT = Vocabulary(
    "the file",
    frozenset(
        "services servers policy prefixes bgp interfaces attach-delay address address6 vlans vlans6 probe cluster scheduler "
        "timeouts limits logging listen token-file public-read tls hosts compat block count-prefixes".split()
    )
    | CALM,
    later={
        "multicast": "leave it out: flows are not shared between balancers yet",
    },
    dead={
        "learn": "VC5 ignores it too",
        "defcon": "VC5 ignores it too",
        "webserver": "VC5 ignores it too, its -w option counts; `listen` is where the API is",
        "webroot": "VC5 ignores it too, its -r option counts",
        "host_id": "VC5 ignores it too, its -I option counts",
        "native": "VC5 ignores it too, its -n option counts; native XDP is tried first, generic XDP is the fallback",
        "untagged": "VC5 ignores it too",
    },
    renamed={
        "rhi": "it is called `bgp` since VC5 0.2",
        "blocklist": "it is called `block`, a list of prefixes",
        "probes": "it belongs to `logging`, or to a sink in it",
        "syslog": "it belongs to `logging`",
        "elasticsearch": "it belongs to `logging`",
        "opensearch": "it belongs to `logging`",
        "policies": "it is called `policy`",
        "nics": "it is called `interfaces`",
        "router-id": "it is called `address`",
        "token": "write it into a file of its own, and name that as `token-file`",
        "api": "its keys stand at the top of the file: `listen`, `token-file`, `public-read`, `tls`, `hosts`",
        "bonding": "leave it out: name the bond under `interfaces`, its members are found",
        "routes": "leave it out: the kernel's routes count",
    },
)

SERVICE = Vocabulary(
    "a service",
    SETTINGS | {"virtual", "servers", "policy"},
    later=_SETTINGS_LATER,
    dead=_PERSIST,
    renamed=_OLD_SETTINGS | {
        "vip": "it is called `virtual`",
        "vips": "it is called `virtual`",
        "address": "it is called `virtual` since VC5 0.2",
        "backends": "it is called `servers`",
        "reals": "it is called `servers`",
        "checks": "checks belong to an entry of the policy: `policy: {http: {checks: [...]}}`",
        "port": "ports are the keys of `policy`: `policy: {8080/http: }`",
        "bind": "it belongs to an entry of the policy",
    },
)  # fmt: skip

POLICY_ENTRY = Vocabulary(
    "a policy entry",
    SETTINGS | {"bind", "checks"},
    later=_SETTINGS_LATER,
    dead=_PERSIST,
    renamed=_OLD_SETTINGS | {"port": "the port is in the entry's key: `8080/http`", "check": "it is called `checks`, a list"},
)

CHECK = Vocabulary(
    "a check",
    ASKING | frozenset("type port name record rcode payload answer".split()),
    renamed={
        "expt": "it is called `expect`",
        "status": "it is called `expect`",
        "url": "write `host` and `path`",
        "uri": "it is called `path`",
        "sni": "it is called `host`",
        "insecure": "leave it out: certificates are looked at with `verify: true` only",
        "query": "it is called `name`",
        "send": "it is called `payload`",
        "receive": "it is called `answer`",
        "need": "it belongs to the entry or the service",
    },
)

SERVER = Vocabulary(
    "a server",
    frozenset("address weight state backup".split()),
    renamed={
        "disabled": "write `state: disabled` (known flows stay) or `state: drain`",
        "port": "a server is asked on the service's own port; leave it out",
        "ip": "it is called `address`",
    },
)

_ROUTES = frozenset("local_pref med prepend communities large_communities ext_communities".split())
_SESSION = "as_number peer_as port hold_time source_ip passive multihop ttl_security password_file graceful_restart max_prefixes"
BGP_TERMS = _ROUTES | frozenset(f"{_SESSION} extended_next_hop next_hop_4 next_hop_6 accept reject rules".split())
_BGP_LATER = {
    "bfd": "leave it out; a short `hold_time` (3 at least) finds a dead peer",
    "tcp_ao": "use `password_file`: TCP-MD5 is what routers and this kernel have",
}
_BGP_OLD = {
    "multiprotocol": "leave it out: both address families are always offered",
    "router_id": "it is the top-level `address`",
    "neighbors": "they are called `peers`",
    "neighbours": "they are called `peers`",
    "local_as": "it is called `as_number`",
    "remote_as": "it is called `peer_as`",
    "password": "write it into a file of its own, readable for Fairlead only, and name that as `password_file`",
    "password-file": "it is called `password_file`",
    "md5": "write the password into a file and name that as `password_file`",
    "gtsm": "it is called `ttl_security`, and is a number of hops: 1 for a neighbour",
    "ebgp_multihop": "it is called `multihop`",
    "max_prefix": "it is called `max_prefixes`",
    "aggregate": "it is called `aggregates`, a list, at the top of `bgp`",
}

BGP = Vocabulary(
    "`bgp`",
    BGP_TERMS | frozenset("peers groups listen aggregates drain_time stop_time".split()),
    later=_BGP_LATER,
    dead={"learn": "VC5 ignores it too"},
    renamed=_BGP_OLD,
)
GROUP = Vocabulary("a BGP group", BGP_TERMS | {"name", "peers"}, later=_BGP_LATER, renamed=_BGP_OLD)
PEER = Vocabulary("a BGP peer", BGP_TERMS | {"address"}, later=_BGP_LATER, renamed=_BGP_OLD)
RULE = Vocabulary(
    "a rule",
    _ROUTES | frozenset("prefixes services priorities".split()),
    renamed={
        "priority": "it is called `priorities`, a list",
        "names": "they are called `services`",
        "service": "it is called `services`, a list",
        "accept": "rules say what is told of routes; `accept` and `reject` of the peer say which are told of",
        "reject": "rules say what is told of routes; `accept` and `reject` of the peer say which are told of",
    },
)
LISTEN = Vocabulary("`listen`", frozenset("addresses port".split()))
AGGREGATE = Vocabulary("an aggregate", frozenset("prefix only".split()))
GRACEFUL_RESTART = Vocabulary(
    "`graceful_restart`",
    frozenset("time notification".split()),
    renamed={"restart_time": "it is called `time`", "restart-time": "it is called `time`"},
)

TLS = Vocabulary("`tls`", frozenset("certificate key".split()), renamed={"cert": "it is called `certificate`"})
PROBE = Vocabulary("`probe`", frozenset("mark priority table".split()))
CLUSTER = Vocabulary("`cluster`", frozenset(["key-file"]), renamed={"key": "write the key into a file and name it as `key-file`"})
TIMEOUTS = Vocabulary(
    "`timeouts`",
    frozenset("embryonic confirmed closing udp".split()),
    renamed={"established": "it is called `confirmed`", "tcp": "it is called `confirmed`", "syn": "it is called `embryonic`"},
)
LIMITS = Vocabulary(
    "`limits`",
    frozenset("services destinations slots flows".split()),
    renamed={
        "backends": "it is called `destinations`",
        "servers": "it is called `destinations`",
        "vips": "`services` covers them",
    },
)

PAYLOAD = Vocabulary("a payload", frozenset(["hex"]))
DAMPING = Vocabulary(
    "`damping`",
    frozenset("penalty half-life suppress reuse".split()),
    renamed={"halflife": "it is called `half-life`", "max-suppress": "leave it out"},
)

LOGGING = Vocabulary(
    "`logging`",
    frozenset("format probes syslog elasticsearch opensearch slack teams webhook alert".split()),
    renamed={
        "elastic": "it is called `elasticsearch`",
        "level": "leave it out: all is written but probes that change nothing, which `probes: all` asks for",
        "file": "leave it out: send standard error to a file, or name `syslog`",
        "webhooks": "it is called `webhook`, a mapping or a list of them",
        "alerts": "they are called `slack`, `teams` and `webhook`",
    },
)
ALERT = Vocabulary(
    "an alert",
    frozenset("url url-file token-file ca-file level priorities group most".split()),
    renamed={
        "priority": "it is called `priorities`, a list",
        "alert": "it is called `level`; `alert` of `logging` is that of all alerts",
        "token": "write the token into a file and name that as `token-file`",
        "limit": "it is called `most`, messages in an hour",
        "rate": "it is called `most`, messages in an hour",
    },
)
SYSLOG = Vocabulary(
    "`syslog`",
    frozenset("address transport facility format probes".split()),
    renamed={"protocol": "it is called `transport`", "server": "it is called `address`", "host": "it is called `address`"},
)
SEARCH = Vocabulary(
    "a cluster of `elasticsearch` or `opensearch`",
    frozenset("addresses stream index username password password-file api-key-file ca-file probes queue spool".split()),
    renamed={
        "address": "they are called `addresses`, a list",
        "hosts": "they are called `addresses`",
        "user": "it is called `username`",
        "api-key": "write the key into a file and name that as `api-key-file`",
        "apikey": "write the key into a file and name that as `api-key-file`",
        "certificate": "name the authority's certificate as `ca-file`",
    },
)

_SPEAKING = (BGP, GROUP, PEER, RULE, LISTEN, AGGREGATE, GRACEFUL_RESTART, TLS)
ALL = (
    DOCUMENT,
    SERVICE,
    POLICY_ENTRY,
    CHECK,
    SERVER,
    *_SPEAKING,
    PROBE,
    CLUSTER,
    TIMEOUTS,
    LIMITS,
    PAYLOAD,
    DAMPING,
    LOGGING,
    SYSLOG,
    SEARCH,
    ALERT,
)
