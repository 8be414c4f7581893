/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The data plane. `balancer` is the story of a packet. Behind tail calls stand the same story for what the hot path does not speak
 * (`rare`: ping, ICMP errors, fragments, IPv4 options, IPv6 extension headers) and the answers (`too_big`, `reset`, `unreachable`).
 * Each parses again: nothing travels between them but the packet.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "account.h"
#include "answer.h"
#include "balance.h"
#include "config.h"
#include "flow.h"
#include "forward.h"
#include "fragment.h"
#include "icmp.h"
#include "maps.h"
#include "parse.h"
#include "rare_parse.h"
#include "select.h"
#include "tails.h"

#define ACCEPTED TX_FORWARDED /* any verdict that is no PASS: the frame is ours to judge */

/*
 * Whether the frame is addressed to this interface. A bridge floods what it does not know; a balancer that forwards a flooded frame
 * teaches the segment that other hosts' MACs live behind its own port.
 */
static __always_inline enum verdict accept_frame(struct xdp_md *ctx, void *data, struct packet *p)
{
	__u32 ifindex = ctx->ingress_ifindex, index = ifindex & (INTERFACE_ROWS - 1);
	struct interface *row = bpf_map_lookup_elem(&interfaces, &index);
	__u64 mac = load64(data) << 16 >> 16, live;

	if (unlikely(!row))
		return PASS_NO_INTERFACE;
	live = READ_ONCE(row->live);
	if (unlikely(!(live >> INTERFACE_FLAG_SHIFT & INTERFACE_LIVE) || row->ifindex != ifindex))
		return PASS_NO_INTERFACE;
	if (unlikely(live >> INTERFACE_FLAG_SHIFT & INTERFACE_INACTIVE))
		return PASS_INACTIVE;
	p->bond = row->bond;
	return mac == live << 16 >> 16 ? ACCEPTED : PASS_NOT_MINE;
}

/* A datagram without a checksum (RFC 768) says nothing of its sum: if the tunnel wants one, `rare` adds up its bytes. */
static __always_inline bool sum_unknown(const struct packet *p, const struct nexthop *hop, void *data, void *end, const bool v6)
{
	__be16 *udp = data + l3_at(p) + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));

	if (likely(!wants_sum(hop)) || p->protocol != IPPROTO_UDP)
		return false;
	return (void *)(udp + 4) > end || !udp[3];
}

/* TCP or UDP, perhaps to a VIP. */
static __always_inline enum verdict balance(struct xdp_md *ctx, struct packet *p, void *data, void *end, const bool v6)
{
	struct nexthop *hop;
	struct choice c = {};
	int decided = decide(p, &c, false, v6);

	if (unlikely(decided != CHOSEN))
		return refuse(ctx, decided);
	hop = next_hop(c.live);
	if (unlikely(!hop))
		return DROP_NO_NEXT_HOP;
	if (unlikely(!fits(ctx, p, hop)))
		return answer(ctx, TAIL_TOO_BIG);
	if (unlikely(sum_unknown(p, hop, data, end, v6)))
		return answer(ctx, TAIL_RARE);
	count_destination(c.id, p->length);
	return forward(ctx, p, hop, c.live, TX_FORWARDED, true, v6);
}

/* From the IP header on. */
static __always_inline enum verdict receive(struct xdp_md *ctx, struct packet *p, const struct frame *f, void *data, void *end,
					    const bool v6)
{
	enum step step = parse(p, f, data, end, v6);

	if (unlikely(step == STEP_FOREIGN))
		return PASS_NOT_IP;
	if (!may_be_vip(p, v6))
		return PASS_NOT_A_VIP;
	if (likely(step == STEP_BALANCE))
		return balance(ctx, p, data, end, v6);
	if (step == STEP_MALFORMED)
		return find_service(p, vip_l4(v6), v6) ? DROP_MALFORMED : PASS_NOT_A_VIP;
	return answer(ctx, TAIL_RARE);
}

SEC("xdp")
int balancer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};
	enum verdict verdict;
	struct frame f;

	if (unlikely(!parse_frame(&f, data, end)))
		return finish(PASS_NOT_IP, 0);
	verdict = accept_frame(ctx, data, &p);
	if (unlikely(verdict != ACCEPTED))
		return finish(verdict, 0);
	if (f.type == bpf_htons(ETH_P_IP))
		verdict = receive(ctx, &p, &f, data, end, false);
	else if (f.type == bpf_htons(ETH_P_IPV6))
		verdict = receive(ctx, &p, &f, data, end, true);
	else
		verdict = PASS_NOT_IP;
	return finish(verdict, p.length);
}

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
	hop = next_hop(c.live);
	if (!hop)
		return DROP_NO_NEXT_HOP;
	if (!fits(ctx, p, hop))
		return answer(ctx, TAIL_TOO_BIG);
	if (r->fragment && !r->later)
		remember_fragment(p, r, c.id, v6);
	count_destination(c.id, p->length);
	return forward(ctx, p, hop, c.live, TX_FORWARDED, false, v6);
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
	return parse_rest(p, r, data, end, v6);
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
		return r.fragment ? DROP_UNSUPPORTED_ICMP : receive_icmp(ctx, p, r.l4, v6);
	return DROP_UNSUPPORTED_PROTOCOL;
}

