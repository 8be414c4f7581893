/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the twin notes on the way, so that user space can say why: see struct trace. In the live programs all of this is nothing.
 */
#ifndef FAIRLEAD_TRACE_H
#define FAIRLEAD_TRACE_H

#include "config.h"

extern struct trace trace; /* only the twin has one */

static __always_inline void note(__u32 flag)
{
	if (DRY)
		trace.flags |= flag;
}

/* The flow entry that was found, if any. */
static __always_inline void note_entry(__u64 word, __u64 now)
{
	if (DRY) {
		trace.word = word;
		trace.now = now;
	}
}

/* The `live` of the destination that the entry names. */
static __always_inline void note_named(__u64 live)
{
	if (DRY)
		trace.entry_live = live;
}

/* It goes on in a program behind a tail call. */
static __always_inline void note_tail(__u32 tail)
{
	if (DRY)
		trace.tails |= 1 << tail;
}

/* What the flow table would hold of it afterwards. */
static __always_inline void note_next(__u64 word)
{
	if (DRY)
		trace.next = word;
}

static __always_inline void note_service(const struct service *service, __u64 live)
{
	if (DRY) {
		trace.service = service->id;
		trace.service_l4 = service->l4;
		trace.service_live = live;
	}
}

static __always_inline void note_slot(__u32 slot)
{
	if (DRY)
		trace.slot = slot;
}

/* Where it goes, and how that was found. */
static __always_inline void note_choice(__u32 id, __u64 live, __u32 flag)
{
	if (DRY) {
		trace.destination = id;
		trace.live = live;
		trace.flags |= flag;
	}
}

static __always_inline void note_end(int verdict, __u32 length)
{
	if (DRY) {
		trace.verdict = verdict + VERDICT_BASE;
		trace.length = length;
	}
}

#endif
