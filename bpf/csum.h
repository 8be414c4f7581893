/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Internet checksums (RFC 1071), changed incrementally (RFC 1624, equation 3) and without a helper: three additions are cheaper than a
 * call.
 */
#ifndef FAIRLEAD_CSUM_H
#define FAIRLEAD_CSUM_H

#include <linux/types.h>

/* The checksum after one 16-bit word went from `was` to `is`; all three as they lie in the packet. */
static __always_inline __sum16 csum_replace(__sum16 check, __u16 was, __u16 is)
{
	__u32 sum = (__u16)~check + (__u16)~was + is;

	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

#endif
