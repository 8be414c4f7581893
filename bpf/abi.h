/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The contract between the data plane and user space: every row that both of them read.
 *
 * This is the only file that user space mirrors. The BPF programs and the C extension include it, and Python reads its layouts
 * from the extension (`fairlead._native.layout()`), so no offset is ever written down twice; tests/bpf/test_abi.py compares them
 * with the BTF of the compiled object. Keep to plain structs, enums and `#define NAME number`: the text is also fed to cffi.
 *
 * House rules
 *   - Addresses are 16 bytes in network byte order; IPv4 is ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
 *   - Every row has at most one u64 called `live`. It is the row's switch: zero means "not in use". Writers fill the payload first and
 *     then store `live` with release order; they clear in the reverse order and wait for a grace period before they use a row again.
 *     Nothing else in a row that readers can reach is ever rewritten.
 *   - `l4` is port (as it stands on the wire) | protocol << 16 | family << 24, family being 4 or 6.
 *   - All sizes are asserted at the end. To change a layout is to change the layout hash, and with it the pin directory.
 */
#ifndef FAIRLEAD_ABI_H
#define FAIRLEAD_ABI_H

#ifndef FAIRLEAD_CDEF
#include <linux/types.h>
#endif

/* ---- VIP bitmap: one row. Bit n is set when some VIP hashes to n; a false positive costs a service look-up, never a packet. ---- */

#define VIP_BITMAP_BITS 65536

struct vip_bitmap {
	__u64 word[1024];
};

/* ---- services: a cuckoo table of rows; each key stands at one of two places (hash.h: service_places). ---- */

/* service.live: slot base, in elements of `struct slots` : 28 | slot count : 20 | flags : 16 */
#define SERVICE_BASE_SHIFT 0
#define SERVICE_BASE_BITS 28
#define SERVICE_SIZE_SHIFT 28
#define SERVICE_SIZE_BITS 20
#define SERVICE_FLAG_SHIFT 48
#define SERVICE_LIVE 1 /* set in every row in use, so that a service without a backend (size 0) still exists */
#define SERVICE_STICKY 2 /* the slot hash covers the addresses only */
#define SERVICE_UNTRACKED 4 /* no flow entries: every packet takes its slot */
#define SERVICE_REJECT 8 /* in a VIP's own row: unknown ports are answered with RST or port unreachable */

struct service {
	__u8 vip[16];
	__u32 l4; /* port 0: every port of the protocol; protocol 0 too: the VIP's own row (ping, unknown ports) */
	__u32 id; /* names the service to user space; 0 in a VIP's own row */
	__u64 live;
	__u8 reserved[32];
};

/* ---- slots: destination ids, 16 to an element because arrays round an element up to 8 bytes. ---- */

#define SLOTS_PER_ELEMENT 16

struct slots {
	__u32 destination[16];
};

/* ---- destinations: one (service, backend) pair; the index is the destination id: 20 bits, 0 never used. ---- */

#define DESTINATION_ID_BITS 20

/* Ports that half-open probes come from: no connection of this machine has one, unless its range of local ports was widened. */
#define PROBE_PORT_FIRST 61000
#define PROBE_PORTS 4096

enum destination_state {
	DESTINATION_ACTIVE = 1,
	DESTINATION_DRAIN = 2, /* keeps its flows, gets no new ones */
	DESTINATION_DISABLED = 3, /* no new flows, old ones follow on-down */
	DESTINATION_DOWN = 4, /* health says no; old flows follow on-down */
	DESTINATION_GONE = 5, /* not in the config any more; its flows move */
};

enum ttl_rule {
	TTL_ONE = 0,
	TTL_DECREMENT = 1,
	TTL_KEEP = 2,
};

/* destination.live: next hop index : 24 | flags : 8 | enum destination_state : 4 | enum ttl_rule : 2 | zero */
#define DESTINATION_NEXTHOP_SHIFT 0
#define DESTINATION_NEXTHOP_BITS 24
#define DESTINATION_FLAG_SHIFT 24
#define DESTINATION_LIVE 1 /* set in every row in use */
#define DESTINATION_FOLLOW 2 /* packets of known flows go on to it */
#define DESTINATION_ACCEPT 4 /* a SYN on a live known flow stays with it */
#define DESTINATION_RESET 8 /* TCP packets of known flows are answered with RST */
#define DESTINATION_STATE_SHIFT 32
#define DESTINATION_STATE_BITS 4
#define DESTINATION_TTL_SHIFT 36
#define DESTINATION_TTL_BITS 2

struct destination {
	__u8 vip[16];
	__u32 l4;
	__u32 l4_mask; /* all ones, or with the port's bits clear for a service of every port */
	__u64 live;
	__u8 backend[16];
	__u32 service; /* service.id */
	__u32 reserved[3];
};

