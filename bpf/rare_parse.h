/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The parser of what the hot path leaves aside: IPv4 options, IPv6 extension headers (RFC 8200 section 4), fragments.
 */
#ifndef FAIRLEAD_RARE_PARSE_H
#define FAIRLEAD_RARE_PARSE_H

#include "parse.h"

#define EXTENSION_HEADERS 8 /* followed at most */
#define L4_FURTHEST 512 /* offset of the layer 4 header in the frame, at most */

/* Where the layer 4 header is, and whether the packet is a fragment. */
struct rest {
	__u32 l4; /* offset in the frame */
	__u32 id; /* of the fragmented packet, as on the wire */
	__u8 carried; /* protocol that all fragments of the packet name */
	bool fragment;
	bool later; /* not the first fragment: no layer 4 header */
};

static __always_inline enum verdict rest_of_ipv4(struct packet *p, struct rest *r, void *data, void *end)
{
	struct iphdr *ip = data + l3_at(p);

	if ((void *)(ip + 1) > end || ip->ihl < 5)
		return DROP_MALFORMED;
	r->l4 = l3_at(p) + ip->ihl * 4;
	r->id = ip->id;
	r->carried = ip->protocol;
	r->fragment = ip->frag_off & bpf_htons(0x3fff);
	r->later = ip->frag_off & bpf_htons(0x1fff);
	if (p->length < (__u32)ip->ihl * 4 || (void *)ip + p->length > end)
		return DROP_MALFORMED;
	return PASS_NOT_IP;
}

struct extension {
	__u8 next;
	__u8 length; /* in units of 8 bytes, less one; an authentication header's in units of 4, less two */
	__be16 fragment; /* offset << 3 | reserved << 1 | more, in a fragment header */
	__be32 id; /* in a fragment header */
};

/* Bytes of an extension header of this type, 0 for what is none. */
static __always_inline __u32 extension_length(__u8 type, const struct extension *e)
{
	switch (type) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return (e->length + 1) * 8;
	case IPPROTO_AH:
		return (e->length + 2) * 4;
	case IPPROTO_FRAGMENT:
		return 8;
	default:
		return 0;
	}
}

#define AT_L4 1000 /* no further extension header: the layer 4 header begins here */

/* Goes past one extension header: PASS_NOT_IP if there was one, AT_L4, or the verdict. `p->protocol` is of the header at r->l4. */
static __always_inline int pass_extension(struct packet *p, struct rest *r, void *data, void *end)
{
	struct extension *e;
	__u32 length;

	if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_ICMPV6 || r->later)
		return AT_L4;
	if (r->l4 > L4_FURTHEST)
		return DROP_EXTENSION_HEADER;
	e = data + r->l4;
	if ((void *)(e + 1) > end)
		return p->protocol == IPPROTO_NONE ? DROP_UNSUPPORTED_PROTOCOL : DROP_MALFORMED;
	length = extension_length(p->protocol, e);
	if (!length)
		return DROP_UNSUPPORTED_PROTOCOL;
	if (p->protocol == IPPROTO_FRAGMENT) {
		r->fragment = e->fragment & bpf_htons(0xfff9);
		r->later = e->fragment & bpf_htons(0xfff8);
		r->id = e->id;
		r->carried = e->next;
	}
	p->protocol = e->next;
	r->l4 += length;
	return PASS_NOT_IP;
}

static __always_inline enum verdict rest_of_ipv6(struct packet *p, struct rest *r, void *data, void *end)
{
	int passed = PASS_NOT_IP;

	r->l4 = l3_at(p) + sizeof(struct ipv6hdr);
#pragma unroll /* left as a loop it has a back edge that verifiers before 6.5 refuse */
	for (int i = 0; i <= EXTENSION_HEADERS; i++)
		if (passed == PASS_NOT_IP)
			passed = pass_extension(p, r, data, end);
	if (passed != AT_L4)
		return passed == PASS_NOT_IP ? DROP_EXTENSION_HEADER : passed;
	if (p->length + l3_at(p) < r->l4 || data + l3_at(p) + p->length > end)
		return DROP_MALFORMED;
	return PASS_NOT_IP;
}

/* Where the layer 4 header begins, in a form that the verifier knows to be small wherever the value was kept. */
static __always_inline __u32 l4_at(const struct rest *r)
{
	__u32 at = r->l4;

	OPAQUE(at);
	return at & (2 * L4_FURTHEST - 1);
}

/* PASS_NOT_IP (which cannot be meant here) if all is well, else why the packet is dropped. Fills protocol, ports and l4 of `p`. */
static __always_inline enum verdict parse_rest(struct packet *p, struct rest *r, void *data, void *end, const bool v6)
{
	enum verdict verdict = v6 ? rest_of_ipv6(p, r, data, end) : rest_of_ipv4(p, r, data, end);

	if (verdict != PASS_NOT_IP || r->later)
		return verdict;
	if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP)
		return verdict;
	if (r->l4 > L4_FURTHEST)
		return DROP_EXTENSION_HEADER;
	return parse_l4(p, data + l4_at(r), end, p->length + l3_at(p) - l4_at(r), v6 ? 6 : 4) == STEP_BALANCE ? verdict
													      : DROP_MALFORMED;
}

/* As functions that the verifier looks at once: eight headers of five kinds are many paths. */
__noinline int parse_rest_ipv4(struct xdp_md *ctx, struct packet *p, struct rest *r)
{
	return p && r ? (int)parse_rest(p, r, (void *)(long)ctx->data, (void *)(long)ctx->data_end, false) : DROP_MALFORMED;
}

__noinline int parse_rest_ipv6(struct xdp_md *ctx, struct packet *p, struct rest *r)
{
	return p && r ? (int)parse_rest(p, r, (void *)(long)ctx->data, (void *)(long)ctx->data_end, true) : DROP_MALFORMED;
}

#endif
