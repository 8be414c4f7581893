/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Health probes, at tc egress. A socket marked with `probe_mark | destination id` talks to the VIP; here its packets get what the very
 * next-hop row gives clients' packets to that destination: MACs, tag, outer header, interface. So a probe succeeds exactly where traffic
 * would.
 *
 * A probe that cannot be sent so is dropped, never leaked: by the main route it would reach some backend, and report on the wrong one.
 * The kernel resets half-open probes as well as we do, for it knows of no such connection; its reset carries no mark, and the main route
 * would lead it to some backend, perhaps through a balancer that would remember it as a flow. It is dropped.
 *
 * Every other packet goes on to whatever other tc programs there are (TC_ACT_UNSPEC is TCX_NEXT, too).
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "config.h"
#include "encap.h"
#include "maps.h"
#include "parse.h"
#include "rewrite.h"
#include "select.h"

#define MARK_MASK (~((1U << DESTINATION_ID_BITS) - 1))

/* The next hop of a live destination whose VIP is the address that the probe goes to. */
static __always_inline struct nexthop *probe_hop(__u32 id, __u64 high, __u64 low, __u64 *live)
{
	struct destination *row = bpf_map_lookup_elem(&destinations, &id);

	if (!row || *(__u64 *)row->vip != high || *(__u64 *)(row->vip + 8) != low)
		return NULL;
	*live = READ_ONCE(row->live);
	return next_hop(*live);
}

/*
 * The outer header. The socket's checksum may still be partial, to be completed by the interface; the outer UDP checksum is right all the
 * same, because it follows from the inner packet's headers alone (encap.h).
 */
static __always_inline bool encapsulate(struct __sk_buff *skb, const struct packet *p, const struct nexthop *hop, const bool v6,
					const bool outer6)
{
	struct inner in = {.length = p->length, .entropy = p->entropy};
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | (outer6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4);
	void *l3 = (void *)(long)skb->data + sizeof(struct ethhdr);

	if (l3 + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) > (void *)(long)skb->data_end)
		return false;
	in.tos = inner_tos(l3, v6);
	/* ICMP sums up to zero without a pseudo-header */
	in.sum = v6 ? inner_sum_ipv6(p, l3) : p->protocol == IPPROTO_ICMP ? 0 : inner_sum_ipv4(p);
	if (bpf_skb_adjust_room(skb, hop->outer_length, BPF_ADJ_ROOM_MAC, flags))
		return false;
	if (bpf_skb_pull_data(skb, sizeof(struct ethhdr) + OUTER_MOST(outer6)))
		return false;
	l3 = (void *)(long)skb->data + sizeof(struct ethhdr);
	if (l3 + OUTER_MOST(outer6) > (void *)(long)skb->data_end)
		return false;
	write_outer(l3, hop, &in, v6, outer6);
	*(__be16 *)(l3 - 2) = outer6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	return true;
}

/* Tag and interface; the mark goes, because the other interface's egress would take the packet for a probe again. */
static __always_inline int leave_by(struct __sk_buff *skb, const struct nexthop *hop)
{
	void *data = (void *)(long)skb->data;

	if (data + sizeof(struct ethhdr) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	rewrite_macs(data, hop);
	if (hop->vlan && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), hop->vlan))
		return TC_ACT_SHOT;
	if (hop->ifindex == skb->ifindex)
		return TC_ACT_UNSPEC;
	skb->mark = 0;
	return bpf_redirect(hop->ifindex, 0);
}

static __always_inline int send(struct __sk_buff *skb, const bool v6)
{
	struct frame f = {.length = sizeof(struct ethhdr)};
	struct packet p = {};
	struct nexthop *hop;
	__u64 live = 0;
	void *data, *end;

	if (bpf_skb_pull_data(skb, sizeof(struct ethhdr) + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + UDP_LENGTH))
		return TC_ACT_SHOT;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (parse(&p, &f, data, end, v6) == STEP_FOREIGN)
		return TC_ACT_SHOT;
	p.entropy = p.ports & ~ENTROPY_PORT;
	hop = probe_hop(skb->mark & ~MARK_MASK, v6 ? p.daddr[0] : MAPPED_HIGH_HALF, v6 ? p.daddr[1] : MAPPED_LOW_HALF(p.daddr[1]),
			&live);
	if (!hop || !rewrite_ttl(data + sizeof(struct ethhdr), live, v6))
		return TC_ACT_SHOT;
	if (hop->outer_length) {
		if (hop->flags & NEXTHOP_OUTER_IPV6) {
			if (!encapsulate(skb, &p, hop, v6, true))
				return TC_ACT_SHOT;
		} else if (!encapsulate(skb, &p, hop, v6, false)) {
			return TC_ACT_SHOT;
		}
	}
	return leave_by(skb, hop);
}

/* The TCP header behind an IP header without options, and where it goes to; NULL for everything else. */
static __always_inline const __u8 *plain_tcp(struct packet *p, void *l3, void *end, const bool v6)
{
	struct ipv6hdr *ip6 = l3;
	struct iphdr *ip = l3;
	void *tcp = l3 + (v6 ? sizeof(*ip6) : sizeof(*ip));

	if (tcp + 20 > end)
		return NULL;
	if (v6) {
		p->daddr[0] = load64(ip6->daddr.in6_u.u6_addr32);
		p->daddr[1] = load64(ip6->daddr.in6_u.u6_addr32 + 2);
		return ip6->version == 6 && ip6->nexthdr == IPPROTO_TCP ? tcp : NULL;
	}
	p->daddr[1] = ip->daddr;
	return *(__u8 *)ip == 0x45 && ip->protocol == IPPROTO_TCP && !(ip->frag_off & bpf_htons(0x3fff)) ? tcp : NULL;
}

/* The kernel's own reset for a half-open probe: from this machine, from a port of ours, to a VIP. */
static __always_inline bool is_stray_reset(struct __sk_buff *skb, const bool v6)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct packet p = {};
	const __u8 *tcp;

	if (skb->ingress_ifindex || data + sizeof(struct ethhdr) > end)
		return false;
	tcp = plain_tcp(&p, data + sizeof(struct ethhdr), end, v6);
	if (!tcp || !(tcp[13] & TCP_RST) || bpf_ntohs(*(const __be16 *)tcp) - PROBE_PORT_FIRST >= (__u32)PROBE_PORTS)
		return false;
	return may_be_vip(&p, v6) && find_service(&p, vip_l4(v6), v6);
}

static __always_inline int send_other(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return is_stray_reset(skb, false) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return is_stray_reset(skb, true) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	return TC_ACT_UNSPEC;
}

SEC("tc")
int probe(struct __sk_buff *skb)
{
	if ((skb->mark & MARK_MASK) != options.probe_mark)
		return send_other(skb);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return send(skb, false);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return send(skb, true);
	return TC_ACT_SHOT; /* ARP for the placeholder next hop: it stands for no host */
}

char _license[] SEC("license") = "Dual BSD/GPL";