/* ---- next hops: one per (backend, tunnel parameters); immutable while a destination's `live` names it; index 0 means none. ---- */

enum tunnel_kind {
	TUNNEL_NONE = 0,
	TUNNEL_IPIP = 1,
	TUNNEL_GRE = 2,
	TUNNEL_FOU = 3,
	TUNNEL_GUE = 4,
};

#define NEXTHOP_OUTER_IPV6 1 /* the outer header is IPv6 */
#define NEXTHOP_NO_CHECKSUM 2 /* outer UDP checksum 0 */

/*
 * `outer` is the outer header as it leaves, in order: IPv4 (20) or IPv6 (40), then GRE (4), UDP (8), or UDP and GUE (12). Zero in it, and
 * filled for each packet: TOS or traffic class, flow label, lengths, the protocol field that names the inner family (IP protocol, GRE
 * protocol type, GUE protocol), IPv4 header checksum, UDP source port and checksum. `outer_sum` is what the daemon adds up beforehand,
 * as little-endian 16-bit words, of an IPv4 outer header as it stands; `udp_sum` likewise of the pseudo-header's addresses and protocol,
 * of the UDP destination port, and of the GUE header as it stands.
 */
struct nexthop {
	__u8 mac_destination[6];
	__u8 mac_source[6];
	__u32 ifindex; /* egress; a member when it is a bond */
	__u16 mtu; /* largest IP packet the egress takes, outer header included, bytes */
	__u16 vlan; /* 802.1Q id of the egress, 0: untagged */
	__u8 tunnel; /* enum tunnel_kind */
	__u8 flags; /* NEXTHOP_* */
	__u16 outer_length; /* bytes of `outer` in use */
	__u32 outer_sum; /* of the IPv4 outer header, unfolded; 0 with an IPv6 one */
	__u32 bond; /* ifindex of the bond that `ifindex` belongs to, 0: none */
	__u32 udp_sum; /* see above; 0 without UDP */
	__u8 outer[92];
};

/* ---- flows: buckets of eight words, lock-free. A word is tag:32 | destination:20 | last seen:8 | enum flow_state:3 | again:1 ---- */

#define FLOW_WAYS 8
#define FLOW_TAG_SHIFT 32
#define FLOW_DESTINATION_SHIFT 12
#define FLOW_SEEN_SHIFT 4
#define FLOW_STATE_SHIFT 1
#define FLOW_STATE_BITS 3
#define FLOW_AGAIN 1 /* embryonic, and seen once more within its tick */

/*
 * Last seen is the low byte of a tick; established words count coarse ticks, all others fine ones (options.fine_shift, coarse_shift):
 * one scale cannot tell 10 seconds from an hour in 8 bits. What confirms a flow is a packet, not a SYN, at a later tick, or two in one.
 */
enum flow_state {
	FLOW_EMPTY = 0,
	FLOW_EMBRYONIC = 1, /* seen once, or twice within one fine tick; the first to be replaced */
	FLOW_ESTABLISHED = 2, /* TCP, confirmed; never replaced before it expires */
	FLOW_DATAGRAM = 3, /* UDP, likewise */
	FLOW_CLOSING = 4, /* a FIN or RST was seen; packets still follow the entry */
	FLOW_REFUSED = 5, /* its packets were answered with RST: once; 6: twice */
	FLOW_REFUSED_MOST = 7, /* three times: from now on only as the rate limit allows */
};

struct bucket {
	__u64 word[8];
};

/* ---- interfaces: at (ifindex mod INTERFACE_ROWS), full compare. ---- */

#define INTERFACE_ROWS 1024
/* interface.live: own MAC as a little-endian load of the six bytes : 48 | flags : 16 */
#define INTERFACE_FLAG_SHIFT 48
#define INTERFACE_LIVE 1
#define INTERFACE_INACTIVE 2 /* a bond member that must not forward: everything passes to the kernel */

struct interface {
	__u64 live;
	__u32 ifindex;
	__u32 bond; /* ifindex of its bond, 0: none */
	__u32 reserved[4];
};

/* ---- fragments: an LRU hash, so that later fragments follow the first. ---- */

struct fragment_key {
	__u8 saddr[16];
	__u8 daddr[16];
	__u32 id; /* IPv4: the 16-bit identification */
	__u16 protocol; /* of the fragmented packet */
	__u16 family; /* 4 or 6 */
};

struct fragment {
	__u32 destination;
	__u32 seen; /* limiter window (options.window_shift), all 32 bits of it */
};

#define FRAGMENT_LIFETIME 32 /* windows, of half a second to a second each: senders reuse ids faster than RFC 791 assumes */

