/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every table, as declared in abi.h. All are mapped arrays: the JIT inlines their look-ups, and the daemon reads and fills the same
 * pages without a system call. The sizes here are placeholders: user space sets the real ones before load, or hands in the pinned
 * tables. User space alone pins; nothing here asks libbpf to.
 */
#ifndef FAIRLEAD_MAPS_H
#define FAIRLEAD_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

#define TABLE(name_, row_, rows_)                                                                                                \
	struct {                                                                                                                 \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                                \
		__uint(map_flags, BPF_F_MMAPABLE);                                                                               \
		__uint(max_entries, rows_);                                                                                      \
		__type(key, __u32);                                                                                              \
		__type(value, row_);                                                                                             \
	} name_ SEC(".maps")

/* Written by the daemon, read here. */
TABLE(vips, struct vip_bitmap, 1);
TABLE(services, struct service, 2);
TABLE(slots, struct slots, 1);
TABLE(destinations, struct destination, 1);
TABLE(nexthops, struct nexthop, 1);
TABLE(interfaces, struct interface, INTERFACE_ROWS);
TABLE(settings, struct settings, 1);

/* Written here; the daemon reads, and sweeps `flows` by compare-and-exchange. */
TABLE(flows, struct bucket, 1);
TABLE(counters, struct cell, 1);
TABLE(verdicts, struct tally, VERDICT_ROWS);
TABLE(limits, struct limiter, LIMITS);

/* The key is too wide for an array, and the table must forget by itself. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

#endif
