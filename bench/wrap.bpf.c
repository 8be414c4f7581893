/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The measuring wrapper. BPF_PROG_TEST_RUN does not restore the packet between repeats, so a plain `repeat=N` measures a program that
 * meets its own output. This program rewrites the frame from a template, picks the flow, and tail-calls the program under test; it reads
 * the clock twice in a whole run, so the time per packet is exact and free of the dispatcher's pauses. Where the program under test makes
 * the frame longer or shorter, the wrapper first takes that back; a figure of such a program includes what that costs.
 *
 * Before it rewrites the frame it looks at what the last round left there: `crossed` counts frames that went to a MAC of another
 * service's backend, which must never happen (tests/bpf/test_race.py).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define BODY 8 /* words after the Ethernet header: six of them for IPv4, eight for IPv6, then two bytes */

/* Constants, so that the verifier leaves out what a case does not need. */
const volatile bool v6 = false;
const volatile bool tagged = false; /* an 802.1Q tag in the frame */
const volatile __u32 length = 64; /* of the frame, bytes */
const volatile __s32 grown = 0; /* bytes that the program under test adds in front */
const volatile __u32 services = 1; /* the destination is one of so many addresses in a row, from the template's on; IPv4 */

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
	__u64 type; /* from low to high 16 bits: EtherType, the two bytes after the body, the tag if there is one */
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

static __always_inline long surplus_of(const struct xdp_md *ctx)
{
	return (void *)(long)ctx->data_end - (void *)(long)ctx->data - length;
}

/* Whether the frame is again as long as its template, beginning where it began. */
static __always_inline bool take_back(struct xdp_md *ctx)
{
	long surplus = surplus_of(ctx);

	if (surplus && grown && bpf_xdp_adjust_head(ctx, grown))
		return false;
	surplus = surplus ? surplus_of(ctx) : 0;
	return !surplus || !bpf_xdp_adjust_tail(ctx, -surplus);
}

/* The flow's bits of the word at 8 * i of the IP packet: in its source address and port, perhaps in the destination's last bytes. */
static __always_inline __u64 variation(int i, __u32 flow)
{
	__u64 address = (__u64)(flow * 2654435761U) << 32, port = flow >> 3 & 0xffff, service;

	if (v6)
		return i == 2 ? address : i == 5 ? port : 0;
	if (i == 1)
		return address;
	if (i != 2)
		return 0;
	service = services > 1 ? (flow & 0xffff) * services >> 16 : 0;
	return port << 32 | (service >> 8 & 0xff) << 16 | (service & 0xff) << 24;
}

/*
 * The stores are cut so that each later load of a header field lies within one of them: a load across two stores cannot be forwarded
 * and would charge the program under test with a stall that no packet from a NIC has.
 */
static __always_inline void restore(struct bench *b, void *frame, __u32 flow)
{
	void *ip = frame + (tagged ? 18 : 14);

	*(__u64 *)frame = b->macs;
	*(__u32 *)(frame + 8) = b->macs_rest;
	if (tagged)
		*(__u32 *)(frame + 12) = bpf_htons(ETH_P_8021Q) | (__u32)(b->type >> 32) << 16;
	*(__u16 *)(ip - 2) = b->type;
#pragma unroll
	for (int i = 0; i < BODY; i++) {
		if (!v6 && i > 5)
			break;
		*(__u64 *)(ip + 8 * i) = b->body[i] | variation(i, flow);
	}
	*(__u16 *)(ip + (v6 ? 64 : 48)) = b->type >> 16;
}

SEC("xdp")
int wrap(struct xdp_md *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id() & 3;
	struct bench *b = bpf_map_lookup_elem(&bench, &cpu);
	void *end, *frame;

	if (!b || !take_back(ctx))
		return XDP_ABORTED;
	end = (void *)(long)ctx->data_end;
	frame = (void *)(long)ctx->data;
	if (frame + (v6 ? 80 : tagged ? 68 : 64) > end)
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

/* Where frames end that have gone over a wire. `unsent` counts them. */
SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id() & 3;
	struct bench *b = bpf_map_lookup_elem(&bench, &cpu);

	(void)ctx;
	if (b)
		b->unsent++;
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
