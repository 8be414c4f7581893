/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Ping: the balancer answers for its VIPs (RFC 792, RFC 4443 section 4), at a bounded rate.
 */
#ifndef FAIRLEAD_ICMP_H
#define FAIRLEAD_ICMP_H

#include "account.h"
#include "config.h"
#include "csum.h"
#include "maps.h"
#include "parse.h"

#define REPLY_TTL 64
#define ICMP_ECHO_REQUEST 8
#define ICMP_ECHO_REPLY 0
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129

struct echo {
	__u8 type;
	__u8 code;
	__sum16 check;
	__be32 id_and_sequence;
};

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 was[ETH_ALEN];

	__builtin_memcpy(was, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, was, ETH_ALEN);
}

/* Turns a request into a reply in place, and says what else it may be. Type is the high byte of its checksummed word. */
static __always_inline enum verdict turn_echo(struct echo *echo, void *end, __u8 request, __u8 reply)
{
	if ((void *)(echo + 1) > end)
		return DROP_MALFORMED;
	if (echo->type != request || echo->code != 0)
		return DROP_UNSUPPORTED_ICMP;
	if (!within_limit(LIMIT_ECHO, options.echo_limit))
		return DROP_RATE_LIMITED;
	echo->check = csum_replace(echo->check, bpf_htons(request << 8), bpf_htons(reply << 8));
	echo->type = reply;
	return TX_ECHO_REPLY;
}

static __always_inline enum verdict echo_ipv4(struct ethhdr *eth, struct iphdr *ip, void *end)
{
	enum verdict verdict = turn_echo((void *)(ip + 1), end, ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY);
	__be32 client = ip->saddr;

	if (verdict != TX_ECHO_REPLY)
		return verdict;
	ip->saddr = ip->daddr;
	ip->daddr = client;
	ip->check = csum_replace(ip->check, bpf_htons(ip->ttl << 8 | IPPROTO_ICMP), bpf_htons(REPLY_TTL << 8 | IPPROTO_ICMP));
	ip->ttl = REPLY_TTL;
	swap_macs(eth);
	return verdict;
}

/* The swapped addresses leave the pseudo-header's sum as it was, as they do the IPv4 header's. */
static __always_inline enum verdict echo_ipv6(struct ethhdr *eth, struct ipv6hdr *ip, void *end)
{
	enum verdict verdict = turn_echo((void *)(ip + 1), end, ICMP6_ECHO_REQUEST, ICMP6_ECHO_REPLY);
	struct in6_addr client = ip->saddr;

	if (verdict != TX_ECHO_REPLY)
		return verdict;
	ip->saddr = ip->daddr;
	ip->daddr = client;
	ip->hop_limit = REPLY_TTL;
	swap_macs(eth);
	return verdict;
}

#endif
