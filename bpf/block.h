/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Who may not come in, and who comes: sources in a blocked prefix, and packets by source prefix. Nothing of this is in a program whose
 * options do not ask for it. The tables are of the kernel's own kinds where an array will not do; user space makes them when they are
 * wanted, and those declared here hold the place of tables that are not.
 */
#ifndef FAIRLEAD_BLOCK_H
#define FAIRLEAD_BLOCK_H

#include "config.h"
#include "maps.h"
#include "parse.h"
#include "select.h"
#include "trace.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct block_key);
	__type(value, struct block);
} blocks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct source_key);
	__type(value, struct source);
} sources6 SEC(".maps");

TABLE(sources4, struct source, 1);
TABLE(blocked, struct tally, 1);

/* The first 48 bits of an IPv6 address, as it lies in the packet. */
#define SITE 0xffffffffffffULL

static __always_inline void count_source_ipv4(__u64 address)
{
	__u32 row = (bpf_get_smp_processor_id() & (options.source_regions - 1)) * SOURCES4 + (bpf_ntohl((__u32)address) >> 12);
	struct source *source = bpf_map_lookup_elem(&sources4, &row);

	if (source)
		__sync_fetch_and_add(&source->packets, 1);
}

static __always_inline void count_source_ipv6(__u64 high)
{
	struct source_key key = {.prefix = high & SITE};
	struct source *source = bpf_map_lookup_elem(&sources6, &key), first = {.packets = 1};

	if (source)
		__sync_fetch_and_add(&source->packets, 1);
	else
		bpf_map_update_elem(&sources6, &key, &first, BPF_NOEXIST);
}

static __always_inline void count_source(const struct packet *p, const bool v6)
{
	if (v6)
		count_source_ipv6(p->saddr[0]);
	else
		count_source_ipv4(p->saddr[1]);
}

static __always_inline struct block *block_of(const struct packet *p, const bool v6)
{
	struct block_key key = {.length = 128};
	__u32 *words = (__u32 *)key.address;
	struct block *block;

	words[0] = v6 ? (__u32)p->saddr[0] : 0;
	words[1] = v6 ? p->saddr[0] >> 32 : 0;
	words[2] = v6 ? (__u32)p->saddr[1] : bpf_htonl(0xffff);
	words[3] = v6 ? p->saddr[1] >> 32 : (__u32)p->saddr[1];
	block = bpf_map_lookup_elem(&blocks, &key);
	return block && block->family == (v6 ? 6 : 4) ? block : NULL;
}

static __always_inline void count_blocked(const struct block *block, __u32 length)
{
	__u32 row = bpf_get_smp_processor_id() * BLOCKS_MOST + block->row;
	struct tally *tally = bpf_map_lookup_elem(&blocked, &row);

	if (tally) {
		tally->packets++;
		tally->bytes += length;
	}
}

static __always_inline __u32 blocks_of(const bool v6)
{
	return v6 ? SOURCES_BLOCKED_IPV6 : SOURCES_BLOCKED_IPV4;
}

/* Whether the packet's source is blocked; counted. A packet that is not for a VIP, whatever the bitmap said, is nobody's business. */
static __always_inline int refused(const struct packet *p, const bool v6)
{
	struct block *block = options.sources & blocks_of(v6) ? block_of(p, v6) : NULL;
	const bool counts = !DRY && options.sources & SOURCES_COUNTED;

	if (DRY)
		trace.length = p->length; /* the compiler hands over no argument that nobody reads, and the verifier misses it */
	if ((!block && !counts) || !find_service(p, vip_l4(v6), v6))
		return false;
	if (counts)
		count_source(p, v6);
	if (block && !DRY)
		count_blocked(block, p->length);
	return block != NULL;
}

/* As functions that are given addresses and not the packet: what only some programs do must cost the others no register. */
__noinline int refused_ipv4(__u32 source, __u32 vip, __u32 length)
{
	struct packet p = {.saddr[1] = source, .daddr[1] = vip, .length = length};

	return refused(&p, false);
}

__noinline int refused_ipv6(__u64 high, __u64 low, __u64 vip_high, __u64 vip_low, __u32 length)
{
	struct packet p = {.saddr = {high, low}, .daddr = {vip_high, vip_low}, .length = length};

	return refused(&p, true);
}

/* Whether the packet's source may send nothing to any VIP. */
static __always_inline bool refuses_source(const struct packet *p, const bool v6)
{
	if (likely(!(options.sources & (blocks_of(v6) | SOURCES_COUNTED))))
		return false;
	return v6 ? refused_ipv6(p->saddr[0], p->saddr[1], p->daddr[0], p->daddr[1], p->length)
		  : refused_ipv4(p->saddr[1], p->daddr[1], p->length);
}

#endif
