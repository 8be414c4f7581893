/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * 802.1Q for kernels without it: the lab's VLAN devices and switch ports, at tc. Interface numbers say everything, so there are no maps:
 *
 *   host    a trunk has the number TRUNK. VLAN n is a veth pair; the end inside the host has addresses and routes, the other has the
 *           number TRUNK + n. What comes in on the trunk with tag n goes out there, and what comes in there leaves by the trunk.
 *   switch  an access port of VLAN n has a number from PORTS * n on: frames get the tag as they enter the switch and lose it
 *           as they leave. Frames of other VLANs do not leave. Ports without these programs are trunks.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TRUNK 1000
#define PORTS 100
#define VLAN_ID 0x0fff

SEC("tc/trunk_in")
int trunk_in(struct __sk_buff *skb)
{
	__u32 id = skb->vlan_tci & VLAN_ID;

	if (!skb->vlan_present)
		return TC_ACT_OK;
	return bpf_skb_vlan_pop(skb) ? TC_ACT_SHOT : bpf_redirect(TRUNK + id, 0);
}

SEC("tc/trunk_out")
int trunk_out(struct __sk_buff *skb)
{
	return bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), skb->ifindex - TRUNK) ? TC_ACT_SHOT : bpf_redirect(TRUNK, 0);
}

SEC("tc/access_in")
int access_in(struct __sk_buff *skb)
{
	return bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), skb->ifindex / PORTS) ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("tc/access_out")
int access_out(struct __sk_buff *skb)
{
	if (!skb->vlan_present || (skb->vlan_tci & VLAN_ID) != skb->ifindex / PORTS)
		return TC_ACT_SHOT;
	return bpf_skb_vlan_pop(skb) ? TC_ACT_SHOT : TC_ACT_OK;
}

char licence_of_program[] SEC("license") = "Dual BSD/GPL";
