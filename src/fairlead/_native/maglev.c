/* SPDX-License-Identifier: Apache-2.0 */
/* Maglev's table fill (Eisenbud et al., NSDI 2016, section 3.4) with weighted turns: the fast twin of core/maglev.py. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"

/* Where each node stands in its permutation, kept small so that a thousand nodes stay in the first-level cache. */
struct node {
	uint32_t at;
	uint32_t skip;
	uint32_t weight;
	uint32_t credit;
};

static uint32_t heaviest(const uint32_t *weights, uint32_t nodes)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < nodes; i++)
		if (weights[i] > most)
			most = weights[i];
	return most;
}

static struct node *places(uint32_t size, uint32_t nodes, const uint32_t *offsets, const uint32_t *skips, const uint32_t *weights)
{
	struct node *list = calloc(nodes, sizeof(*list));

	for (uint32_t i = 0; list && i < nodes; i++) {
		if (offsets[i] >= size || skips[i] == 0 || skips[i] >= size) {
			free(list);
			errno = EINVAL;
			return NULL;
		}
		list[i] = (struct node){.at = offsets[i], .skip = skips[i], .weight = weights[i]};
	}
	return list;
}

/* The next free slot of a node's permutation. Taken slots are bits, so that 65,537 of them fit the first-level cache. */
static uint32_t take(struct node *node, uint64_t *taken, uint32_t size)
{
	uint32_t found;
	uint32_t at = node->at;

	do {
		found = at;
		at += node->skip;
		at = at >= size ? at - size : at;
	} while (taken[found >> 6] >> (found & 63) & 1);
	taken[found >> 6] |= 1ULL << (found & 63);
	node->at = at;
	return found;
}

/* One round: the nodes whose credit pays for a slot, in order. Without a branch, for with mixed weights none could be foreseen. */
static uint32_t round_of(struct node *list, uint32_t nodes, uint32_t most, uint32_t *turns)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < nodes; i++) {
		/* credit < most <= 2^32 - 1, so the sum needs 64 bits */
		uint64_t credit = (uint64_t)list[i].credit + list[i].weight;
		bool pays = credit >= most;

		list[i].credit = credit - (pays ? most : 0);
		turns[count] = i;
		count += pays;
	}
	return count;
}

static void fill(struct node *list, uint32_t nodes, uint32_t most, uint32_t *turns, uint64_t *taken, uint32_t size, uint32_t *out)
{
	uint32_t count = round_of(list, nodes, most, turns);
	bool equal =
		count == nodes; /* all pay in the first round only if all have the largest weight: they will in every round */
	uint32_t left = size;

	for (;;) {
		for (uint32_t i = 0; i < count; i++) {
			out[take(&list[turns[i]], taken, size)] = turns[i];
			if (--left == 0)
				return;
		}
		if (!equal)
			count = round_of(list, nodes, most, turns);
	}
}

/* `size` must be prime, or some permutation may not reach every slot and the fill would not end: the caller sees to it. */
int fl_maglev_fill(uint32_t size, uint32_t nodes, const uint32_t *offsets, const uint32_t *skips, const uint32_t *weights,
		   uint32_t *out)
{
	uint32_t most = heaviest(weights, nodes);
	int result = -ENOMEM;
	uint64_t *taken;
	uint32_t *turns;
	struct node *list;

	if (size < 2 || most == 0)
		return -EINVAL;
	list = places(size, nodes, offsets, skips, weights);
	if (!list)
		return -errno;
	taken = calloc(size / 64 + 1, sizeof(*taken));
	turns = calloc(nodes, sizeof(*turns));
	if (taken && turns) {
		fill(list, nodes, most, turns, taken, size, out);
		result = 0;
	}
	free(list);
	free(taken);
	free(turns);
	return result;
}

/* Node numbers to destination ids. */
int fl_translate(const uint32_t *indices, size_t count, const uint32_t *ids, uint32_t nodes, uint32_t *out)
{
	for (size_t i = 0; i < count; i++) {
		if (indices[i] >= nodes)
			return -EINVAL;
		out[i] = ids[indices[i]];
	}
	return 0;
}

size_t fl_differing(const uint32_t *a, const uint32_t *b, size_t count)
{
	size_t differ = 0;

	for (size_t i = 0; i < count; i++)
		differ += a[i] != b[i];
	return differ;
}
