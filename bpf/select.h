/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which destination a packet goes to when no flow entry says so: VIP, service, Maglev slot.
 */
#ifndef FAIRLEAD_SELECT_H
#define FAIRLEAD_SELECT_H

#include "config.h"
#include "hash.h"
#include "maps.h"
#include "parse.h"
#include "trace.h"

/* The bitmap keeps packets for everybody else off the tables; a false positive is found out by find_service(). */
static __always_inline bool may_be_vip(const struct packet *p, const bool v6)
{
	__u32 zero = 0, bit = vip_bit(p, v6);
	struct vip_bitmap *map = bpf_map_lookup_elem(&vips, &zero);

	return map && (READ_ONCE(map->word[(bit >> 6) & 1023]) >> (bit & 63) & 1);
}

static __always_inline __u64 key_high(const struct packet *p, const bool v6)
{
	return v6 ? p->daddr[0] : MAPPED_HIGH_HALF;
}

static __always_inline __u64 key_low(const struct packet *p, const bool v6)
{
	return v6 ? p->daddr[1] : MAPPED_LOW_HALF(p->daddr[1]);
}

static __always_inline struct service *service_at(__u32 place, __u64 high, __u64 low, __u32 l4)
{
	struct service *row = bpf_map_lookup_elem(&services, &place);

	if (row && READ_ONCE(row->live) && row->l4 == l4 && *(__u64 *)row->vip == high && *(__u64 *)(row->vip + 8) == low)
		return row;
	return NULL;
}

/* The row of `l4` on the packet's VIP, or NULL. A row being moved stands at both places for a while; either will do. */
static __always_inline struct service *find_service(const struct packet *p, __u32 l4, const bool v6)
{
	__u64 high = key_high(p, v6), low = key_low(p, v6);
	__u32 first, second;
	struct service *row;

	service_places(high, low, l4, options.service_mask, &first, &second);
	if (DRY && (service_at(first, high, low, l4) || service_at(second, high, low, l4)))
		note(TRACE_VIP);
	row = service_at(first, high, low, l4);
	return row ? row : service_at(second, high, low, l4);
}

/* The l4 of the VIP's own row: no port, no protocol. */
static __always_inline __u32 vip_l4(const bool v6)
{
	return (v6 ? 6U : 4U) << 24;
}

/* Whether this destination serves this packet. Compared after a flow hit and after a slot read: neither can cross services. */
static __always_inline bool serves(const struct destination *row, const struct packet *p, const bool v6)
{
	if ((p->l4 & row->l4_mask) != row->l4)
		return false;
	if (v6)
		return *(__u64 *)row->vip == p->daddr[0] && *(__u64 *)(row->vip + 8) == p->daddr[1];
	return *(__u32 *)(row->vip + 12) == (__u32)p->daddr[1];
}

/* The Maglev slot of this packet in a table of `size` slots. */
static __always_inline __u32 slot_of(const struct packet *p, __u32 flags, __u32 size, const bool v6)
{
	__u64 words = (__u64)p->protocol << 32 | (flags & SERVICE_STICKY ? 0 : p->ports);

	return (tuple_hash(p, options.slot_key, words, v6) >> 32) * size >> 32;
}

/* The service of a packet: its exact port's, else the one of every port of its protocol. */
static __always_inline struct service *service_of(const struct packet *p, const bool v6)
{
	struct service *exact = find_service(p, p->l4, v6);

	return exact ? exact : find_service(p, p->l4 & 0xffff0000, v6);
}

/*
 * Maglev's choice: CHOSEN with `*chosen` and `*id` set, REJECT if the VIP answers unknown ports, or why there is none. A packet for an
 * address that is no VIP after all ends here as PASS_NOT_A_VIP, which is not an error; hence the int: an enum verdict, or one of these.
 */
#define CHOSEN 1000
#define REJECT 1001

static __always_inline int choose(const struct packet *p, struct destination **chosen, __u32 *id, bool *track, const bool v6)
{
	struct service *service = service_of(p, v6);
	__u32 size, slot, element;
	struct slots *row;
	__u64 live;

	if (!service) {
		service = find_service(p, vip_l4(v6), v6);
		if (!service)
			return PASS_NOT_A_VIP;
		return service->live >> SERVICE_FLAG_SHIFT & SERVICE_REJECT ? REJECT : DROP_NO_SERVICE;
	}
	live = READ_ONCE(service->live);
	note_service(service, live);
	size = live >> SERVICE_SIZE_SHIFT & ((1 << SERVICE_SIZE_BITS) - 1);
	if (!size)
		return DROP_NO_BACKEND;
	if (live >> SERVICE_FLAG_SHIFT & SERVICE_UNTRACKED)
		*track = false;
	slot = slot_of(p, live >> SERVICE_FLAG_SHIFT, size, v6);
	note_slot(slot);
	element = (live & ((1 << SERVICE_BASE_BITS) - 1)) + slot / SLOTS_PER_ELEMENT;
	row = bpf_map_lookup_elem(&slots, &element);
	if (!row)
		return DROP_STALE_SLOT;
	*id = READ_ONCE(row->destination[slot % SLOTS_PER_ELEMENT]);
	*chosen = bpf_map_lookup_elem(&destinations, id);
	if (!*chosen || !READ_ONCE((*chosen)->live) || !serves(*chosen, p, v6))
		return DROP_STALE_SLOT;
	return CHOSEN;
}

#endif
