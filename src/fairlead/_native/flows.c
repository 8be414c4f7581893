/* SPDX-License-Identifier: Apache-2.0 */
/* Scans of the flow table and the counters: millions of words, too many for Python. */
#include <string.h>

#include "native.h"

#define WORDS(bucket_count) ((bucket_count) * FLOW_WAYS)

static uint32_t word_destination(uint64_t word)
{
	return word >> FLOW_DESTINATION_SHIFT & ((1U << DESTINATION_ID_BITS) - 1);
}

/*
 * Ages are differences of low bytes. The programs may have stamped a word after the caller read the clock: the last quarter of the
 * circle is therefore the future, not a great age. The daemon sweeps more often than each quarter wrap, so none is that old.
 */
static bool expired(uint64_t word, uint8_t fine_now, uint8_t coarse_now, const uint8_t *timeouts)
{
	uint32_t state = word >> FLOW_STATE_SHIFT & ((1U << FLOW_STATE_BITS) - 1);
	uint8_t now = state == FLOW_ESTABLISHED ? coarse_now : fine_now;
	uint8_t age = now - (uint8_t)(word >> FLOW_SEEN_SHIFT);

	return state == FLOW_EMPTY || (age < 192 && age > timeouts[state]);
}

static bool has_owner(uint32_t id, const uint8_t *owned, size_t owned_bytes)
{
	return id / 8 < owned_bytes && owned[id / 8] >> id % 8 & 1;
}

/* Clears expired and ownerless words of buckets first..last-1; a word that changes meanwhile is left to its writer. */
size_t fl_sweep(void *flows, size_t first, size_t last, uint8_t fine_now, uint8_t coarse_now, const uint8_t *timeouts,
		const uint8_t *owned, size_t owned_bytes)
{
	uint64_t *word = (uint64_t *)flows + WORDS(first);
	uint64_t *end = (uint64_t *)flows + WORDS(last);
	size_t cleared = 0;

	for (; word < end; word++) {
		uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);

		if (seen == 0)
			continue;
		if (has_owner(word_destination(seen), owned, owned_bytes) && !expired(seen, fine_now, coarse_now, timeouts))
			continue;
		cleared += __atomic_compare_exchange_n(word, &seen, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	}
	return cleared;
}

/* Words that have not expired, per destination id. */
void fl_count(const void *flows, size_t buckets, uint8_t fine_now, uint8_t coarse_now, const uint8_t *timeouts, uint32_t *out,
	      uint32_t destinations)
{
	const uint64_t *word = flows;
	const uint64_t *end = word + WORDS(buckets);

	for (; word < end; word++) {
		uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);

		if (seen == 0 || word_destination(seen) >= destinations)
			continue;
		if (!expired(seen, fine_now, coarse_now, timeouts))
			out[word_destination(seen)]++;
	}
}

/*
 * Words that have not expired, by owner and state: how many, and the youngest and the oldest age in ticks of the state's scale.
 * `places` gives the row of `out` for each destination id, counted from 1, 0 for none; a row has three numbers for each state.
 */
void fl_survey(const void *flows, size_t buckets, uint8_t fine_now, uint8_t coarse_now, const uint8_t *timeouts,
	       const uint32_t *places, uint32_t destinations, uint32_t *out)
{
	const uint64_t *word = flows;
	const uint64_t *end = word + WORDS(buckets);

	for (; word < end; word++) {
		uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);
		uint32_t id = word_destination(seen);
		uint32_t state = seen >> FLOW_STATE_SHIFT & ((1U << FLOW_STATE_BITS) - 1);
		uint8_t age = (state == FLOW_ESTABLISHED ? coarse_now : fine_now) - (uint8_t)(seen >> FLOW_SEEN_SHIFT);
		uint32_t *row;

		if (seen == 0 || id >= destinations || places[id] == 0 || expired(seen, fine_now, coarse_now, timeouts))
			continue;
		if (age >= 192)
			age = 0; /* stamped after the clock was read */
		row = out + ((size_t)(places[id] - 1) << FLOW_STATE_BITS) * 3 + 3 * state;
		if (row[0] == 0 || age < row[1])
			row[1] = age;
		if (age > row[2])
			row[2] = age;
		row[0]++;
	}
}

/* Three sums over all CPUs for each id: packets, bytes, flows. */
void fl_sum_cells(const void *cells, uint32_t cpus, uint32_t stride, const uint32_t *ids, size_t count, uint64_t *out)
{
	for (size_t i = 0; i < count; i++, out += 3) {
		const struct cell *cell = (const struct cell *)cells + ids[i];

		for (uint32_t cpu = 0; cpu < cpus; cpu++, cell += stride) {
			out[0] += __atomic_load_n(&cell->packets, __ATOMIC_RELAXED);
			out[1] += __atomic_load_n(&cell->bytes, __ATOMIC_RELAXED);
			out[2] += __atomic_load_n(&cell->flows, __ATOMIC_RELAXED);
		}
	}
}
