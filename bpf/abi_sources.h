/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A part of abi.h, by its rules: tables about where packets come from, which are made when they are wanted. The layout hash does not cover
 * them: user space compares their shape.
 */
#ifndef FAIRLEAD_ABI_SOURCES_H
#define FAIRLEAD_ABI_SOURCES_H

/* ---- blocks: an LPM trie of the sources whose packets for VIPs are dropped. Made, with `blocked`, when the first is wanted. ---- */

#define BLOCKS_MOST 16384

struct block_key {
	__u32 length; /* of the prefix, bits; an IPv4 prefix lies in ::ffff:0:0/96 */
	__u8 address[16];
};

struct block {
	__u32 family; /* 4 or 6: ::/0 must not cover the mapped addresses of IPv4 */
	__u32 row; /* its place in `blocked`: one tally per (CPU, block), cleared before the place is given to another block */
};

/*
 * ---- sources: packets for VIPs by the prefix that they come from: IPv4 in an array by the address's first 20 bits, in several regions so
 * that CPUs seldom meet; IPv6 in an LRU hash. Made when they are to be counted. The kernel only adds. ----
 */

#define SOURCES_BLOCKED_IPV4 1 /* an IPv4 prefix is blocked */
#define SOURCES_BLOCKED_IPV6 2
#define SOURCES_COUNTED 4
#define SOURCES4 1048576 /* rows of a region */
#define SOURCES6 65536 /* prefixes, those seen last */

struct source_key {
	__u64 prefix; /* the first 48 bits of an IPv6 address as they lie in the packet, then zero */
};

struct source {
	__u64 packets;
};

#ifndef FAIRLEAD_CDEF
_Static_assert(sizeof(struct block_key) == 20, "block_key");
_Static_assert(sizeof(struct block) == 8, "block");
_Static_assert(sizeof(struct source_key) == 8, "source_key");
_Static_assert(sizeof(struct source) == 8, "source");
#endif

#endif
