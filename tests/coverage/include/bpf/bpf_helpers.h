/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* libbpf's header of this name, for the host: maps are names only, helpers are functions of host.c. */
#ifndef FAIRLEAD_HOST_HELPERS_H
#define FAIRLEAD_HOST_HELPERS_H

#include <linux/bpf.h>
#include <linux/types.h>

#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, value) value *name
#undef __always_inline
#define __always_inline inline
#define __noinline __attribute__((noinline))

void *bpf_map_lookup_elem(void *map, const void *key);
long bpf_map_update_elem(void *map, const void *key, const void *value, __u64 flags);
long bpf_tail_call(void *ctx, void *map, __u32 index);
long bpf_redirect_map(void *map, __u64 key, __u64 flags);
long bpf_xdp_adjust_head(struct xdp_md *ctx, int by);
long bpf_xdp_adjust_tail(struct xdp_md *ctx, int by);
__s64 bpf_csum_diff(__be32 *from, __u32 from_size, __be32 *to, __u32 to_size, __u32 seed);
__u64 bpf_jiffies64(void);
__u32 bpf_get_smp_processor_id(void);

#endif
