/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Health probes, at tc egress. A socket marked with `probe_mark | destination id` talks to the VIP; here its packets get the header of
 * the very next-hop row that clients' packets to that destination get, so that a probe succeeds exactly where traffic would.
 *
 * A probe that cannot be sent so is dropped, never leaked: by the main route it would reach some backend, and report on the wrong one.
 * Every other packet goes on to whatever other tc programs there are (TC_ACT_UNSPEC is TCX_NEXT, too).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "config.h"
#include "forward.h"
#include "maps.h"

#define MARK_MASK (~((1U << DESTINATION_ID_BITS) - 1))

/* The next hop of a live destination whose VIP is the address that the probe goes to. */
static __always_inline struct nexthop *probe_hop(__u32 id, __u64 high, __u64 low, __u64 *live)
{
	struct destination *row = bpf_map_lookup_elem(&destinations, &id);
	__u32 index;

	if (!row || *(__u64 *)row->vip != high || *(__u64 *)(row->vip + 8) != low)
		return NULL;
	*live = READ_ONCE(row->live);
	index = *live & ((1 << DESTINATION_NEXTHOP_BITS) - 1);
	return index ? bpf_map_lookup_elem(&nexthops, &index) : NULL;
}

static __always_inline int send(struct __sk_buff *skb, struct ethhdr *eth, __u64 high, __u64 low, const bool v6)
{
	__u64 live = 0;
	struct nexthop *hop = probe_hop(skb->mark & ~MARK_MASK, high, low, &live);

	if (!hop || hop->ifindex != skb->ifindex || !rewrite_ttl(eth + 1, live, v6))
		return TC_ACT_SHOT;
	rewrite_macs(eth, hop);
	return TC_ACT_UNSPEC;
}

static __always_inline int send_ipv4(struct __sk_buff *skb)
{
	struct ethhdr *eth;
	struct iphdr *ip;

	if (bpf_skb_pull_data(skb, sizeof(*eth) + sizeof(*ip)))
		return TC_ACT_SHOT;
	eth = (void *)(long)skb->data;
	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	return send(skb, eth, MAPPED_HIGH_HALF, MAPPED_LOW_HALF(ip->daddr), false);
}

static __always_inline int send_ipv6(struct __sk_buff *skb)
{
	struct ethhdr *eth;
	struct ipv6hdr *ip;

	if (bpf_skb_pull_data(skb, sizeof(*eth) + sizeof(*ip)))
		return TC_ACT_SHOT;
	eth = (void *)(long)skb->data;
	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	return send(skb, eth, load64(ip->daddr.in6_u.u6_addr32), load64(ip->daddr.in6_u.u6_addr32 + 2), true);
}

SEC("tc")
int probe(struct __sk_buff *skb)
{
	if ((skb->mark & MARK_MASK) != options.probe_mark)
		return TC_ACT_UNSPEC;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return send_ipv4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return send_ipv6(skb);
	return TC_ACT_SHOT; /* ARP for the placeholder next hop: it stands for no host */
}

char _license[] SEC("license") = "Dual BSD/GPL";
