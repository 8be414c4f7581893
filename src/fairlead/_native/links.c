/* SPDX-License-Identifier: Apache-2.0 */
/* BPF links on interfaces: XDP, and tcx where the kernel has it (6.6). */
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "internal.h"

/* `attach_type` 37 is BPF_XDP, 47 BPF_TCX_EGRESS, which Debian 12's headers do not know yet; `flags` are XDP_FLAGS_* for XDP. */
int fl_link_create(int program, uint32_t ifindex, uint32_t attach_type, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);

	log_restart();
	return bpf_link_create(program, ifindex, attach_type, &options);
}

/* Succeeds only while the link still runs `old_program`, unless that is negative. */
int fl_link_update(int link, int program, int old_program)
{
	LIBBPF_OPTS(bpf_link_update_opts, options, .flags = BPF_F_REPLACE, .old_prog_fd = old_program);

	log_restart();
	return bpf_link_update(link, program, old_program < 0 ? NULL : &options);
}

/* Closing the last descriptor or pin detaches some time later; this is done when it returns. */
int fl_link_detach(int link)
{
	log_restart();
	return bpf_link_detach(link);
}

/* facts: link type, link id, program id, ifindex (0: the interface is gone), attach type (tcx only). */
int fl_link_facts(int fd, uint32_t *facts)
{
	/* The header's struct may be older than the kernel's: xdp and tcx both say the ifindex first, at byte 16. */
	union {
		struct bpf_link_info info;
		__u32 word[16];
	} found;
	__u32 length = sizeof(found.info);
	int result;

	memset(&found, 0, sizeof(found));
	result = bpf_obj_get_info_by_fd(fd, &found.info, &length);
	if (result)
		return result;
	facts[0] = found.info.type;
	facts[1] = found.info.id;
	facts[2] = found.info.prog_id;
	facts[3] = found.word[4];
	facts[4] = found.word[5];
	return 0;
}

/* facts: attach mode (0 none, 1 native, 2 generic, 3 offloaded, 4 several), then the ids: any, native, generic, offloaded. */
int fl_xdp_query(uint32_t ifindex, uint32_t *facts)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, found);
	int result;

	log_restart();
	result = bpf_xdp_query(ifindex, 0, &found);
	if (result)
		return result;
	facts[0] = found.attach_mode;
	facts[1] = found.prog_id;
	facts[2] = found.drv_prog_id;
	facts[3] = found.skb_prog_id;
	facts[4] = found.hw_prog_id;
	return 0;
}
