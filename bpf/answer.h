/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Answers made of the packet itself: ICMP errors (RFC 792, 1191, 4443, 8201) and RST (RFC 9293 section 3.5.2). All leave the way the
 * packet came, from the VIP, with MACs and addresses exchanged and the frame's tag as it was.
 */
#ifndef FAIRLEAD_ANSWER_H
#define FAIRLEAD_ANSWER_H

#include "csum.h"
#include "icmp.h"
#include "parse.h"

/* An ICMP error carries as much of the packet as fits these (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 (c)). */
#define ERROR_MOST_IPV4 576
#define ERROR_MOST_IPV6 1280

/* Cut the frame to the Ethernet header and `keep` bytes of packet, and make room for `front` bytes before the packet. */
static __always_inline bool reshape(struct xdp_md *ctx, const struct packet *p, __u32 keep, __u32 front)
{
	__u32 now = (long)ctx->data_end - (long)ctx->data, then = l3_at(p) + keep;

	if (now < then)
		return false;
	if (bpf_xdp_adjust_tail(ctx, (int)then - (int)now))
		return false;
	return !front || !bpf_xdp_adjust_head(ctx, -(int)front);
}

/* The Ethernet header that stands `front` bytes further in goes to the beginning, with the MACs exchanged. */
static __always_inline bool return_ethernet(void *data, void *end, __u32 front, __u32 l2)
{
	__u8 *from = data + front, *to = data;

	if ((void *)from + sizeof(struct ethhdr) + VLAN_LENGTH > end)
		return false;
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, from, ETH_ALEN);
	__builtin_memcpy(to, from + ETH_ALEN, ETH_ALEN);
	__builtin_memmove(to + 2 * ETH_ALEN, from + 2 * ETH_ALEN, 2);
	if (l2 > sizeof(struct ethhdr))
		__builtin_memmove(to + sizeof(struct ethhdr), from + sizeof(struct ethhdr), VLAN_LENGTH);
	__builtin_memcpy(to + ETH_ALEN, mac, ETH_ALEN);
	return true;
}

static __always_inline void answer_header_ipv4(struct iphdr *ip, const struct packet *p, __u32 length, __u8 protocol)
{
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = 0;
	ip->tot_len = bpf_htons(length);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = REPLY_TTL;
	ip->protocol = protocol;
	ip->check = 0;
	ip->saddr = p->daddr[1];
	ip->daddr = p->saddr[1];
	ip->check = ~csum_fold(csum_words(ip, sizeof(*ip)));
}

static __always_inline void store64(__be32 *words, __u64 half)
{
	words[0] = half;
	words[1] = half >> 32;
}

static __always_inline void answer_header_ipv6(struct ipv6hdr *ip, const struct packet *p, __u32 payload, __u8 protocol)
{
	*(__be32 *)ip = bpf_htonl(6U << 28);
	ip->payload_len = bpf_htons(payload);
	ip->nexthdr = protocol;
	ip->hop_limit = REPLY_TTL;
	store64(ip->saddr.in6_u.u6_addr32, p->daddr[0]);
	store64(ip->saddr.in6_u.u6_addr32 + 2, p->daddr[1]);
	store64(ip->daddr.in6_u.u6_addr32, p->saddr[0]);
	store64(ip->daddr.in6_u.u6_addr32 + 2, p->saddr[1]);
}

/* The sum of the pseudo-header of an answer: the same two addresses, whichever way round. */
static __always_inline __u32 pseudo_sum(const struct packet *p, __u32 length, __u8 protocol, const bool v6)
{
	__u32 sum = bpf_htons(length) + bpf_htons(protocol);

	if (v6)
		return sum + csum_u64(p->saddr[0]) + csum_u64(p->saddr[1]) + csum_u64(p->daddr[0]) + csum_u64(p->daddr[1]);
	return sum + csum_u64((__u32)p->saddr[1]) + csum_u64((__u32)p->daddr[1]);
}

/*
 * An ICMP error about the packet, which is the first of its fragments if any; `rest` is the header's second word. False: the frame could
 * not be changed.
 */
static __always_inline bool icmp_error(struct xdp_md *ctx, const struct packet *p, __u8 type, __u8 code, __be32 rest,
				       const bool v6)
{
	const __u32 ip_length = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr),
		    front = ip_length + sizeof(struct icmp_header), most = (v6 ? ERROR_MOST_IPV6 : ERROR_MOST_IPV4) - front;
	__u32 quoted = p->length < most ? p->length : most;
	struct icmp_header *icmp;
	void *data, *end;
	__s64 sum;

	if (!reshape(ctx, p, quoted, front))
		return false;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (!return_ethernet(data, end, front, l3_at(p)))
		return false;
	data += l3_at(p);
	if (data + front > end)
		return false;
	icmp = data + ip_length;
	icmp->type = type;
	icmp->code = code;
	icmp->check = 0;
	icmp->rest = rest;
	sum = csum_packet(ctx, l3_at(p) + ip_length, sizeof(*icmp) + quoted);
	if (sum < 0)
		return false;
	if (v6)
		sum += pseudo_sum(p, sizeof(*icmp) + quoted, IPPROTO_ICMPV6, true);
	icmp->check = ~csum_fold(sum);
	if (v6)
		answer_header_ipv6(data, p, sizeof(*icmp) + quoted, IPPROTO_ICMPV6);
	else
		answer_header_ipv4(data, p, front + quoted, IPPROTO_ICMP);
	return true;
}

struct tcp_header {
	__be16 source;
	__be16 dest;
	__be32 seq;
	__be32 ack;
	__u8 offset; /* in words, in the upper half */
	__u8 flags;
	__be16 window;
	__sum16 check;
	__be16 urgent;
};

/* The RST that a host without the connection sends: it takes its number from an ACK, else it acknowledges all that came. */
static __always_inline struct tcp_header reset_for(const struct tcp_header *t, __u32 segment)
{
	struct tcp_header rst = {.source = t->dest, .dest = t->source, .offset = 5 << 4, .flags = TCP_RST};

	if (t->flags & TCP_ACK) {
		rst.seq = t->ack;
		return rst;
	}
	segment += !!(t->flags & TCP_SYN) + !!(t->flags & TCP_FIN);
	rst.flags = TCP_RST | TCP_ACK;
	rst.ack = bpf_htonl(bpf_ntohl(t->seq) + segment);
	return rst;
}

static __always_inline bool tcp_reset(struct xdp_md *ctx, const struct packet *p, const struct rest *r, const bool v6)
{
	const __u32 ip_length = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tcp_header *t = data + l4_at(r), rst;
	__u32 room = p->length + l3_at(p) - r->l4, header;

	if ((void *)(t + 1) > end)
		return false;
	header = (t->offset >> 4) * 4;
	if (header < sizeof(*t) || header > room)
		return false;
	rst = reset_for(t, room - header);
	if (!reshape(ctx, p, ip_length + sizeof(rst), 0))
		return false;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (!return_ethernet(data, end, 0, l3_at(p)))
		return false;
	data += l3_at(p);
	if (data + ip_length + sizeof(rst) > end)
		return false;
	rst.check = ~csum_fold(csum_words(&rst, sizeof(rst)) + pseudo_sum(p, sizeof(rst), IPPROTO_TCP, v6));
	if (v6)
		answer_header_ipv6(data, p, sizeof(rst), IPPROTO_TCP);
	else
		answer_header_ipv4(data, p, ip_length + sizeof(rst), IPPROTO_TCP);
	__builtin_memcpy(data + ip_length, &rst, sizeof(rst));
	return true;
}

#endif
