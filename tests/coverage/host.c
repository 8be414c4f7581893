/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The data plane compiled for this machine, with its helpers as plain functions: what `make coverage` measures. Tables are memory that
 * the caller hands in; packets lie below 4 GB, because struct xdp_md has 32-bit pointers; a tail call does not come back.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "abi.h"

#define const
#include "config.h"
#undef const
#include "balancer.bpf.c"

#define PACKET_ROOM 8192
#define HEADROOM 256
#define FRAGMENTS 4096
#define BLOCKED 64

struct table {
	void *map;
	unsigned char *rows;
	__u32 size, count;
};

static struct table tables[] = {
	{.map = &vips},       {.map = &services}, {.map = &slots},    {.map = &destinations}, {.map = &nexthops},
	{.map = &interfaces}, {.map = &settings}, {.map = &flows},    {.map = &counters},     {.map = &verdicts},
	{.map = &limits},     {.map = &blocked},  {.map = &sources4},
};

/* Blocked prefixes; what is counted of IPv6 sources is one counter for all, there from its second packet on. */
static struct {
	struct block_key key;
	struct block value;
} prefixes[BLOCKED];
static unsigned int blocks_given;
static struct source sites;

static struct {
	struct fragment_key key;
	struct fragment value;
} remembered[FRAGMENTS];
static unsigned int next_fragment;

static int (*const programs[TAILS])(struct xdp_md *) = {rare, too_big, reset, unreachable};
static unsigned char open_ports[INTERFACE_ROWS];
static unsigned char *room;
static int action, headroom = HEADROOM;
static __u64 now = 1ULL << 32;
static jmp_buf ended;

/* The longest of them that the key lies in. */
static void *block_at(const struct block_key *key)
{
	void *found = NULL;
	__u32 longest = 0;

	for (unsigned int i = 0; i < blocks_given; i++) {
		const struct block_key *is = &prefixes[i].key;
		__u32 whole = is->length / 8, rest = is->length % 8, differ = key->address[whole & 15] ^ is->address[whole & 15];

		if (is->length < longest || memcmp(key->address, is->address, whole) || (rest && differ >> (8 - rest)))
			continue;
		longest = is->length;
		found = &prefixes[i].value;
	}
	return found;
}

void *bpf_map_lookup_elem(void *map, const void *key)
{
	__u32 index;

	if (map == &blocks)
		return block_at(key);
	if (map == &sources6)
		return sites.packets ? &sites : NULL;
	if (map == &fragments) {
		for (int i = 0; i < FRAGMENTS; i++)
			if (!memcmp(&remembered[i].key, key, sizeof(struct fragment_key)))
				return &remembered[i].value;
		return NULL;
	}
	memcpy(&index, key, sizeof(index));
	for (unsigned int i = 0; i < sizeof(tables) / sizeof(*tables); i++)
		if (tables[i].map == map)
			return index < tables[i].count ? tables[i].rows + (size_t)index * tables[i].size : NULL;
	return NULL;
}

long bpf_map_update_elem(void *map, const void *key, const void *value, __u64 flags)
{
	unsigned int at = next_fragment;
	struct fragment *found;

	(void)flags;
	if (map == &sources6) {
		memcpy(&sites, value, sizeof(sites));
		return 0;
	}
	found = bpf_map_lookup_elem(map, key);
	if (!found) {
		memcpy(&remembered[at].key, key, sizeof(struct fragment_key));
		found = &remembered[at].value;
		next_fragment = (at + 1) % FRAGMENTS;
	}
	memcpy(found, value, sizeof(*found));
	return 0;
}

long bpf_tail_call(void *ctx, void *map, __u32 index)
{
	(void)map;
	action = programs[index](ctx);
	longjmp(ended, 1);
}

long bpf_redirect_map(void *map, __u64 key, __u64 flags)
{
	(void)map;
	return open_ports[key] ? XDP_REDIRECT : (long)flags;
}

long bpf_xdp_adjust_head(struct xdp_md *ctx, int by)
{
	unsigned char *data = (unsigned char *)(long)ctx->data + by;

	if (data < room + HEADROOM - headroom || data + 14 > (unsigned char *)(long)ctx->data_end)
		return -1;
	ctx->data = (__u32)(long)data;
	return 0;
}

long bpf_xdp_adjust_tail(struct xdp_md *ctx, int by)
{
	unsigned char *end = (unsigned char *)(long)ctx->data_end + by;

	if (end > room + PACKET_ROOM || end < (unsigned char *)(long)ctx->data + 14)
		return -1;
	ctx->data_end = (__u32)(long)end;
	return 0;
}

__s64 bpf_csum_diff(__be32 *from, __u32 from_size, __be32 *to, __u32 to_size, __u32 seed)
{
	__u64 sum = seed;

	for (__u32 i = 0; i < from_size / 4; i++)
		sum += (__u32)~from[i];
	for (__u32 i = 0; i < to_size / 4; i++)
		sum += to[i];
	while (sum >> 32)
		sum = (sum & 0xffffffff) + (sum >> 32);
	return (__s64)sum;
}

__u64 bpf_jiffies64(void)
{
	return now;
}

__u32 bpf_get_smp_processor_id(void)
{
	return 0;
}

/* In the order of `tables`. */
void host_table(unsigned int number, void *rows, __u32 size, __u32 count)
{
	tables[number].rows = rows;
	tables[number].size = size;
	tables[number].count = count;
}

void host_options(void *from)
{
	memcpy((void *)&options, from, sizeof(options));
}

void host_port(__u32 ifindex)
{
	open_ports[ifindex & (INTERFACE_ROWS - 1)] = 1;
}

/* `count` pairs of key and value, and no others. */
void host_blocks(const void *from, unsigned int count)
{
	memcpy(prefixes, from, count * sizeof(*prefixes));
	blocks_given = count;
}

void host_time(__u64 jiffies)
{
	now = jiffies;
}

void host_headroom(int bytes)
{
	headroom = bytes;
}

/* The action; `packet`, with room for PACKET_ROOM bytes, and `length` become those of what is left. */
int host_run(unsigned char *packet, __u32 *length, __u32 ifindex)
{
	struct xdp_md ctx = {.ingress_ifindex = ifindex};

	if (!room)
		room = mmap(NULL, PACKET_ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ctx.data = (__u32)(long)(room + HEADROOM);
	ctx.data_end = ctx.data + *length;
	memset(room, 0, PACKET_ROOM);
	memcpy(room + HEADROOM, packet, *length);
	if (!setjmp(ended))
		action = balancer(&ctx);
	*length = ctx.data_end - ctx.data;
	memcpy(packet, (void *)(long)ctx.data, *length);
	return action;
}
