/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sending a packet to its destination: the next-hop row says how. Nothing of the packet is changed before it is certain that it can go,
 * so that an answer to it (too big) still finds it as it came.
 */
#ifndef FAIRLEAD_FORWARD_H
#define FAIRLEAD_FORWARD_H

#include "encap.h"
#include "maps.h"
#include "parse.h"
#include "rewrite.h"
#include "tails.h"

static __always_inline bool stays_on_interface(const struct xdp_md *ctx, const struct packet *p, const struct nexthop *hop)
{
	return hop->ifindex == ctx->ingress_ifindex || (hop->bond && hop->bond == p->bond);
}

/*
 * Whether the egress takes the packet. A frame that goes back where it came from, without a tunnel, has shown that it fits; in generic mode
 * it may even be several segments in one.
 */
static __always_inline bool fits(const struct xdp_md *ctx, const struct packet *p, const struct nexthop *hop)
{
	if (likely(!hop->outer_length && stays_on_interface(ctx, p, hop)))
		return true;
	return p->length + hop->outer_length <= hop->mtu;
}

/* The Ethernet header, with a tag if the egress wants one: the frame's own priority bits (PCP, DEI) stay. */
static __always_inline void write_ethernet(void *data, const struct nexthop *hop, __be16 tci, __be16 type)
{
	__be16 *fields = data + 2 * ETH_ALEN;

	rewrite_macs(data, hop);
	if (hop->vlan) {
		*fields++ = bpf_htons(ETH_P_8021Q);
		*fields++ = (tci & bpf_htons((__u16)~VLAN_ID)) | bpf_htons(hop->vlan);
	}
	*fields = type;
}

/* A frame whose length changes, because of a tag or of an outer header. `sum` as in struct inner. False: no room. */
static __always_inline bool rebuild(struct xdp_md *ctx, const struct packet *p, const struct nexthop *hop, __u32 sum,
				    const bool v6)
{
	struct inner in = {.length = p->length, .sum = sum, .entropy = p->entropy};
	__u32 l2 = hop->vlan ? sizeof(struct ethhdr) + VLAN_LENGTH : sizeof(struct ethhdr);
	int grow = (int)(l2 + hop->outer_length) - (int)l3_at(p);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__be16 type = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	bool outer6 = hop->flags & NEXTHOP_OUTER_IPV6;

	if (data + l3_at(p) + sizeof(struct iphdr) > end)
		return false;
	in.tos = inner_tos(data + l3_at(p), v6);
	if (grow && bpf_xdp_adjust_head(ctx, -grow))
		return false;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(struct ethhdr) + VLAN_LENGTH > end)
		return false;
	if (hop->outer_length)
		type = outer6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	write_ethernet(data, hop, p->tci, type);
	if (!hop->outer_length)
		return true;
	data += l2;
	if (outer6) {
		if (data + OUTER_MOST(true) > end)
			return false;
		write_outer(data, hop, &in, v6, true);
	} else {
		if (data + OUTER_MOST(false) > end)
			return false;
		write_outer(data, hop, &in, v6, false);
	}
	return true;
}

/* Out of the interface it came in by, or through the device map: `verdict` or its twin. */
static __always_inline enum verdict leave(struct xdp_md *ctx, const struct packet *p, const struct nexthop *hop,
					  enum verdict verdict)
{
	__u32 port = hop->ifindex & (INTERFACE_ROWS - 1);

	if (likely(stays_on_interface(ctx, p, hop)))
		return verdict;
	return bpf_redirect_map(&ports, port, 0) == XDP_REDIRECT ? verdict + VERDICT_REDIRECT : DROP_NO_REDIRECT;
}

/* The sum of the packet for an outer UDP checksum; -1 if its bytes cannot be reached. `plain`: TCP or UDP with a checksum, nothing else. */
static __always_inline __s64 sum_of(struct xdp_md *ctx, const struct packet *p, void *l3, const bool plain, const bool v6)
{
	if (!plain)
		return csum_packet(ctx, l3_at(p), p->length);
	return v6 ? inner_sum_ipv6(p, l3) : inner_sum_ipv4(p);
}

/*
 * The caller has found that it fits. `verdict` is what it counts as unless it is put into a tunnel. `plain` packets have an inner
 * checksum that an outer one follows from; of others every byte is added up.
 */
static __always_inline enum verdict forward(struct xdp_md *ctx, const struct packet *p, const struct nexthop *hop, __u64 live,
					    enum verdict verdict, const bool plain, const bool v6)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__s64 sum = 0;

	if (data + sizeof(struct ethhdr) > end || data + l3_at(p) + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) > end)
		return DROP_MALFORMED;
	if (unlikely(!rewrite_ttl(data + l3_at(p), live, v6)))
		return DROP_TTL_EXPIRED;
	if (likely(!hop->outer_length && !hop->vlan && l3_at(p) == sizeof(struct ethhdr))) {
		rewrite_macs(data, hop);
	} else {
		if (wants_sum(hop))
			sum = sum_of(ctx, p, data + l3_at(p), plain, v6);
		if (unlikely(sum < 0))
			return DROP_MALFORMED;
		if (unlikely(!rebuild(ctx, p, hop, sum, v6)))
			return DROP_NO_HEADROOM;
		if (hop->outer_length && verdict == TX_FORWARDED)
			verdict = TX_ENCAPSULATED;
	}
	return leave(ctx, p, hop, verdict);
}

/* The same for packets that are not plain, as functions that the verifier looks at once. */
__noinline int forward_ipv4(struct xdp_md *ctx, struct packet *p, __u64 live, int verdict)
{
	struct nexthop *hop = next_hop(live);

	return p && hop ? (int)forward(ctx, p, hop, live, verdict, false, false) : DROP_NO_NEXT_HOP;
}

__noinline int forward_ipv6(struct xdp_md *ctx, struct packet *p, __u64 live, int verdict)
{
	struct nexthop *hop = next_hop(live);

	return p && hop ? (int)forward(ctx, p, hop, live, verdict, false, true) : DROP_NO_NEXT_HOP;
}

static __always_inline enum verdict forward_rare(struct xdp_md *ctx, struct packet *p, __u64 live, enum verdict verdict,
						 const bool v6)
{
	return v6 ? forward_ipv6(ctx, p, live, verdict) : forward_ipv4(ctx, p, live, verdict);
}

#endif
