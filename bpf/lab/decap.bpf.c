/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The backend's end of every tunnel, at tc ingress: IPIP, GRE, FOU and GUE over IPv4 and IPv6, with IPv4 or IPv6 inside. Kernels that
 * have the tunnel devices need none of this; the lab runs on those that have not. It is strict about what a kernel's receiver
 * would be strict about, so that a wrong outer header is a lost packet.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FOU_PORT_IPV4                                                                                                            \
	5555 /* FOU does not say what is inside: a port for each family, as `ip fou add port N ipproto 4` makes them */
#define FOU_PORT_IPV6 5556
#define GUE_PORT 6080 /* IANA: gue */
#define GRE_LENGTH 4
#define GUE_LENGTH 4
#define DECAP_L3_IPV4 (1ULL << 7) /* BPF_F_ADJ_ROOM_DECAP_L3_IPV4 and _IPV6 of kernel 6.3: older headers lack them */
#define DECAP_L3_IPV6 (1ULL << 8)

/* IP protocol of what is inside a UDP header at `at`, 0 if it is no tunnel of ours; `*length` grows by what is in front of it. */
static __always_inline __u32 inside_udp(void *at, void *end, __u32 *length)
{
	struct udphdr *udp = at;
	__u8 *gue = at + sizeof(*udp);

	if ((void *)(gue + GUE_LENGTH) > end)
		return 0;
	*length += sizeof(*udp);
	switch (bpf_ntohs(udp->dest)) {
	case FOU_PORT_IPV4:
		return IPPROTO_IPIP;
	case FOU_PORT_IPV6:
		return IPPROTO_IPV6;
	case GUE_PORT:
		*length += GUE_LENGTH;
		return gue[0] || gue[2] || gue[3] ? 0 : gue[1]; /* variant 0, data, no options, no flags */
	}
	return 0;
}

static __always_inline __u32 inside_gre(__be16 *gre, void *end, __u32 *length)
{
	if ((void *)(gre + 2) > end || gre[0])
		return 0;
	*length += GRE_LENGTH;
	return gre[1] == bpf_htons(ETH_P_IP) ? IPPROTO_IPIP : gre[1] == bpf_htons(ETH_P_IPV6) ? IPPROTO_IPV6 : 0;
}

static __always_inline __u32 inside(__u32 protocol, void *at, void *end, __u32 *length)
{
	switch (protocol) {
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
		return protocol;
	case IPPROTO_GRE:
		return inside_gre(at, end, length);
	case IPPROTO_UDP:
		return inside_udp(at, end, length);
	}
	return 0;
}

/* The length of the outer headers, 0 if there are none; `*inner` becomes the IP protocol of what they carry. */
static __always_inline __u32 outer(void *l3, void *end, __be16 type, __u32 *inner)
{
	struct ipv6hdr *ip6 = l3;
	struct iphdr *ip4 = l3;
	__u32 length;

	if (type == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip4 + 1) > end || ip4->ihl != 5 || ip4->frag_off & bpf_htons(0x3fff))
			return 0;
		length = sizeof(*ip4);
		*inner = inside(ip4->protocol, ip4 + 1, end, &length);
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end)
			return 0;
		length = sizeof(*ip6);
		*inner = inside(ip6->nexthdr, ip6 + 1, end, &length);
	} else {
		return 0;
	}
	return *inner ? length : 0;
}

SEC("tc")
int decap(struct __sk_buff *skb)
{
	__u32 length, inner = 0;
	__u8 *version;

	bpf_skb_pull_data(skb, ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct udphdr) + GUE_LENGTH + 1);
	length = outer((void *)(long)skb->data + ETH_HLEN, (void *)(long)skb->data_end, skb->protocol, &inner);
	if (!length || length > 64)
		return TC_ACT_OK;
	version = (void *)(long)skb->data + ETH_HLEN + length;
	if ((void *)(version + 1) > (void *)(long)skb->data_end)
		return TC_ACT_OK;
	if (*version >> 4 != (inner == IPPROTO_IPIP ? 4 : 6))
		return TC_ACT_SHOT;
	if (bpf_skb_adjust_room(skb, -(__s32)length, BPF_ADJ_ROOM_MAC, inner == IPPROTO_IPIP ? DECAP_L3_IPV4 : DECAP_L3_IPV6))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

char licence_of_program[] SEC("license") = "Dual BSD/GPL";
