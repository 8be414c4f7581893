/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The hashes. Each has a twin in src/fairlead/core/hashes.py, and tests/bpf holds them equal: the daemon must find the same bit and the
 * same place, and every instance of a cluster the same slot. Words are loaded as they lie in memory (little-endian hosts).
 *
 * The tuple hash is a keyed xor-multiply-shift chain, 64 bits wide: 2-4 ns. It needs no cryptographic strength, because a bucket is
 * bounded: whoever could aim flows at one bucket fills eight ways and evicts no confirmed flow. A 128-bit multiply would mix better and
 * does not compile for BPF. The four halves of two IPv6 addresses are multiplied side by side, not one after the other: a chain of five
 * multiplications costs 8 ns more, and their sum is folded and multiplied again anyway. They are turned to big-endian for it: what
 * tells hosts and subnets apart is in the last bytes of a half, and a product carries upwards only. As they lie in memory two hosts
 * would differ in eight bits of the sum, and every 256th pair of flows would be one.
 */
#ifndef FAIRLEAD_HASH_H
#define FAIRLEAD_HASH_H

#include <linux/types.h>
#include <stdbool.h>

#include "abi.h"
#include "parse.h"

#define GOLDEN 0x9E3779B97F4A7C15ULL

/* Which bit of the VIP bitmap an address has. */
static __always_inline __u32 vip_bit(const struct packet *p, const bool v6)
{
	if (v6)
		return ((p->daddr[0] ^ (p->daddr[1] * GOLDEN)) * 0xD6E8FEB86659FD93ULL) >> 48;
	return ((__u32)p->daddr[1] * 0x9E3779B1U) >> 16;
}

static __always_inline __u64 mix(__u64 h, __u64 x, __u64 key)
{
	h = (h ^ x) * key;
	return h ^ (h >> 32);
}

/* `words` carries what is hashed of the ports: sport | dport << 16 | protocol << 32. */
static __always_inline __u64 tuple_hash(const struct packet *p, const volatile __u64 *key, __u64 words, const bool v6)
{
	__u64 h;

	if (v6) {
		h = __builtin_bswap64(p->saddr[0]) * key[0] + __builtin_bswap64(p->saddr[1]) * key[1] +
		    __builtin_bswap64(p->daddr[0]) * key[2] + __builtin_bswap64(p->daddr[1]) * key[3];
		h ^= h >> 32;
	} else {
		h = mix(key[3], (__u32)p->saddr[1] | p->daddr[1] << 32, key[0]);
	}
	return mix(h, words, key[1]);
}

/* The two places of a key in the services table. Addresses are the two halves of the 16-byte form. */
static __always_inline void service_places(__u64 high, __u64 low, __u32 l4, __u32 mask, __u32 *first, __u32 *second)
{
	__u64 h = high * GOLDEN;

	h ^= h >> 32;
	h = (h ^ low) * 0xC2B2AE3D27D4EB4FULL;
	h ^= h >> 32;
	h = (h ^ l4) * 0x165667B19E3779F9ULL;
	h ^= h >> 29;
	*first = h & mask;
	*second = h >> 48 & mask; /* apart from the bits that the fold above put into the first */
	if (*second == *first)
		*second = *first ^ 1;
}

#endif