SEC("xdp")
int rare(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};
	enum verdict verdict;
	struct frame f;

	if (!parse_frame(&f, data, end))
		return finish(PASS_NOT_IP, 0);
	if (f.type == bpf_htons(ETH_P_IPV6))
		verdict = receive_rare(ctx, &p, &f, true);
	else
		verdict = receive_rare(ctx, &p, &f, false);
	return finish(verdict, p.length);
}

/* The size a sender is told: what the egress takes, less the outer header. */
static __always_inline enum verdict tell_size(struct xdp_md *ctx, struct packet *p, const struct frame *f, const bool v6)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + f->length;
	struct choice c = {};
	struct nexthop *hop;
	struct rest r = {};
	__u32 mtu;

	if (parse_again(ctx, p, &r, f, v6) != PASS_NOT_IP || r.later || decide_rare(p, &c, true, v6) != CHOSEN)
		return DROP_TOO_BIG;
	hop = next_hop(c.live);
	if (!hop || (void *)(ip + 1) > end)
		return DROP_TOO_BIG;
	mtu = hop->mtu - hop->outer_length;
	if (!v6 && !(ip->frag_off & bpf_htons(0x4000)))
		return DROP_TOO_BIG;
	if (!within_limit(LIMIT_ICMP_ERROR, options.error_limit))
		return DROP_RATE_LIMITED;
	if (v6)
		return icmp_error(ctx, p, ICMP6_PACKET_TOO_BIG, 0, bpf_htonl(mtu), QUOTED6_TOO_BIG, true) ? TX_TOO_BIG
													  : DROP_TOO_BIG;
	return icmp_error(ctx, p, ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED, bpf_htonl(mtu), QUOTED4, false) ? TX_TOO_BIG
													       : DROP_TOO_BIG;
}

SEC("xdp")
int too_big(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};
	enum verdict verdict;
	struct frame f;

	if (!parse_frame(&f, data, end))
		return finish(DROP_MALFORMED, 0);
	if (f.type == bpf_htons(ETH_P_IPV6))
		verdict = tell_size(ctx, &p, &f, true);
	else
		verdict = tell_size(ctx, &p, &f, false);
	return finish(verdict, p.length);
}

/* `otherwise`: what it counts as if the packet is no TCP segment, or is a RST itself. */
static __always_inline enum verdict send_reset(struct xdp_md *ctx, struct packet *p, const struct frame *f, const bool v6)
{
	struct rest r = {};
	enum verdict verdict = parse_again(ctx, p, &r, f, v6);

	if (verdict != PASS_NOT_IP)
		return verdict;
	if (r.later || p->protocol != IPPROTO_TCP || p->tcp_flags & TCP_RST || r.l4 > L4_FURTHEST)
		return DROP_NO_SERVICE;
	if (!within_limit(LIMIT_RESET, options.reset_limit))
		return DROP_RATE_LIMITED;
	return tcp_reset(ctx, p, r.l4, v6) ? TX_RESET : DROP_MALFORMED;
}

SEC("xdp")
int reset(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};
	enum verdict verdict;
	struct frame f;

	if (!parse_frame(&f, data, end))
		return finish(DROP_MALFORMED, 0);
	if (f.type == bpf_htons(ETH_P_IPV6))
		verdict = send_reset(ctx, &p, &f, true);
	else
		verdict = send_reset(ctx, &p, &f, false);
	return finish(verdict, p.length);
}

/* A port that no service has, of a VIP that says so: RST for TCP, port unreachable for UDP. */
static __always_inline enum verdict refuse_port(struct xdp_md *ctx, struct packet *p, const struct frame *f, const bool v6)
{
	struct rest r = {};

	if (parse_again(ctx, p, &r, f, v6) != PASS_NOT_IP || r.later)
		return DROP_NO_SERVICE;
	if (p->protocol == IPPROTO_TCP)
		return answer(ctx, TAIL_RESET);
	if (!within_limit(LIMIT_ICMP_ERROR, options.error_limit))
		return DROP_RATE_LIMITED;
	if (v6)
		return icmp_error(ctx, p, ICMP6_UNREACHABLE, ICMP6_PORT_UNREACHABLE, 0, QUOTED6, true) ? TX_UNREACHABLE
												       : DROP_NO_SERVICE;
	return icmp_error(ctx, p, ICMP_UNREACHABLE, ICMP_PORT_UNREACHABLE, 0, QUOTED4, false) ? TX_UNREACHABLE : DROP_NO_SERVICE;
}

SEC("xdp")
int unreachable(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};
	enum verdict verdict;
	struct frame f;

	if (!parse_frame(&f, data, end))
		return finish(DROP_MALFORMED, 0);
	if (f.type == bpf_htons(ETH_P_IPV6))
		verdict = refuse_port(ctx, &p, &f, true);
	else
		verdict = refuse_port(ctx, &p, &f, false);
	return finish(verdict, p.length);
}

char _license[] SEC("license") = "Dual BSD/GPL";
