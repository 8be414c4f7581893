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
	uint32_t at = node->at;

	while (taken[at >> 6] >> (at & 63) & 1) {
		at += node->skip;
		if (at >= size)
			at -= size;
	}
	taken[at >> 6] |= 1ULL << (at & 63);
	node->at = at;
	return at;
}

static void fill(struct node *list, uint32_t nodes, uint32_t most, uint64_t *taken, uint32_t size, uint32_t *out)
{
	uint32_t left = size;

	for (;;) {
		for (uint32_t i = 0; i < nodes; i++) {
			struct node *node = &list[i];

			/* credit < most <= 2^32 - 1, so the sum needs 64 bits */
			uint64_t credit = (uint64_t)node->credit + node->weight;
			if (credit < most) {
				node->credit = credit;
				continue;
			}
			node->credit = credit - most;
			out[take(node, taken, size)] = i;
			if (--left == 0)
				return;
		}
	}
}

/* `size` must be prime, or some permutation may not reach every slot and the fill would not end: the caller sees to it. */
int fl_maglev_fill(uint32_t size, uint32_t nodes, const uint32_t *offsets, const uint32_t *skips, const uint32_t *weights,
		   uint32_t *out)
{
	uint32_t most = heaviest(weights, nodes);
	uint64_t *taken;
	struct node *list;

	if (size < 2 || most == 0)
		return -EINVAL;
	list = places(size, nodes, offsets, skips, weights);
	if (!list)
		return -errno;
	taken = calloc(size / 64 + 1, sizeof(*taken));
	if (taken)
		fill(list, nodes, most, taken, size, out);
	free(list);
	if (!taken)
		return -ENOMEM;
	free(taken);
	return 0;
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
