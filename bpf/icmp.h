/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ICMP addressed to a VIP (RFC 792, RFC 4443): the balancer answers pings itself, at a bounded rate, and sends errors on to the one
 * backend whose flow they are about: path MTU discovery of a backend's replies depends on them.
 */
#ifndef FAIRLEAD_ICMP_H
#define FAIRLEAD_ICMP_H

#include "account.h"
#include "balance.h"
#include "config.h"
#include "csum.h"
#include "rare_parse.h"

#define REPLY_TTL 64
#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_ECHO_REQUEST 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP_FRAGMENTATION_NEEDED 4 /* code of ICMP_UNREACHABLE */
#define ICMP_PORT_UNREACHABLE 3 /* likewise */
#define ICMP6_UNREACHABLE 1
#define ICMP6_PACKET_TOO_BIG 2
#define ICMP6_PARAMETER_PROBLEM 4
#define ICMP6_PORT_UNREACHABLE 4 /* code of ICMP6_UNREACHABLE */
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129

struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 check;
	__be32 rest;
};

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 was[ETH_ALEN];

	__builtin_memcpy(was, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, was, ETH_ALEN);
}

/* Only to a single host may an answer go (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e.6)). */
static __always_inline bool from_one_host(const struct packet *p, const bool v6)
{
	__u8 first = v6 ? p->saddr[0] : p->saddr[1]; /* of the source address, as it lies in memory */

	if (v6)
		return first != 0xff && (p->saddr[0] || p->saddr[1] & ~(1ULL << 56)); /* neither :: nor ::1 */
	return first != 0 && first != 127 && first < 224;
}

/* Turns a request into a reply in place. Type is the high byte of its checksummed word; swapped addresses leave all sums as they were. */
static __always_inline enum verdict echo(const struct packet *p, struct icmp_header *icmp, void *data, void *end, const bool v6)
{
	__u8 request = v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO_REQUEST, reply = v6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY;
	struct ipv6hdr *ip6 = data + l3_at(p);
	struct iphdr *ip4 = data + l3_at(p);

	if (icmp->code != 0 || !from_one_host(p, v6) || data + sizeof(struct ethhdr) > end ||
	    (v6 ? (void *)(ip6 + 1) : (void *)(ip4 + 1)) > end)
		return DROP_UNSUPPORTED_ICMP;
	if (!within_limit(LIMIT_ECHO, options.echo_limit))
		return DROP_RATE_LIMITED;
	icmp->check = csum_replace(icmp->check, bpf_htons(request << 8), bpf_htons(reply << 8));
	icmp->type = reply;
	if (v6) {
		struct in6_addr client = ip6->saddr;

		ip6->saddr = ip6->daddr;
		ip6->daddr = client;
		ip6->hop_limit = REPLY_TTL;
	} else {
		__be32 client = ip4->saddr;

		ip4->saddr = ip4->daddr;
		ip4->daddr = client;
		ip4->check = csum_replace(ip4->check, bpf_htons(ip4->ttl << 8 | IPPROTO_ICMP),
					  bpf_htons(REPLY_TTL << 8 | IPPROTO_ICMP));
		ip4->ttl = REPLY_TTL;
	}
	swap_macs(data);
	return TX_ECHO_REPLY;
}

/*
 * The packet inside an error is one that a backend sent, or the first fragment of one; `flow` becomes what its client would have sent.
 * `room`: how many bytes of it the error carries. False: nothing we can place.
 */
static __always_inline bool reverse_ipv4(struct packet *flow, struct iphdr *ip, __u32 room, void *end)
{
	__u32 *ports;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
		return false;
	ports = (void *)ip + ip->ihl * 4;
	if ((void *)(ports + 1) > end || room < ip->ihl * 4 + sizeof(*ports))
		return false;
	flow->protocol = ip->protocol;
	flow->saddr[1] = ip->daddr;
	flow->daddr[1] = ip->saddr;
	flow->ports = *ports >> 16 | *ports << 16;
	return true;
}

static __always_inline bool reverse_ipv6(struct packet *flow, struct ipv6hdr *ip, __u32 room, void *end)
{
	struct extension *e = (void *)(ip + 1);
	__u32 *ports = (void *)e, before = sizeof(*ip);

	if ((void *)(ports + 1) > end || ip->version != 6)
		return false;
	flow->protocol = ip->nexthdr;
	if (flow->protocol == IPPROTO_FRAGMENT) {
		if ((void *)(e + 1) > end || e->fragment & bpf_htons(0xfff8))
			return false;
		flow->protocol = e->next;
		ports = (void *)(e + 1);
		before += sizeof(*e);
	}
	OPAQUE(ports);
	if ((void *)(ports + 1) > end || room < before + sizeof(*ports))
		return false;
	flow->saddr[0] = load64(ip->daddr.in6_u.u6_addr32);
	flow->saddr[1] = load64(ip->daddr.in6_u.u6_addr32 + 2);
	flow->daddr[0] = load64(ip->saddr.in6_u.u6_addr32);
	flow->daddr[1] = load64(ip->saddr.in6_u.u6_addr32 + 2);
	flow->ports = *ports >> 16 | *ports << 16;
	return true;
}

/* By its flow entry; without one (ECMP brought the error to another balancer than the flow) by the flow's Maglev slot, which agrees. */
static __always_inline enum verdict relay(struct xdp_md *ctx, struct packet *p, void *inside, __u32 room, void *end,
					  const bool v6)
{
	struct packet flow = {};
	struct choice c = {};
	struct nexthop *hop;
	int decided;

	if (!(v6 ? reverse_ipv6(&flow, inside, room, end) : reverse_ipv4(&flow, inside, room, end)))
		return DROP_UNSUPPORTED_ICMP;
	if (flow.daddr[1] != p->daddr[1] || flow.daddr[0] != p->daddr[0])
		return DROP_UNSUPPORTED_ICMP;
	if (flow.protocol != IPPROTO_TCP && flow.protocol != IPPROTO_UDP)
		return DROP_UNSUPPORTED_ICMP;
	flow.l4 = flow.ports >> 16 | (__u32)flow.protocol << 16 | (v6 ? 6U : 4U) << 24;
	decided = decide_rare(&flow, &c, true, v6);
	if (decided != CHOSEN)
		return decided == REJECT ? DROP_NO_SERVICE : decided;
	hop = next_hop(c.live);
	if (!hop)
		return DROP_NO_NEXT_HOP;
	if (!fits(ctx, p, hop))
		return DROP_TOO_BIG;
	p->entropy = flow.entropy;
	return counted(forward_rare(ctx, p, c.live, TX_ICMP_RELAYED, v6), c.id, p->length);
}

static __always_inline bool is_error(__u8 type, const bool v6)
{
	if (v6)
		return type >= ICMP6_UNREACHABLE && type <= ICMP6_PARAMETER_PROBLEM;
	return type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
}

static __always_inline enum verdict receive_icmp(struct xdp_md *ctx, struct packet *p, const struct rest *r, const bool v6)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct icmp_header *icmp = data + l4_at(r);

	if (r->l4 > L4_FURTHEST)
		return DROP_EXTENSION_HEADER;
	if ((void *)(icmp + 1) > end || p->length + l3_at(p) < r->l4 + sizeof(*icmp))
		return DROP_MALFORMED;
	if (icmp->type == (v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO_REQUEST))
		return echo(p, icmp, data, end, v6);
	if (is_error(icmp->type, v6))
		return relay(ctx, p, icmp + 1, p->length + l3_at(p) - r->l4 - sizeof(*icmp), end, v6);
	return DROP_UNSUPPORTED_ICMP;
}

#endif
