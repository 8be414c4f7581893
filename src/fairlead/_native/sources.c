/* SPDX-License-Identifier: Apache-2.0 */
/* Large arrays of counters: added up over their regions, searched for the largest, and written out as JSON. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* out[row] = the sum of that row over all regions. */
void fl_sum_sources(const void *sources, uint32_t regions, size_t rows, uint64_t *out)
{
	const struct source *source = sources;

	memset(out, 0, rows * sizeof(*out));
	for (uint32_t region = 0; region < regions; region++, source += rows)
		for (size_t row = 0; row < rows; row++)
			out[row] += __atomic_load_n(&source[row].packets, __ATOMIC_RELAXED);
}

/* The rows with the `most` largest numbers above 0, largest first, the lower row first among equals; returns how many. */
size_t fl_largest(const uint64_t *numbers, size_t count, size_t most, uint32_t *rows)
{
	size_t found = 0;

	for (size_t row = 0; most && row < count; row++) {
		size_t at = found;

		if (!numbers[row] || (found == most && numbers[row] <= numbers[rows[most - 1]]))
			continue;
		if (found < most)
			found++;
		else
			at--;
		for (; at && numbers[rows[at - 1]] < numbers[row]; at--)
			rows[at] = rows[at - 1];
		rows[at] = row;
	}
	return found;
}

/* The numbers as a JSON array; `out` holds 21 bytes for each, and two. Returns the bytes written. */
size_t fl_json(const uint64_t *numbers, size_t count, char *out)
{
	char digits[20], *at = out;

	*at++ = '[';
	for (size_t i = 0; i < count; i++) {
		uint64_t left = numbers[i];
		int length = 0;

		if (i)
			*at++ = ',';
		do
			digits[length++] = '0' + left % 10;
		while (left /= 10);
		while (length)
			*at++ = digits[--length];
	}
	*at++ = ']';
	return at - out;
}
