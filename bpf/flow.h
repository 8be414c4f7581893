/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The flow table: a set-associative cache of 64-byte buckets shared by all CPUs, lock-free. What a word holds is in abi.h.
 *
 *   - A word is loaded once and judged by that copy; it is written by compare-and-exchange only, refreshes included: a plain store
 *     would bring an evicted flow back, on the wrong destination. Losing the exchange is no loss: the next packet does it again.
 *   - Last seen is written when its coarse value changes, so that the line of a busy flow stays clean.
 *   - A newcomer may take the place of an empty, expired, embryonic or closing word, in this order, the oldest first. A bucket full of
 *     confirmed flows takes nobody: the newcomer has its Maglev slot anyway, and no flood can push a confirmed flow out.
 *   - Nothing proves a handshake to who sees the client's side only. A flow is confirmed by a further packet, not a SYN, at a later tick,
 *     or by two within one. A FIN or RST may be forged, so it only marks the word as closing: a later packet confirms it again.
 *   - An expired word is not followed: its flow chooses afresh. One that was seen in this very tick has no need to be asked.
 */
#ifndef FAIRLEAD_FLOW_H
#define FAIRLEAD_FLOW_H

#include "config.h"
#include "encap.h"
#include "maps.h"
#include "parse.h"
#include "select.h"

#define STATE_MASK ((1 << FLOW_STATE_BITS) - 1)

/* Where a packet's flow belongs, and what was found there. */
struct flow {
	struct bucket *bucket;
	__u32 tag;
	__u64 word; /* the copy that all decisions rest on; 0: not found */
	__u64 now;  /* jiffies */
};

static __always_inline __u32 word_destination(__u64 word)
{
	return word >> FLOW_DESTINATION_SHIFT & ((1 << DESTINATION_ID_BITS) - 1);
}

static __always_inline __u32 word_state(__u64 word)
{
	return word >> FLOW_STATE_SHIFT & STATE_MASK;
}

static __always_inline __u32 tick(__u64 now, __u32 state)
{
	__u32 fine = now >> options.fine_shift, coarse = now >> options.coarse_shift;

	return (state == FLOW_ESTABLISHED ? coarse : fine) & 0xff;
}

static __always_inline __u32 word_age(__u64 word, __u64 now)
{
	return (tick(now, word_state(word)) - (__u32)(word >> FLOW_SEEN_SHIFT)) & 0xff;
}

static __always_inline __u64 make_word(__u32 tag, __u32 destination, __u32 state, __u64 now)
{
	return (__u64)tag << FLOW_TAG_SHIFT | (__u64)destination << FLOW_DESTINATION_SHIFT |
	       (__u64)tick(now, state) << FLOW_SEEN_SHIFT | state << FLOW_STATE_SHIFT;
}

/* The same flow and destination in another state, seen now. */
static __always_inline __u64 restated(__u64 word, __u32 state, __u64 now)
{
	return make_word(word >> FLOW_TAG_SHIFT, word_destination(word), state, now);
}

static __always_inline bool expired(__u64 word, __u64 now, __u64 timeouts)
{
	return word_age(word, now) > (timeouts >> (word_state(word) * 8) & 0xff);
}

static __always_inline __u64 flow_timeouts(void)
{
	__u32 zero = 0;
	struct settings *row = bpf_map_lookup_elem(&settings, &zero);

	return row ? READ_ONCE(row->timeouts) : 0;
}

/*
 * Looks for the packet's flow; false only if the table itself cannot be reached. Which way it stands in is not kept: the verifier would
 * follow all eight to the end of the program, and only a rare write wants to know.
 */
static __always_inline bool find_flow(struct packet *p, struct flow *f, const bool v6)
{
	__u64 hash = tuple_hash(p, options.flow_key, (__u64)p->protocol << 32 | p->ports, v6);
	__u32 index = hash & options.bucket_mask;

	p->entropy = hash >> 48 & ~ENTROPY_PORT;
	f->tag = hash >> 16;
	f->word = 0;
	f->bucket = bpf_map_lookup_elem(&flows, &index);
	if (!f->bucket)
		return false;
#pragma unroll
	for (__u32 way = 0; way < FLOW_WAYS; way++) {
		__u64 word = READ_ONCE(f->bucket->word[way]);

		if (word >> FLOW_TAG_SHIFT == f->tag && word_state(word) != FLOW_EMPTY) {
			f->word = word;
			break;
		}
	}
	/* The clock after the word: what another CPU has just stamped must not lie in the future, which would look very old. */
	f->now = bpf_jiffies64();
	note_entry(f->word, f->now);
	return true;
}

/*
 * Writes what the known flow's word becomes. Two CPUs may have entered one flow at once: the first way is the one that counts, and later
 * ones whose destination serves this packet too are cleared on the occasion.
 */
static __always_inline void update_flow(const struct packet *p, const struct flow *f, __u64 next, const bool v6)
{
	bool first = true;

	note_next(next);
	for (__u32 way = 0; !DRY && way < FLOW_WAYS; way++) {
		__u64 word = READ_ONCE(f->bucket->word[way]);
		__u32 id = word_destination(word);
		struct destination *row;

		if (word >> FLOW_TAG_SHIFT != f->tag || word_state(word) == FLOW_EMPTY)
			continue;
		row = bpf_map_lookup_elem(&destinations, &id);
		if (!first && row && serves(row, p, v6))
			__sync_val_compare_and_swap(&f->bucket->word[way], word, 0);
		if (first)
			__sync_val_compare_and_swap(&f->bucket->word[way], f->word, next);
		first = false;
	}
}

