/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From bytes to `struct packet`. Only what every packet needs stands here; whatever is rare (ICMP, fragments, options, extension
 * headers, other protocols) is recognised and left to the programs behind the tail call: see rare.h.
 *
 * Lengths are taken from the IP header, never from the frame: Ethernet padding is neither counted nor a reason to drop.
 */
#ifndef FAIRLEAD_PARSE_H
#define FAIRLEAD_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "abi.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))

/* Keeps the compiler from inferring one check from another, or from turning arithmetic into jumps: the verifier follows neither. */
#define OPAQUE(x) asm volatile("" : "+r"(x))

#define VLAN_ID 0x0fff
#define VLAN_LENGTH 4

/* Two 32-bit halves, loaded as they lie in the frame: packets are not aligned to eight bytes. */
static __always_inline __u64 load64(const __be32 *words)
{
	return (__u64)words[0] | (__u64)words[1] << 32;
}

#define MAPPED_HIGH_HALF 0
#define MAPPED_LOW_HALF(v4) (0xffff0000ULL | (__u64)(v4) << 32)

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct vlan_header {
	__be16 tci;
	__be16 type;
};

/* The Ethernet header, and the one 802.1Q tag there may be. */
struct frame {
	__be16 type; /* of what comes behind it */
	__be16 tci; /* of the tag, 0 without one */
	__u32 length; /* 14 or 18: where the IP header begins */
};

/* How far a packet has got: a verdict that ends it, or one of these. */
enum step {
	STEP_BALANCE, /* TCP or UDP with its whole header */
	STEP_RARE, /* something else that may be for a VIP */
	STEP_MALFORMED, /* lengths that contradict each other; dropped if it is for a VIP */
	STEP_FOREIGN, /* no whole IP header of the version that the frame's type says */
};

struct packet {
	/* Addresses as two halves. An IPv4 address is the low half's value itself (not yet mapped): the hot path compares 32 bits. */
	__u64 saddr[2];
	__u64 daddr[2];
	__u32 ports; /* sport | dport << 16, as on the wire */
	__u32 l4; /* the service's l4: dport | protocol << 16 | family << 24 */
	__u32 length; /* IP packet, bytes */
	__u32 l2; /* where the IP header begins */
	__u16 entropy; /* of the flow, for outer UDP ports and flow labels */
	__be16 tci; /* of the frame's tag, 0 without one */
	__u32 bond; /* of the ingress interface, 0: none */
	__u8 protocol;
	__u8 tcp_flags;
};

/* Where the IP header begins, 14 or 18, in a form that the verifier knows to be small even after a call that might have changed it. */
static __always_inline __u32 l3_at(const struct packet *p)
{
	return p->l2 & 31;
}

/* False if there is no whole Ethernet header. A second tag (802.1ad, or 802.1Q twice) makes the frame not IP: the kernel's affair. */
static __always_inline bool parse_frame(struct frame *f, void *data, void *end)
{
	struct ethhdr *eth = data;
	struct vlan_header *vlan = (void *)(eth + 1);

	if (unlikely((void *)(vlan + 1) > end))
		return false;
	f->type = *(__be16 *)((void *)eth + 2 * ETH_ALEN);
	f->length = sizeof(*eth);
	f->tci = 0;
	if (f->type == bpf_htons(ETH_P_8021Q)) {
		f->type = vlan->type;
		f->tci = vlan->tci;
		f->length = sizeof(*eth) + VLAN_LENGTH;
	}
	return true;
}

/* Ports and flags of the TCP or UDP header at `l4`, of which the IP header says that `room` bytes belong to the packet. */
static __always_inline enum step parse_l4(struct packet *p, void *l4, void *end, __u32 room, __u32 family)
{
	OPAQUE(l4);
	if (p->protocol == IPPROTO_TCP) {
		if (room < 20 || l4 + 20 > end)
			return STEP_MALFORMED;
		p->tcp_flags = ((__u8 *)l4)[13];
	} else {
		if (room < 8 || l4 + 8 > end)
			return STEP_MALFORMED;
		p->tcp_flags = 0;
	}
	p->ports = *(__u32 *)l4;
	p->l4 = p->ports >> 16 | (__u32)p->protocol << 16 | family << 24;
	return STEP_BALANCE;
}

static __always_inline enum step parse_ipv4(struct packet *p, struct iphdr *ip, void *end)
{
	if (unlikely((void *)(ip + 1) > end || ip->version != 4))
		return STEP_FOREIGN;
	p->saddr[1] = ip->saddr;
	p->daddr[1] = ip->daddr;
	p->length = bpf_ntohs(ip->tot_len);
	p->protocol = ip->protocol;
	if (unlikely(*(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(0x3fff)))
		return STEP_RARE;
	if (unlikely(p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP))
		return STEP_RARE;
	if (unlikely(p->length < sizeof(*ip) || (void *)ip + p->length > end))
		return STEP_MALFORMED;
	return parse_l4(p, ip + 1, end, p->length - sizeof(*ip), 4);
}

static __always_inline enum step parse_ipv6(struct packet *p, struct ipv6hdr *ip, void *end)
{
	__u32 payload;

	if (unlikely((void *)(ip + 1) > end || ip->version != 6))
		return STEP_FOREIGN;
	payload = bpf_ntohs(ip->payload_len);
	p->saddr[0] = load64(ip->saddr.in6_u.u6_addr32);
	p->saddr[1] = load64(ip->saddr.in6_u.u6_addr32 + 2);
	p->daddr[0] = load64(ip->daddr.in6_u.u6_addr32);
	p->daddr[1] = load64(ip->daddr.in6_u.u6_addr32 + 2);
	p->length = payload + sizeof(*ip);
	p->protocol = ip->nexthdr;
	if (unlikely(p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP))
		return STEP_RARE;
	if (unlikely((void *)ip + p->length > end))
		return STEP_MALFORMED;
	return parse_l4(p, ip + 1, end, payload, 6);
}

static __always_inline enum step parse(struct packet *p, const struct frame *f, void *data, void *end, const bool v6)
{
	void *l3 = data + f->length;

	p->l2 = f->length;
	p->tci = f->tci;
	return v6 ? parse_ipv6(p, l3, end) : parse_ipv4(p, l3, end);
}

#endif
