/* SPDX-License-Identifier: Apache-2.0 */
/* Capacity-bounded rendezvous hashing with weights: the fast twin of core/rendezvous.py, which says what it does and why. */
#include <errno.h>
#include <stdlib.h>

#include "native.h"

#define FRACTION 32 /* binary places of a logarithm */
#define PIECES 1024 /* straight pieces that make up the logarithm between two powers of two */
#define WEIGHT_UNIT (1u << 25) /* 64 << FRACTION times this still fits 64 bits */

/* A node that is not full yet. */
struct candidate {
	uint64_t seed;
	uint64_t inverse; /* of the weight */
	uint32_t node;
	uint32_t room; /* slots that it may still get */
};

/* A bijection of 64 bits in which every bit of `x` changes half the bits of the result. */
static uint64_t mixed(uint64_t x)
{
	x = (x ^ x >> 33) * 0xff51afd7ed558ccdULL;
	x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return x ^ x >> 33;
}

static uint64_t load64(const uint8_t *bytes)
{
	uint64_t value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | bytes[i];
	return value;
}

/* log2(1 + i / PIECES) for every i, digit by digit: squaring a number doubles its logarithm. */
static void fill_logarithms(uint64_t *logarithms)
{
	for (uint64_t i = 0; i < PIECES; i++) {
		uint64_t x = (PIECES + i) << 21; /* 1 <= x < 2, 31 binary places */

		logarithms[i] = 0;
		for (int digit = 0; digit < FRACTION; digit++) {
			x = x * x >> 31;
			logarithms[i] = logarithms[i] << 1 | x >> 32;
			x >>= x >> 32;
		}
	}
	logarithms[PIECES] = 1ULL << FRACTION;
}

/* -log2(u / 2^64). */
static uint64_t surprise(const uint64_t *logarithms, uint64_t u)
{
	int zeros = __builtin_clzll(u | 1);
	uint64_t m = (u | 1) << zeros;
	const uint64_t *piece = &logarithms[m >> 53 & (PIECES - 1)];
	uint64_t part = (piece[1] - piece[0]) * (m >> 21 & 0xffffffff) >> 32;

	return ((uint64_t)(zeros + 1) << FRACTION) - piece[0] - part;
}

static uint32_t best_equal(const struct candidate *list, uint32_t count, uint64_t salt)
{
	uint64_t most = 0;
	uint32_t best = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t u = mixed(list[i].seed ^ salt);

		best = u > most ? i : best;
		most = u > most ? u : most;
	}
	return best;
}

static uint32_t best_weighted(const struct candidate *list, uint32_t count, uint64_t salt, const uint64_t *logarithms)
{
	uint64_t least = UINT64_MAX, most = 0;
	uint32_t best = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t u = mixed(list[i].seed ^ salt);
		uint64_t cost = surprise(logarithms, u) * list[i].inverse;

		if (cost < least || (cost == least && u > most)) {
			best = i;
			least = cost;
			most = u;
		}
	}
	return best;
}

static void fill(struct candidate *list, uint32_t count, bool equal, uint32_t size, uint32_t *out)
{
	uint64_t logarithms[PIECES + 1];

	fill_logarithms(logarithms);
	for (uint32_t slot = 0; slot < size; slot++) {
		uint64_t salt = mixed(slot + 1);
		uint32_t best = equal ? best_equal(list, count, salt) : best_weighted(list, count, salt, logarithms);

		out[slot] = list[best].node;
		if (--list[best].room)
			continue;
		count--; /* the order stays: it decides between equal scores */
		for (uint32_t i = best; i < count; i++)
			list[i] = list[i + 1];
	}
}

/* The nodes that have weight, with room for `slack` percent more than their share, rounded up. */
static uint32_t candidates(struct candidate *list, uint32_t size, uint32_t nodes, const uint8_t *addresses,
			   const uint32_t *weights, uint32_t slack, uint64_t total)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < nodes; i++) {
		const uint8_t *address = &addresses[16 * i];
		uint64_t share = (uint64_t)size * weights[i] * (100 + slack);

		if (weights[i])
			list[count++] = (struct candidate){
				.seed = mixed(load64(address + 8) ^ mixed(load64(address))),
				.inverse = WEIGHT_UNIT / weights[i],
				.node = i,
				.room = (share + total * 100 - 1) / (total * 100),
			};
	}
	return count;
}

/* -EINVAL: no slots, no weight, or a size or weight above 2^20, with which the arithmetic might overflow. */
int fl_rendezvous_fill(uint32_t size, uint32_t nodes, const uint8_t *addresses, const uint32_t *weights, uint32_t slack,
		       uint32_t *out)
{
	struct candidate *list;
	uint64_t total = 0;
	bool equal = true;
	uint32_t count;

	for (uint32_t i = 0; i < nodes; i++) {
		if (weights[i] > 1u << 20)
			return -EINVAL;
		total += weights[i];
	}
	if (size == 0 || size > 1u << 20 || total == 0 || slack > 100)
		return -EINVAL;
	list = calloc(nodes, sizeof(*list));
	if (!list)
		return -ENOMEM;
	count = candidates(list, size, nodes, addresses, weights, slack, total);
	for (uint32_t i = 1; i < count; i++)
		equal = equal && list[i].inverse == list[0].inverse;
	fill(list, count, equal, size, out);
	free(list);
	return 0;
}