#include "abi_sources.h"

/* ---- counters: one cell per (CPU, destination id) and one tally per (CPU, verdict). The kernel only adds; nobody zeroes. ---- */

struct cell {
	__u64 packets;
	__u64 bytes; /* IP total length */
	__u64 flows; /* flow entries made */
	__u64 reserved;
};

struct tally {
	__u64 packets;
	__u64 bytes;
};

/* ---- limiter: one row per (CPU, enum limit): packets answered in this window. ---- */

enum limit {
	LIMIT_ECHO = 0,
	LIMIT_TOO_BIG = 1,
	LIMIT_RESET = 2, /* of known flows, beyond three for each */
	LIMIT_REJECT = 3, /* RST and port unreachable for ports that no service has */
	LIMITS = 4,
};

struct limiter {
	__u64 window;
	__u64 count;
};

/* ---- settings: one row that may change while packets flow. ---- */

struct settings {
	__u64 timeouts; /* byte n: the timeout of flow state n, in ticks of its scale */
	__u64 reserved[7];
};

/* ---- registry: one row per destination id, of user space only: what a restart must not forget. ---- */

struct registry {
	__u64 since; /* of the present state, ns since the Unix epoch */
	__u64 base_packets; /* counters when this id was given to its present owner */
	__u64 base_bytes;
	__u64 base_flows;
	__u64 penalised; /* when `penalty` was added to last, ns since the Unix epoch */
	__u32 healthy; /* 1: the checks last said up */
	__u32 penalty; /* of damping, as it was then; 0 for none */
	__u32 suppressed; /* 1: kept out until the penalty has decayed */
	__u32 undecided; /* 1: new, no check has decided yet, and panic must know */
	__u32 reserved[2];
};

/* ---- meta: one row that says what the other tables are; written last, `complete` at the very end. ---- */

#define META_MAGIC 0x31646c7269616621 /* "!fairld1" */

struct meta {
	__u64 magic;
	__u64 complete; /* 1 once every table is pinned and this row is filled */
	__u64 key_fingerprint; /* of the flow key and the slot seed */
	__u32 services; /* rows of each table */
	__u32 destinations;
	__u32 nexthops;
	__u32 slots; /* elements */
	__u32 buckets; /* a power of two, at least 65,536 */
	__u32 cpus;
	__u32 hz; /* jiffies per second, as measured */
	__u32 fine_shift;
	__u32 coarse_shift;
	__u32 reserved[17];
};

/* ---- options: the `const volatile` globals of a generation, set before load. ---- */

struct options {
	__u64 flow_key[4]; /* odd; the flow table's place and tag */
	__u64 slot_key[4]; /* odd; the Maglev slot: the same on every instance of a cluster */
	__u32 bucket_mask;
	__u32 service_mask;
	__u32 destinations; /* stride of the per-CPU cells */
	__u32 slots; /* elements */
	__u32 fine_shift; /* jiffies >> fine_shift is a fine tick */
	__u32 coarse_shift;
	__u32 echo_limit; /* echo replies per CPU and window */
	__u32 too_big_limit; /* fragmentation needed and packet too big, likewise */
	__u32 reset_limit; /* RSTs of known flows, likewise */
	__u32 window_shift; /* jiffies >> window_shift is a limiter's window */
	__u32 probe_mark; /* mark of a probe: this, already shifted, | destination id */
	__u32 reject_limit; /* RSTs and port unreachables for unknown ports, per CPU and window */
	__u32 sources; /* what is asked of a packet's source: SOURCES_*, 0 for nothing */
	__u32 source_regions; /* of `sources4`: a power of two */
};

/*
 * ---- trace: what the twin notes of one packet; a global of its own, no table. User space clears it before each packet. Zero: the
 * packet did not come so far. ----
 */

#define TRACE_VIP 1 /* its address is a VIP */
#define TRACE_FOLLOWED 2 /* the flow entry said where to */
#define TRACE_CHOSEN 4 /* the slot did */
#define TRACE_FRAGMENT 8 /* a later fragment: `fragment` says what its first one is known by */
#define TRACE_GIVEN 16 /* set by user space: `first` is what stands there */

struct trace {
	__u64 word; /* the flow entry found, 0: none */
	__u64 next; /* what would be written in its place, or entered; 0: nothing */
	__u64 now; /* jiffies when it was looked for */
	__u64 entry_live; /* of the destination that the entry names */
	__u64 service_live; /* of the service whose slot was read */
	__u64 live; /* of the destination that it goes to */
	__u32 destination; /* its id */
	__u32 service; /* service.id */
	__u32 service_l4;
	__u32 slot;
	__u32 length; /* what the verdict is charged with, bytes */
	__u32 verdict; /* + VERDICT_BASE */
	__u32 tails; /* bit n: it went through tail program n */
	__u32 flags; /* TRACE_* */
	__u32 first; /* struct fragment of the first fragment: destination, */
	__u32 first_seen; /* and seen */
	__u8 fragment[40]; /* struct fragment_key */
};

