/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What clients' packets and health probes have in common: the next-hop row, TTL, MACs.
 */
#ifndef FAIRLEAD_REWRITE_H
#define FAIRLEAD_REWRITE_H

#include "csum.h"
#include "maps.h"
#include "parse.h"

/* The TTL a packet leaves with, or 0 if it may not leave. */
static __always_inline __u32 ttl_after(__u32 ttl, __u64 live)
{
	__u32 rule = live >> DESTINATION_TTL_SHIFT & ((1 << DESTINATION_TTL_BITS) - 1);

	if (likely(rule == TTL_ONE))
		return ttl ? 1 : 0;
	if (rule == TTL_DECREMENT)
		return ttl ? ttl - 1 : 0;
	return ttl;
}

/* Loop protection: with TTL 1 a host that does not own the VIP cannot send the packet on. False if it must be dropped. */
static __always_inline bool rewrite_ttl(void *l3, __u64 live, const bool v6)
{
	__u8 *field = (__u8 *)l3 + (v6 ? offsetof(struct ipv6hdr, hop_limit) : offsetof(struct iphdr, ttl));
	__u32 ttl = *field, next = ttl_after(ttl, live);

	if (unlikely(!next))
		return false;
	if (!v6) {
		struct iphdr *ip = l3;
		__u16 protocol = ip->protocol;

		/* TTL and protocol share a checksummed word; TTL is its first byte. */
		ip->check = csum_replace(ip->check, bpf_htons(ttl << 8 | protocol), bpf_htons(next << 8 | protocol));
	}
	*field = next;
	return true;
}

/* Destination and source MAC in three words; the frame is aligned to two bytes and the row to four. */
static __always_inline void rewrite_macs(struct ethhdr *eth, const struct nexthop *hop)
{
	__u32 *to = (__u32 *)eth;
	const __u32 *from = (const __u32 *)hop->mac_destination;

	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
}

/* The next hop that a destination's `live` names, NULL for none. */
static __always_inline struct nexthop *next_hop(__u64 live)
{
	__u32 index = live & ((1 << DESTINATION_NEXTHOP_BITS) - 1);

	return index ? bpf_map_lookup_elem(&nexthops, &index) : NULL;
}

#endif
