/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Packets that are answered instead of forwarded: too big for their tunnel, of a flow that was let go, to a port that no service has.
 */
#ifndef FAIRLEAD_REFUSE_H
#define FAIRLEAD_REFUSE_H

#include "answer.h"
#include "rare.h"

/* The size a sender is told: what the egress takes, less the outer header. */
static __always_inline enum verdict tell_size(struct xdp_md *ctx, struct packet *p, const struct frame *f, const bool v6)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + f->length;
	struct choice c = {};
	struct nexthop *hop;
	struct rest r = {};
	__u32 mtu;

	if (parse_again(ctx, p, &r, f, v6) != PASS_NOT_IP || r.later || !from_one_host(p, v6) ||
	    decide_rare(p, &c, true, v6) != CHOSEN)
		return DROP_TOO_BIG;
	hop = next_hop(c.live);
	if (!hop || (void *)(ip + 1) > end)
		return DROP_TOO_BIG;
	mtu = hop->mtu - hop->outer_length;
	if (!v6 && !(ip->frag_off & bpf_htons(0x4000)))
		return DROP_TOO_BIG;
	if (!within_limit(LIMIT_TOO_BIG, options.too_big_limit))
		return DROP_RATE_LIMITED;
	if (v6)
		return icmp_error(ctx, p, ICMP6_PACKET_TOO_BIG, 0, bpf_htonl(mtu), true) ? TX_TOO_BIG : DROP_TOO_BIG;
	return icmp_error(ctx, p, ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED, bpf_htonl(mtu), false) ? TX_TOO_BIG : DROP_TOO_BIG;
}

/* Whether a segment may be answered with RST: a RST itself never is. */
static __always_inline bool may_be_reset(const struct packet *p, const struct rest *r, const bool v6)
{
	return p->protocol == IPPROTO_TCP && !(p->tcp_flags & TCP_RST) && !r->later && r->l4 <= L4_FURTHEST &&
	       from_one_host(p, v6);
}

/* A RST for a known flow: each has three whatever others use up, and then its share of the rate. */
static __always_inline enum verdict send_reset(struct xdp_md *ctx, struct packet *p, const struct frame *f, const bool v6)
{
	struct rest r = {};
	enum verdict verdict = parse_again(ctx, p, &r, f, v6);

	if (verdict != PASS_NOT_IP)
		return verdict;
	if (!may_be_reset(p, &r, v6))
		return DROP_NO_SERVICE;
	if (!note_refusal(p, v6) && !within_limit(LIMIT_RESET, options.reset_limit))
		return DROP_RATE_LIMITED;
	return tcp_reset(ctx, p, &r, v6) ? TX_RESET : DROP_MALFORMED;
}

/* A port that no service has, of a VIP that says so: RST for TCP, port unreachable for UDP. */
static __always_inline enum verdict refuse_port(struct xdp_md *ctx, struct packet *p, const struct frame *f, const bool v6)
{
	const __u8 type = v6 ? ICMP6_UNREACHABLE : ICMP_UNREACHABLE, code = v6 ? ICMP6_PORT_UNREACHABLE : ICMP_PORT_UNREACHABLE;
	struct rest r = {};

	if (parse_again(ctx, p, &r, f, v6) != PASS_NOT_IP)
		return DROP_NO_SERVICE;
	if (p->protocol == IPPROTO_TCP ? !may_be_reset(p, &r, v6) : r.later || !from_one_host(p, v6))
		return DROP_NO_SERVICE;
	if (!within_limit(LIMIT_REJECT, options.reject_limit))
		return DROP_RATE_LIMITED;
	if (p->protocol == IPPROTO_TCP)
		return tcp_reset(ctx, p, &r, v6) ? TX_RESET : DROP_MALFORMED;
	return icmp_error(ctx, p, type, code, 0, v6) ? TX_UNREACHABLE : DROP_NO_SERVICE;
}

#endif
