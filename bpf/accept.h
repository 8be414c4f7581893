/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which frames are ours to judge.
 */
#ifndef FAIRLEAD_ACCEPT_H
#define FAIRLEAD_ACCEPT_H

#include "maps.h"
#include "parse.h"

#define ACCEPTED TX_FORWARDED /* any verdict that is no PASS: the frame is ours to judge */

/*
 * Whether the frame is addressed to this interface. A bridge floods what it does not know; a balancer that forwards a flooded frame
 * teaches the segment that other hosts' MACs live behind its own port.
 */
static __always_inline enum verdict accept_frame(struct xdp_md *ctx, void *data, struct packet *p)
{
	__u32 ifindex = ctx->ingress_ifindex, index = ifindex & (INTERFACE_ROWS - 1);
	struct interface *row = bpf_map_lookup_elem(&interfaces, &index);
	__u64 mac = load64(data) << 16 >> 16, live;

	if (unlikely(!row))
		return PASS_NO_INTERFACE;
	live = READ_ONCE(row->live);
	if (unlikely(!(live >> INTERFACE_FLAG_SHIFT & INTERFACE_LIVE) || row->ifindex != ifindex))
		return PASS_NO_INTERFACE;
	if (unlikely(live >> INTERFACE_FLAG_SHIFT & INTERFACE_INACTIVE))
		return PASS_INACTIVE;
	p->bond = row->bond;
	return mac == live << 16 >> 16 ? ACCEPTED : PASS_NOT_MINE;
}

#endif