/* An entry that has been silent for too long is none, whatever comes: the sweep that clears it may be two minutes away. */
static __always_inline bool has_expired(const struct flow *f)
{
	return expired(f->word, f->now, flow_timeouts());
}

/*
 * What the word of a known flow becomes with this packet; 0 means that the flow must choose afresh. `live` is its destination's.
 */
static __always_inline __u64 next_word(const struct packet *p, const struct flow *f, __u64 live)
{
	__u32 state = word_state(f->word), flags = live >> DESTINATION_FLAG_SHIFT;
	__u8 special = p->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST);

	if (unlikely(!(flags & DESTINATION_FOLLOW)))
		return 0;
	/* One branch for all that is not the rule: a second one cost IPv6 packets 7 ns. The last term is 1 for an embryonic word. */
	if (likely(!(special | word_age(f->word, f->now) | ((state ^ FLOW_EMBRYONIC) - 1) >> 31)))
		return f->word;
	if (unlikely(has_expired(f)))
		return 0;
	if (special & (TCP_FIN | TCP_RST))
		return restated(f->word, FLOW_CLOSING, f->now);
	/* A forged SYN must not move a live flow; a real one on a finished connection is a new one. Neither keeps it young. */
	if (special)
		return state >= FLOW_CLOSING || !(flags & DESTINATION_ACCEPT) ? 0 : f->word;
	/* The first within the tick is noted, the second confirms. */
	if (state == FLOW_EMBRYONIC && !(f->word & FLOW_AGAIN) && !word_age(f->word, f->now))
		return f->word | FLOW_AGAIN;
	if (state == FLOW_EMBRYONIC || state >= FLOW_CLOSING)
		state = p->protocol == IPPROTO_TCP ? FLOW_ESTABLISHED : FLOW_DATAGRAM;
	return restated(f->word, state, f->now);
}

/* Whether a flow that its destination has let go is answered with RST. A SYN is a new connection, and RST is never answered. */
static __always_inline bool resets(const struct packet *p, const struct flow *f, __u64 live)
{
	return live >> DESTINATION_FLAG_SHIFT & DESTINATION_RESET && p->protocol == IPPROTO_TCP &&
	       !(p->tcp_flags & (TCP_SYN | TCP_RST)) && !has_expired(f);
}

/*
 * Notes that a packet of a known flow is answered with RST; false when that has been noted three times. A client that suspects forgery
 * asks back (RFC 5961), and must be answered even while others use up the rate.
 */
static __always_inline bool note_refusal(struct packet *p, const bool v6)
{
	struct flow f;
	__u32 state;

	if (!find_flow(p, &f, v6) || !f.word)
		return false;
	state = word_state(f.word);
	if (state == FLOW_REFUSED_MOST)
		return false;
	update_flow(p, &f, restated(f.word, state < FLOW_REFUSED ? FLOW_REFUSED : state + 1, f.now), v6);
	return true;
}

/* By state: how readily a word gives way to a newcomer; the confirmed ones, 0, only when they have expired. */
#define CLASS_OF_STATE (16ULL << FLOW_EMPTY * 8 | 2ULL << FLOW_EMBRYONIC * 8 | 0x01010101ULL << FLOW_CLOSING * 8)
#define CLASS_EXPIRED 8

/* Class << 8 | age, or 0 if the word must stay. */
static __always_inline __u32 readiness(__u64 word, __u64 now, __u64 timeouts)
{
	__u32 state = word_state(word), age = word_age(word, now);
	__u32 class = CLASS_OF_STATE >> state * 8 & 0xff;
	__u32 overdue = ((__u32)(timeouts >> state * 8 & 0xff) - age) >> 31;
	__u32 may_go;

	OPAQUE(class);
	OPAQUE(overdue);
	class += overdue * CLASS_EXPIRED;
	may_go = (0 - class) >> 31;
	OPAQUE(may_go);
	return (class << 8 | age) * may_go;
}

/* The readiest way: readiness << 3 | way, or less than 8 if all must stay. */
static __always_inline __u32 readiest(const struct bucket *bucket, __u64 now, __u64 timeouts)
{
	__s32 best = 0;

#pragma unroll
	for (__u32 way = 0; way < FLOW_WAYS; way++) {
		__s32 more = (readiness(READ_ONCE(bucket->word[way]), now, timeouts) << 3 | way) - best;
		__s32 keep = ~(more >> 31);

		OPAQUE(keep);
		best += more & keep;
	}
	return best;
}

/* Enters the flow with its new destination, in place of what was found or of the readiest way; true if it has an entry now. */
static __always_inline bool remember(const struct packet *p, const struct flow *f, __u32 destination, const bool v6)
{
	__u64 word = make_word(f->tag, destination, FLOW_EMBRYONIC, f->now), timeouts, was;
	__u32 way;

	if (f->word) {
		update_flow(p, f, word, v6);
		return true;
	}
	timeouts = flow_timeouts();
	way = readiest(f->bucket, f->now, timeouts) & (FLOW_WAYS - 1);
	was = READ_ONCE(f->bucket->word[way]);
	/* Judged again, by the copy that the exchange will compare and by a later clock: the choice was made on earlier ones. */
	if (!readiness(was, bpf_jiffies64(), timeouts))
		return false;
	note_next(word);
	return DRY || __sync_val_compare_and_swap(&f->bucket->word[way], was, word) == was;
}

#endif
