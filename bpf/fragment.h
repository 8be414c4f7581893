/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Fragments: the first one, which has the ports, decides as any packet does, and leaves word for the later ones. One that comes before
 * its first cannot be placed and is dropped; the sender's upper layer sends again.
 */
#ifndef FAIRLEAD_FRAGMENT_H
#define FAIRLEAD_FRAGMENT_H

#include "balance.h"
#include "config.h"
#include "maps.h"
#include "rare_parse.h"

static __always_inline void fragment_key(struct fragment_key *key, const struct packet *p, const struct rest *r, const bool v6)
{
	*(__u64 *)key->saddr = v6 ? p->saddr[0] : MAPPED_HIGH_HALF;
	*(__u64 *)(key->saddr + 8) = v6 ? p->saddr[1] : MAPPED_LOW_HALF(p->saddr[1]);
	*(__u64 *)key->daddr = key_high(p, v6);
	*(__u64 *)(key->daddr + 8) = key_low(p, v6);
	key->id = r->id;
	key->protocol = r->carried;
	key->family = v6 ? 6 : 4;
}

static __always_inline void remember_fragment(const struct packet *p, const struct rest *r, __u32 destination, const bool v6)
{
	struct fragment value = {.destination = destination, .seen = bpf_jiffies64() >> options.window_shift};
	struct fragment_key key;

	if (DRY)
		return;
	fragment_key(&key, p, r, v6);
	bpf_map_update_elem(&fragments, &key, &value, BPF_ANY);
}

/*
 * What the first fragment has left. A look-up by a program makes an entry younger (an LRU hash's), so the twin notes the key, and is run
 * again with what user space found there.
 */
static __always_inline struct fragment *first_of(const struct fragment_key *key)
{
	if (!DRY)
		return bpf_map_lookup_elem(&fragments, key);
	__builtin_memcpy(trace.fragment, key, sizeof(*key));
	note(TRACE_FRAGMENT);
	return trace.flags & TRACE_GIVEN ? (void *)&trace.first : NULL;
}

/* The destination that the first fragment went to, if it still serves the VIP. */
static __always_inline bool follow_fragment(const struct packet *p, const struct rest *r, struct choice *c, const bool v6)
{
	struct fragment_key key;
	struct destination *row;
	struct fragment *first;
	__u32 id;

	fragment_key(&key, p, r, v6);
	first = first_of(&key);
	if (!first || (__u32)(bpf_jiffies64() >> options.window_shift) - first->seen > FRAGMENT_LIFETIME)
		return false;
	id = first->destination;
	row = bpf_map_lookup_elem(&destinations, &id);
	c->id = id;
	if (!row)
		return false;
	c->live = READ_ONCE(row->live);
	return c->live && *(__u64 *)row->vip == key_high(p, v6) && *(__u64 *)(row->vip + 8) == key_low(p, v6);
}

#endif
