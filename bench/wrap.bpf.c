/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The measuring wrapper. BPF_PROG_TEST_RUN does not restore the packet between repeats, so a plain `repeat=N` measures a program that
 * meets its own output. This program rewrites the frame from a template, picks the flow, and tail-calls the program under test; it reads
 * the clock twice in a whole run, so the time per packet is exact and free of the dispatcher's pauses.
 *
 * Before it rewrites the frame it looks at what the last round left there: `crossed` counts frames that went to a MAC of another
 * service's backend, which must never happen (tests/bpf/test_race.py).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define BODY 8 /* words after the Ethernet header: six of them for IPv4, eight for IPv6, then two bytes */

const volatile bool v6 = false;

enum pick {
	PICK_SAME = 0,
	PICK_NEXT = 1,  /* a new flow each round */
	PICK_RANDOM = 2, /* one of `mask` + 1 flows */
};

struct bench {
	__u64 round;
	__u64 begin, end;   /* rounds at which the clock is read */
	__u64 began, ended; /* ns */
	__u64 seed;
	__u64 crossed, unsent;
	__u32 pick;
	__u32 mask;    /* with PICK_SAME: which flow */
	__u32 service; /* byte 4 of the MACs of this service's backends; 0: do not look */
	__u32 macs_rest;
	__u64 macs;
	__u64 type; /* EtherType in the low 16 bits, the frame's last two bytes in the next */
	__u64 body[BODY];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4); /* one a CPU */
	__type(key, __u32);
	__type(value, struct bench);
} bench SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} under_test SEC(".maps");

static __always_inline __u32 pick_flow(struct bench *b)
{
	if (b->pick == PICK_SAME)
		return b->mask;
	if (b->pick == PICK_NEXT)
		return b->seed++;
	b->seed = b->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return b->seed >> 33 & b->mask;
}

static __always_inline void look_back(struct bench *b, const __u8 *frame)
{
	if (!b->service || !b->round)
		return;
	if (frame[4] == (b->macs >> 32 & 0xff))
		b->unsent++;
	else if (frame[4] != b->service)
		b->crossed++;
}

/*
 * The stores are cut so that each later load of a header field lies within one of them: a load across two stores cannot be forwarded
 * and would charge the program under test with a stall that no packet from a NIC has.
 */
static __always_inline void restore(struct bench *b, void *frame, __u32 flow)
{
	__u64 address = (__u64)(flow * 2654435761U) << 32, port = flow >> 3 & 0xffff;

	*(__u64 *)frame = b->macs;
	*(__u32 *)(frame + 8) = b->macs_rest;
	*(__u16 *)(frame + 12) = b->type;
#pragma unroll
	for (int i = 0; i < BODY; i++) {
		__u64 word = b->body[i];

		if (!v6 && i > 5)
			break;
		if (i == 1 && !v6)
			word |= address;
		if (i == 2)
			word |= v6 ? address : port << 32;
		if (i == 5 && v6)
			word |= port;
		*(__u64 *)(frame + 14 + 8 * i) = word;
	}
	*(__u16 *)(frame + (v6 ? 78 : 62)) = b->type >> 16;
}

SEC("xdp")
int wrap(struct xdp_md *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id() & 3;
	struct bench *b = bpf_map_lookup_elem(&bench, &cpu);
	void *end = (void *)(long)ctx->data_end, *frame = (void *)(long)ctx->data;

	if (!b || frame + (v6 ? 80 : 64) > end)
		return XDP_ABORTED;
	if (b->round == b->begin)
		b->began = bpf_ktime_get_ns();
	else if (b->round == b->end)
		b->ended = bpf_ktime_get_ns();
	look_back(b, frame);
	b->round++;
	restore(b, frame, pick_flow(b));
	bpf_tail_call(ctx, &under_test, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int bare(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";
