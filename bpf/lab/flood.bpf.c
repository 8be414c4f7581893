/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A packet generator: run by BPF_PROG_TEST_RUN with live frames, each of which gets a source of its own and leaves by the interface
 * whose number stands in the IPv4 identification. The IPv4 checksum is not kept up, on purpose: what is forwarded ends at the
 * backend's IP layer, so that the balancer is flooded and not the servers. Frames come back as they were left by who had them last:
 * all that a balancer writes is written anew, the destination's MAC from a copy behind the packet.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define POOL 0xc6130000 /* 198.19.0.0/16 */
#define FIRST_PORT 1024
#define PACKET_LENGTH 40

__u64 sent;

SEC("xdp")
int flood(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = (void *)(long)ctx->data + ETH_HLEN;
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *mac = (void *)ip + PACKET_LENGTH;
	__be16 *port = (void *)(ip + 1);
	__u64 number = __sync_fetch_and_add(&sent, 1);

	if (mac + ETH_ALEN > end)
		return XDP_ABORTED;
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
	ip->ttl = 64;
	ip->saddr = bpf_htonl(POOL | (number & 0xffff));
	*port = bpf_htons(FIRST_PORT + (number >> 16) % 60000);
	return bpf_redirect(bpf_ntohs(ip->id), 0);
}

char licence_of_program[] SEC("license") = "Dual BSD/GPL";