/*
 * What became of a packet: 0-15 the kernel's stack has it, 16-31 sent out of the interface it came in by (or of its bond), 32-47 the same
 * (+16) sent out of another one, negative: dropped, and why. One tally each, at index verdict + VERDICT_BASE.
 */
#define VERDICT_BASE 64
#define VERDICT_ROWS 128
#define VERDICT_REDIRECT 16 /* from a TX verdict to its twin */

enum verdict {
	PASS_NOT_MINE = 0, /* addressed to another MAC: flooded, multicast or broadcast; forwarding it would poison the segment */
	PASS_NOT_IP = 1, /* ARP, LLDP, 802.1ad ... */
	PASS_NOT_A_VIP = 2, /* IP, for this machine or to be routed */
	PASS_NO_INTERFACE = 3, /* arrived on an interface that is not in the table */
	PASS_INACTIVE = 4, /* arrived on a bond member that is not active */
	TX_FORWARDED = 16, /* to an L2 neighbour */
	TX_ECHO_REPLY = 17, /* a ping, answered */
	TX_ENCAPSULATED = 18, /* in a tunnel's outer header */
	TX_ICMP_RELAYED = 19, /* an ICMP error, to the backend whose flow it is about */
	TX_TOO_BIG = 20, /* answered with fragmentation needed or packet too big */
	TX_RESET = 21, /* answered with a RST */
	TX_UNREACHABLE = 22, /* answered with port unreachable */
	REDIRECT_FORWARDED = 32,
	REDIRECT_ENCAPSULATED = 34,
	REDIRECT_ICMP_RELAYED = 35,
	DROP_MALFORMED = -1, /* lengths that contradict each other, or a header cut short */
	DROP_NO_SERVICE = -2, /* a port of a VIP that no service has */
	DROP_NO_BACKEND = -3, /* the service has no usable backend */
	DROP_NO_NEXT_HOP = -4, /* the backend's MAC is not known */
	DROP_STALE_SLOT = -5, /* a slot named a destination of another service; never seen unless tables are broken */
	DROP_TTL_EXPIRED = -6, /* TTL or hop limit 0, or 1 with `ttl: decrement` */
	DROP_FRAGMENT = -7, /* a later fragment whose first one was not seen */
	DROP_EXTENSION_HEADER = -8, /* more extension headers than are followed, or one with no known end */
	DROP_UNSUPPORTED_PROTOCOL = -9, /* neither TCP, UDP nor ICMP */
	DROP_UNSUPPORTED_ICMP = -10, /* neither an echo request nor an error about a flow of the VIP */
	DROP_RATE_LIMITED = -11, /* an answer too many: ping, ICMP error, RST */
	DROP_TOO_BIG = -12, /* larger than the egress takes, and without DF: not ours to fragment */
	DROP_NO_HEADROOM = -13, /* the driver left no room for the outer header */
	DROP_NO_REDIRECT = -14, /* the egress interface is not in the device map */
	DROP_TAIL_CALL = -15, /* a tail call failed: the generation is broken */
	DROP_BLOCKED = -16, /* its source is in a blocked prefix */
};

#ifndef FAIRLEAD_CDEF
_Static_assert(sizeof(struct vip_bitmap) == 8192, "vip_bitmap");
_Static_assert(sizeof(struct service) == 64, "service");
_Static_assert(sizeof(struct slots) == 64, "slots");
_Static_assert(sizeof(struct destination) == 64, "destination");
_Static_assert(sizeof(struct nexthop) == 128, "nexthop");
_Static_assert(sizeof(struct bucket) == 64, "bucket");
_Static_assert(sizeof(struct interface) == 32, "interface");
_Static_assert(sizeof(struct fragment_key) == 40, "fragment_key");
_Static_assert(sizeof(struct fragment) == 8, "fragment");
_Static_assert(sizeof(struct cell) == 32, "cell");
_Static_assert(sizeof(struct tally) == 16, "tally");
_Static_assert(sizeof(struct limiter) == 16, "limiter");
_Static_assert(sizeof(struct settings) == 64, "settings");
_Static_assert(sizeof(struct registry) == 64, "registry");
_Static_assert(sizeof(struct meta) == 128, "meta");
_Static_assert(sizeof(struct options) == 120, "options");
_Static_assert(sizeof(struct trace) == 128, "trace");
#endif

#endif
