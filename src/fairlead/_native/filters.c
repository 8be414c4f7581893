/* SPDX-License-Identifier: Apache-2.0 */
/* The way to tc egress on kernels before 6.6: a clsact qdisc and a filter of our own handle and priority; others' stay. */
#include <errno.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "internal.h"

int fl_clsact_create(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_EGRESS);

	log_restart();
	return bpf_tc_hook_create(&hook);
}

/* Removes the qdisc with every filter in it: only for one that we made and that is empty. */
int fl_clsact_destroy(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	log_restart();
	return bpf_tc_hook_destroy(&hook);
}

int fl_filter_attach(uint32_t ifindex, int program, uint32_t handle, uint32_t priority, bool replace)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = program, .handle = handle, .priority = priority,
		    .flags = replace ? BPF_TC_F_REPLACE : 0);

	log_restart();
	return bpf_tc_attach(&hook, &filter);
}

int fl_filter_query(uint32_t ifindex, uint32_t handle, uint32_t priority, uint32_t *program)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = handle, .priority = priority);
	int result;

	log_restart();
	result = bpf_tc_query(&hook, &filter);
	*program = filter.prog_id;
	return result;
}

int fl_filter_detach(uint32_t ifindex, uint32_t handle, uint32_t priority)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = handle, .priority = priority);

	log_restart();
	return bpf_tc_detach(&hook, &filter);
}
