/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The data plane. `balancer` is the story of a packet; `rare` is the same story for what the hot path does not speak: ping, fragments,
 * IPv4 options, IPv6 extension headers, other protocols. `rare` parses again: nothing travels between the two but the packet.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "account.h"
#include "config.h"
#include "flow.h"
#include "forward.h"
#include "icmp.h"
#include "maps.h"
#include "parse.h"
#include "select.h"

#define TAIL_RARE 0

/* Belongs to one generation of programs and is never shared with the next: it would change the running program under its feet. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tails SEC(".maps");

/*
 * Whether the frame is addressed to this interface. A bridge floods what it does not know; a balancer that forwards a flooded frame
 * teaches the segment that other hosts' MACs live behind its own port.
 */
#define ACCEPTED TX_FORWARDED /* any verdict that is no PASS: the frame is ours to judge */

static __always_inline enum verdict accept_frame(struct xdp_md *ctx, struct ethhdr *eth)
{
	__u32 ifindex = ctx->ingress_ifindex, index = ifindex & (INTERFACE_ROWS - 1);
	struct interface *row = bpf_map_lookup_elem(&interfaces, &index);
	__u64 mac = load64((__be32 *)eth) << 16 >> 16, live;

	if (unlikely(!row))
		return PASS_NO_INTERFACE;
	live = READ_ONCE(row->live);
	if (unlikely(!(live >> INTERFACE_FLAG_SHIFT & INTERFACE_LIVE) || row->ifindex != ifindex))
		return PASS_NO_INTERFACE;
	return mac == live << 16 >> 16 ? ACCEPTED : PASS_NOT_MINE;
}

/* TCP or UDP, perhaps to a VIP: to its flow's destination, else to Maglev's. */
static __always_inline enum verdict balance(struct ethhdr *eth, struct packet *p, const bool v6)
{
	struct destination *row = NULL;
	bool track = true, entered = false;
	struct flow f;
	__u64 live = 0, next;
	__u32 id = 0;
	int chosen;

	if (unlikely(!find_flow(p, &f, v6)))
		return DROP_NO_SERVICE;
	if (f.word) {
		id = word_destination(f.word);
		row = bpf_map_lookup_elem(&destinations, &id);
		live = row ? READ_ONCE(row->live) : 0;
		if (likely(live && serves(row, p, v6))) {
			next = next_word(p, &f, live);
			if (unlikely(next && next != f.word))
				update_flow(p, &f, next, v6);
			if (likely(next))
				goto out;
		} else if (live) {
			track = false; /* a flow of another service has this tag (1 in 2^32): leave it in peace */
		}
	}
	chosen = choose(p, &row, &id, &track, v6);
	if (chosen != CHOSEN)
		return chosen;
	live = READ_ONCE(row->live);
	entered = track && remember(p, &f, id, v6);
out:
	count_destination(id, p->length, entered);
	return forward(eth, live, v6);
}

/* From the IP header on. `length` is what the verdict is charged with. */
static __always_inline enum verdict receive(struct xdp_md *ctx, struct ethhdr *eth, void *end, __u32 *length, const bool v6)
{
	struct packet p = {};
	enum step step = parse(&p, eth, end, v6);

	if (unlikely(step == STEP_FOREIGN))
		return PASS_NOT_IP;
	*length = p.length;
	if (!may_be_vip(&p, v6))
		return PASS_NOT_A_VIP;
	if (likely(step == STEP_BALANCE))
		return balance(eth, &p, v6);
	if (step == STEP_MALFORMED)
		return find_service(&p, vip_l4(v6), v6) ? DROP_MALFORMED : PASS_NOT_A_VIP;
	bpf_tail_call(ctx, &tails, TAIL_RARE);
	return DROP_TAIL_CALL;
}

SEC("xdp")
int balancer(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	enum verdict verdict;
	__u32 length = 0;

	if (unlikely((void *)(eth + 1) > end))
		return finish(PASS_NOT_IP, 0);
	verdict = accept_frame(ctx, eth);
	if (unlikely(verdict != ACCEPTED))
		return finish(verdict, 0);
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		verdict = receive(ctx, eth, end, &length, false);
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		verdict = receive(ctx, eth, end, &length, true);
	else
		verdict = PASS_NOT_IP;
	return finish(verdict, length);
}

/* What a VIP does with an IPv4 packet that is not plain TCP or UDP. */
static __always_inline enum verdict rare_ipv4(struct ethhdr *eth, const struct packet *p, void *end)
{
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > end)
		return DROP_MALFORMED;
	if (ip->frag_off & bpf_htons(0x3fff))
		return DROP_FRAGMENT;
	if (ip->ihl != 5)
		return ip->ihl < 5 ? DROP_MALFORMED : DROP_IP_OPTIONS;
	return p->protocol == IPPROTO_ICMP ? echo_ipv4(eth, ip, end) : DROP_UNSUPPORTED_PROTOCOL;
}

/* Likewise; the numbers are the extension headers of RFC 8200 section 4 and of RFC 4302, 6275, 7401 and 5533. */
static __always_inline enum verdict rare_ipv6(struct ethhdr *eth, const struct packet *p, void *end)
{
	struct ipv6hdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > end)
		return DROP_MALFORMED;
	switch (p->protocol) {
	case IPPROTO_ICMPV6:
		return echo_ipv6(eth, ip, end);
	case IPPROTO_FRAGMENT:
		return DROP_FRAGMENT;
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_AH:
	case IPPROTO_MH:
	case 139:
	case 140:
		return DROP_EXTENSION_HEADER;
	default:
		return DROP_UNSUPPORTED_PROTOCOL;
	}
}

static __always_inline enum verdict receive_rare(struct ethhdr *eth, void *end, __u32 *length, const bool v6)
{
	struct packet p = {};

	if (parse(&p, eth, end, v6) == STEP_FOREIGN)
		return PASS_NOT_IP;
	*length = p.length;
	if (!find_service(&p, vip_l4(v6), v6))
		return PASS_NOT_A_VIP;
	return v6 ? rare_ipv6(eth, &p, end) : rare_ipv4(eth, &p, end);
}

SEC("xdp")
int rare(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	enum verdict verdict;
	__u32 length = 0;

	if ((void *)(eth + 1) > end)
		return finish(PASS_NOT_IP, 0);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		verdict = receive_rare(eth, end, &length, true);
	else
		verdict = receive_rare(eth, end, &length, false);
	return finish(verdict, length);
}

char _license[] SEC("license") = "Dual BSD/GPL";
