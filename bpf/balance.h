/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From a parsed packet to its destination: the flow's, else Maglev's.
 */
#ifndef FAIRLEAD_BALANCE_H
#define FAIRLEAD_BALANCE_H

#include "account.h"
#include "flow.h"
#include "forward.h"
#include "select.h"
#include "tails.h"

/* What was decided about a packet. */
struct choice {
	__u64 live; /* of the destination: the copy that all decisions rest on */
	__u32 id;
	__u32 unused;
};

/*
 * Decides: CHOSEN with `*c` filled, or the verdict. RESET: the destination's flows are to be answered with RST. Writes the flow table
 * unless `look_only`.
 */
#define RESET 1002

static __always_inline int decide(struct packet *p, struct choice *c, const bool look_only, const bool v6)
{
	struct destination *row;
	bool track = true;
	struct flow f;
	__u32 id = 0; /* a map key may not stand in what a function was handed: kernels before 6.5 */
	__u64 next;
	int chosen;

	if (unlikely(!find_flow(p, &f, v6)))
		return DROP_NO_SERVICE;
	if (DRY && look_only && trace.destination) { /* decided before: the live programs find it in the table */
		c->id = trace.destination;
		c->live = trace.live;
		return CHOSEN;
	}
	if (f.word) {
		id = word_destination(f.word);
		row = bpf_map_lookup_elem(&destinations, &id);
		c->id = id;
		c->live = row ? READ_ONCE(row->live) : 0;
		note_named(c->live);
		if (likely(c->live && serves(row, p, v6))) {
			next = look_only ? !has_expired(&f) : next_word(p, &f, c->live);
			if (unlikely(!look_only && next && next != f.word))
				update_flow(p, &f, next, v6);
			if (likely(next)) {
				note_choice(c->id, c->live, TRACE_FOLLOWED);
				return CHOSEN;
			}
			if (!look_only && resets(p, &f, c->live))
				return RESET;
		} else if (c->live) {
			track = false; /* a flow of another service has this tag (1 in 2^32): leave it in peace */
		}
	}
	chosen = choose(p, &row, &id, &track, v6);
	if (chosen != CHOSEN)
		return chosen;
	c->id = id;
	c->live = READ_ONCE(row->live);
	note_choice(id, c->live, TRACE_CHOSEN);
	if (!look_only && track && remember(p, &f, id, v6))
		count_flow(id);
	return CHOSEN;
}

/* The same as functions that the verifier looks at once, not at each call: the programs behind tail calls would be too large for it. */
__noinline int decide_ipv4(struct packet *p, struct choice *c, int look_only)
{
	return p && c ? decide(p, c, look_only, false) : DROP_MALFORMED;
}

__noinline int decide_ipv6(struct packet *p, struct choice *c, int look_only)
{
	return p && c ? decide(p, c, look_only, true) : DROP_MALFORMED;
}

static __always_inline int decide_rare(struct packet *p, struct choice *c, const bool look_only, const bool v6)
{
	return v6 ? decide_ipv6(p, c, look_only) : decide_ipv4(p, c, look_only);
}

/* The tail that turns this packet into an answer. If it is not there the generation is broken, and that is said. */
static __always_inline enum verdict answer(struct xdp_md *ctx, __u32 tail)
{
	note_tail(tail);
	bpf_tail_call(ctx, &tails, tail);
	return DROP_TAIL_CALL;
}

/* What a verdict that decide() did not reach with CHOSEN means for the packet. */
static __always_inline enum verdict refuse(struct xdp_md *ctx, int decided)
{
	if (decided == RESET)
		return answer(ctx, TAIL_RESET);
	if (decided == REJECT)
		return answer(ctx, TAIL_UNREACHABLE);
	return decided;
}

#endif
