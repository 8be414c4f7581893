/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Internet checksums (RFC 1071), mostly without a helper: three additions are cheaper than a call. Sums are of 16-bit words as they lie
 * in memory, unfolded in 32 bits, so that up to 65,536 words fit.
 */
#ifndef FAIRLEAD_CSUM_H
#define FAIRLEAD_CSUM_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "parse.h"

#define CSUM_CHUNK 32
#define CSUM_MOST 9216 /* bytes: a jumbo frame */

static __always_inline __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return sum + (sum >> 16);
}

/* The checksum after one 16-bit word went from `was` to `is` (RFC 1624, equation 3); all three as they lie in the packet. */
static __always_inline __sum16 csum_replace(__sum16 check, __u16 was, __u16 is)
{
	return ~csum_fold((__u16)~check + (__u16)~was + is);
}

/* Of one half of an address: two or four words of 16 bits. */
static __always_inline __u32 csum_u64(__u64 words)
{
	return (words & 0xffff) + (words >> 16 & 0xffff) + (words >> 32 & 0xffff) + (words >> 48);
}

/*
 * Of the `length` bytes from `offset` on, which may be anything up to a jumbo frame's; -1 if they are not all there. `at` is made opaque
 * in every round: the compiler would fold it into the packet's end, which the verifier forbids. Not inlined: it is looked at once.
 */
__noinline __s64 csum_packet(struct xdp_md *ctx, __u32 offset, __u32 length)
{
	void *from = (void *)(long)ctx->data + (offset & 63), *end = (void *)(long)ctx->data_end;
	__u32 whole = length / CSUM_CHUNK * CSUM_CHUNK, sum = 0, at = whole;

	if (length > CSUM_MOST)
		return -1;
	/* The last bytes first: the other way round each number of chunks would be followed through each number of bytes. */
	for (int i = 0; i < CSUM_CHUNK - 1; i++) {
		if (at >= length)
			break;
		if (at > CSUM_MOST || from + at + 1 > end)
			return -1;
		sum += (__u32) * (__u8 *)(from + at) << (i & 1) * 8;
		at++;
		OPAQUE(at);
	}
	at = 0;
	for (int i = 0; i < CSUM_MOST / CSUM_CHUNK; i++) {
		OPAQUE(at);
		if (at >= whole)
			break;
		if (from + at + CSUM_CHUNK > end)
			return -1;
		sum = bpf_csum_diff(NULL, 0, from + at, CSUM_CHUNK, sum);
		at += CSUM_CHUNK;
	}
	return at == whole ? csum_fold(sum) : -1;
}

/* Of `bytes` bytes at `from`, a multiple of 4 within bounds that the caller has checked. For answers: a helper call is cheap there. */
static __always_inline __u32 csum_words(void *from, __u32 bytes)
{
	return csum_fold(bpf_csum_diff(NULL, 0, from, bytes, 0));
}

#endif
