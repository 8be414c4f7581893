/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The data plane. `balancer` is the story of a packet. Behind tail calls stand the same story for what the hot path does not speak
 * (`rare`: ping, ICMP errors, fragments, IPv4 options, IPv6 extension headers) and the answers (`too_big`, `reset`, `unreachable`).
 * Each parses again: nothing travels between them but the packet.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "accept.h"
#include "account.h"
#include "balance.h"
#include "block.h"
#include "forward.h"
#include "parse.h"
#include "rare.h"
#include "refuse.h"
#include "select.h"
#include "tails.h"

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
	return counted(forward(ctx, p, hop, c.live, TX_FORWARDED, true, v6), c.id, p->length);
}

/* What a frame counts for that no IP header was read of: all behind the Ethernet header, which every frame has. */
static __always_inline __u32 payload(const void *data, const void *end)
{
	return (__u32)(end - data) - sizeof(struct ethhdr);
}

/* From the IP header on. */
static __always_inline enum verdict receive(struct xdp_md *ctx, struct packet *p, const struct frame *f, void *data, void *end,
					    const bool v6)
{
	enum step step = parse(p, f, data, end, v6);

	if (unlikely(step == STEP_FOREIGN)) {
		p->length = payload(data, end);
		return PASS_NOT_IP;
	}
	if (!may_be_vip(p, v6))
		return PASS_NOT_A_VIP;
	if (unlikely(refuses_source(p, v6)))
		return DROP_BLOCKED;
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
		return finish(PASS_NOT_IP, payload(data, end));
	verdict = accept_frame(ctx, data, &p);
	if (unlikely(verdict != ACCEPTED))
		return finish(verdict, payload(data, end));
	if (f.type == bpf_htons(ETH_P_IP))
		verdict = receive(ctx, &p, &f, data, end, false);
	else if (f.type == bpf_htons(ETH_P_IPV6))
		verdict = receive(ctx, &p, &f, data, end, true);
	else
		return finish(PASS_NOT_IP, payload(data, end));
	return finish(verdict, p.length);
}

/* The programs behind tail calls: the frame again from its first byte. A tail call is made for IPv4 and IPv6 only. */
static __always_inline enum verdict dispatch(struct xdp_md *ctx, struct packet *p, const struct frame *f, const __u32 tail,
					     const bool v6)
{
	switch (tail) {
	case TAIL_RARE:
		return receive_rare(ctx, p, f, v6);
	case TAIL_TOO_BIG:
		return tell_size(ctx, p, f, v6);
	case TAIL_RESET:
		return send_reset(ctx, p, f, v6);
	default:
		return refuse_port(ctx, p, f, v6);
	}
}

static __always_inline int enter(struct xdp_md *ctx, const __u32 tail)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};
	enum verdict verdict;
	struct frame f;

	if (!parse_frame(&f, data, end))
		return finish(DROP_MALFORMED, 0);
	if (f.type == bpf_htons(ETH_P_IPV6))
		verdict = dispatch(ctx, &p, &f, tail, true);
	else
		verdict = dispatch(ctx, &p, &f, tail, false);
	return finish(verdict, p.length);
}

SEC("xdp")
int rare(struct xdp_md *ctx)
{
	return enter(ctx, TAIL_RARE);
}

SEC("xdp")
int too_big(struct xdp_md *ctx)
{
	return enter(ctx, TAIL_TOO_BIG);
}

SEC("xdp")
int reset(struct xdp_md *ctx)
{
	return enter(ctx, TAIL_RESET);
}

SEC("xdp")
int unreachable(struct xdp_md *ctx)
{
	return enter(ctx, TAIL_UNREACHABLE);
}

char _license[] SEC("license") = "Dual BSD/GPL";
