/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The lab's switch port that faces a balancer runs this. veth delivers an XDP_TX frame only if its other end has an XDP program too
 * (veth_xdp_flush() looks at rq->xdp_prog; GRO alone is not enough), so the port gets one that does nothing. A real switch needs
 * none. "frags" because a program without it caps the MTU of the other end at one page.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp.frags")
int pass(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}

char licence_of_program[] SEC("license") = "Dual BSD/GPL";
