/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sending a packet to its destination: the next-hop row says how.
 */
#ifndef FAIRLEAD_FORWARD_H
#define FAIRLEAD_FORWARD_H

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

/* The caller has checked the Ethernet and the IP header against the packet's end. */
static __always_inline enum verdict forward(struct ethhdr *eth, __u64 live, const bool v6)
{
	__u32 index = live & ((1 << DESTINATION_NEXTHOP_BITS) - 1);
	struct nexthop *hop = bpf_map_lookup_elem(&nexthops, &index);

	if (unlikely(!hop || !index))
		return DROP_NO_NEXT_HOP;
	if (unlikely(!rewrite_ttl(eth + 1, live, v6)))
		return DROP_TTL_EXPIRED;
	rewrite_macs(eth, hop);
	return TX_FORWARDED;
}

#endif
