/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Counting, and the one way out. Counters are plain mapped arrays with a region per CPU: a program runs to its end on one CPU, so a
 * plain addition is enough, and the daemon sums the regions without a system call.
 */
#ifndef FAIRLEAD_ACCOUNT_H
#define FAIRLEAD_ACCOUNT_H

#include "config.h"
#include "maps.h"
#include "parse.h"
#include "trace.h"

static __always_inline struct cell *cell_of(__u32 id)
{
	__u32 index = bpf_get_smp_processor_id() * options.destinations + id;

	return bpf_map_lookup_elem(&counters, &index);
}

/* What became of a packet of `length` bytes for this destination: counted there if it was sent. */
static __always_inline enum verdict counted(enum verdict verdict, __u32 id, __u32 length)
{
	struct cell *cell = DRY || (int)verdict < 0 ? NULL : cell_of(id);

	if (cell) {
		cell->packets++;
		cell->bytes += length;
	}
	return verdict;
}

/* A flow entry was made for this destination. */
static __always_inline void count_flow(__u32 id)
{
	struct cell *cell = DRY ? NULL : cell_of(id);

	if (cell)
		cell->flows++;
}

static __always_inline int xdp_action(enum verdict verdict)
{
	if ((int)verdict < 0)
		return XDP_DROP;
	if ((int)verdict < 16)
		return XDP_PASS;
	return (int)verdict < 32 ? XDP_TX : XDP_REDIRECT;
}

/* Every entry of every program ends here: the verdict gets its tally and becomes an action. */
static __always_inline int finish(enum verdict verdict, __u32 length)
{
	__u32 index = bpf_get_smp_processor_id() * VERDICT_ROWS + (__u32)((int)verdict + VERDICT_BASE);
	struct tally *tally = DRY ? NULL : bpf_map_lookup_elem(&verdicts, &index);

	note_end(verdict, length);
	if (tally) {
		tally->packets++;
		tally->bytes += length;
	}
	return xdp_action(verdict);
}

/* True while fewer than `most` answers of this kind left this CPU in the present window; the twin, which answers nobody, has no limit. */
static __always_inline bool within_limit(enum limit kind, __u32 most)
{
	__u32 index = bpf_get_smp_processor_id() * LIMITS + kind;
	struct limiter *row = DRY ? NULL : bpf_map_lookup_elem(&limits, &index);
	__u64 window = bpf_jiffies64() >> options.window_shift;

	if (DRY)
		return true;
	if (!row)
		return false;
	if (row->window != window) {
		row->window = window;
		row->count = 0;
	}
	return row->count++ < most;
}

#endif
