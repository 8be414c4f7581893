/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Outer headers: IPIP (RFC 2003, 4213, 2473), GRE (RFC 2784), FOU and GUE variant 0 (draft-ietf-intarea-gue) over IPv4 and IPv6. The
 * daemon prepares them (struct nexthop); here they are copied and given what belongs to the packet.
 *
 *   - DSCP is copied and ECN carried over as RFC 2983 and RFC 6040 ask of a tunnel's ingress: the whole octet, in normal mode.
 *   - The flow's entropy goes into the UDP source port (49,152 and up) or into the flow label (RFC 6438), so that ECMP spreads tunnels.
 *   - The outer IPv4 header has DF set and id 0 (RFC 6864).
 *   - The outer UDP checksum costs a dozen additions: a TCP or UDP packet whose own checksum is right sums up to a value that follows
 *     from its header alone. If it is not right, the outer one is wrong as well, and the packet is dropped one hop earlier.
 */
#ifndef FAIRLEAD_ENCAP_H
#define FAIRLEAD_ENCAP_H

#include "csum.h"
#include "parse.h"

#define UDP_LENGTH 8
#define GUE_LENGTH 4
#define ENTROPY_PORT 0xc000 /* the upper quarter: RFC 6335's dynamic ports */

/* The sum of a whole inner IPv4 packet: its header sums up to zero, its payload to the complement of the pseudo-header. */
static __always_inline __u32 inner_sum_ipv4(const struct packet *p)
{
	__u32 pseudo = csum_u64((__u32)p->saddr[1]) + csum_u64((__u32)p->daddr[1]) + bpf_htons(p->protocol) +
		       bpf_htons(p->length - sizeof(struct iphdr));

	return (__u16)~csum_fold(pseudo);
}

/* Of an IPv6 one: the addresses in header and pseudo-header cancel out, as do the lengths; what is left is the header's first words. */
static __always_inline __u32 inner_sum_ipv6(const struct packet *p, const struct ipv6hdr *ip)
{
	const __u16 *word = (const __u16 *)ip;

	return word[0] + word[1] + word[3] + (__u16)~bpf_htons(p->protocol);
}

/* Whether a UDP checksum has to be computed for this next hop. */
static __always_inline bool wants_sum(const struct nexthop *hop)
{
	return hop->tunnel >= TUNNEL_FOU && !(hop->flags & NEXTHOP_NO_CHECKSUM);
}

/* TOS or traffic class of the inner packet. */
static __always_inline __u8 inner_tos(const void *l3, const bool v6)
{
	return v6 ? bpf_ntohs(*(const __be16 *)l3) >> 4 & 0xff : ((const struct iphdr *)l3)->tos;
}

static __always_inline void outer_ipv4(struct iphdr *ip, const struct nexthop *hop, __u32 total, __u8 tos, __u8 protocol)
{
	const __u32 *from = (const __u32 *)hop->outer;
	__u32 *to = (__u32 *)ip;

#pragma unroll
	for (int i = 0; i < 5; i++)
		to[i] = from[i];
	ip->tos = tos;
	ip->tot_len = bpf_htons(total);
	ip->protocol = protocol;
	ip->check = ~csum_fold(hop->outer_sum + bpf_htons(tos) + bpf_htons(total) + bpf_htons(protocol));
}

static __always_inline void outer_ipv6(struct ipv6hdr *ip, const struct nexthop *hop, __u32 payload, __u8 tos, __u8 protocol,
				       __u16 entropy)
{
	const __u32 *from = (const __u32 *)hop->outer;
	__u32 *to = (__u32 *)ip;

#pragma unroll
	for (int i = 0; i < 10; i++)
		to[i] = from[i];
	to[0] |= bpf_htonl((__u32)tos << 20 | entropy);
	ip->payload_len = bpf_htons(payload);
	ip->nexthdr = protocol;
}

/*
 * The UDP header, and GUE's behind it, which names the inner protocol; FOU's port does. `inner_sum` is of all that the headers carry.
 */
static __always_inline void outer_udp(__be16 *udp, const struct nexthop *hop, __u32 length, __u16 entropy, __u8 inner,
				      __u32 inner_sum, const bool outer6)
{
	const __be16 *from = (const __be16 *)(hop->outer + (outer6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)));
	__be16 port = bpf_htons(ENTROPY_PORT | entropy), named = hop->tunnel == TUNNEL_GUE ? bpf_htons(inner) : 0;
	__u16 check = 0;

	if (!(hop->flags & NEXTHOP_NO_CHECKSUM)) {
		check = ~csum_fold(csum_fold(hop->udp_sum) + csum_fold(inner_sum) + port + named + 2 * bpf_htons(length));
		check = check ? check : 0xffff; /* zero would mean that there is none (RFC 768) */
	}
	udp[0] = port;
	udp[1] = from[1];
	udp[2] = bpf_htons(length);
	udp[3] = check;
	if (hop->tunnel == TUNNEL_GUE) {
		udp[4] = named;
		udp[5] = 0;
	}
}

/* What an outer header is filled in with. */
struct inner {
	__u32 length; /* IP packet, bytes */
	__u32 sum; /* of the whole packet; only looked at when a UDP checksum is wanted */
	__u16 entropy;
	__u8 tos;
};

/* All of it at `l3`, where the caller has checked for OUTER_MOST bytes: every packet that is forwarded makes at least as many. */
#define OUTER_MOST(outer6) ((outer6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + UDP_LENGTH + GUE_LENGTH)

static __always_inline void write_outer(void *l3, const struct nexthop *hop, const struct inner *in, const bool v6,
					const bool outer6)
{
	__u32 header = outer6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr), total = in->length + hop->outer_length;
	__u8 inner = v6 ? IPPROTO_IPV6 : IPPROTO_IPIP, protocol = inner;
	__be16 *next = l3 + header;

	if (hop->tunnel == TUNNEL_GRE) {
		protocol = IPPROTO_GRE;
		next[0] = 0;
		next[1] = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	} else if (hop->tunnel != TUNNEL_IPIP) {
		protocol = IPPROTO_UDP;
		outer_udp(next, hop, total - header, in->entropy, inner, in->sum, outer6);
	}
	if (outer6)
		outer_ipv6(l3, hop, total - header, in->tos, protocol, in->entropy);
	else
		outer_ipv4(l3, hop, total, in->tos, protocol);
}

#endif
