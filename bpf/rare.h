/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The story of a packet that the hot path does not speak: options, extension headers, fragments, ICMP, and datagrams whose bytes have to
 * be added up.
 */
#ifndef FAIRLEAD_RARE_H
#define FAIRLEAD_RARE_H

#include "accept.h"
#include "balance.h"
#include "fragment.h"
#include "icmp.h"
#include "rare_parse.h"

/* TCP or UDP behind options or extension headers, a fragment, or a datagram whose bytes have to be added up. */
static __always_inline enum verdict balance_rare(struct xdp_md *ctx, struct packet *p, const struct rest *r, const bool v6)
{
	struct nexthop *hop;
	struct choice c = {};
	int decided = CHOSEN;

	if (!r->later)
		decided = decide_rare(p, &c, false, v6);
	else if (!follow_fragment(p, r, &c, v6))
		return DROP_FRAGMENT;
	if (decided != CHOSEN)
		return refuse(ctx, decided);
	if (DRY && r->later)
		note_choice(c.id, c.live, 0);
	hop = next_hop(c.live);
	if (!hop)
		return DROP_NO_NEXT_HOP;
	if (!fits(ctx, p, hop))
		return answer(ctx, TAIL_TOO_BIG);
	if (r->fragment && !r->later)
		remember_fragment(p, r, c.id, v6);
	return counted(forward_rare(ctx, p, c.live, TX_FORWARDED, v6), c.id, p->length);
}

/* The packet again, from its first byte, with whatever headers it has. PASS_NOT_IP if it is for a VIP and was understood. */
static __always_inline enum verdict parse_again(struct xdp_md *ctx, struct packet *p, struct rest *r, const struct frame *f,
						const bool v6)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (accept_frame(ctx, data, p) != ACCEPTED || parse(p, f, data, end, v6) == STEP_FOREIGN)
		return DROP_MALFORMED;
	if (!find_service(p, vip_l4(v6), v6))
		return PASS_NOT_A_VIP;
	return v6 ? parse_rest_ipv6(ctx, p, r) : parse_rest_ipv4(ctx, p, r);
}

static __always_inline enum verdict receive_rare(struct xdp_md *ctx, struct packet *p, const struct frame *f, const bool v6)
{
	struct rest r = {};
	enum verdict verdict = parse_again(ctx, p, &r, f, v6);

	if (verdict != PASS_NOT_IP)
		return verdict;
	if (r.later || p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP)
		return balance_rare(ctx, p, &r, v6);
	if (p->protocol == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return r.fragment ? DROP_UNSUPPORTED_ICMP : receive_icmp(ctx, p, &r, v6);
	return DROP_UNSUPPORTED_PROTOCOL;
}

#endif
