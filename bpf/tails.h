/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What belongs to one generation of programs and is never shared with the next: changed, it would change the running program under its
 * feet. User space pins both beside the programs, because an unpinned program array is emptied when the daemon goes.
 */
#ifndef FAIRLEAD_TAILS_H
#define FAIRLEAD_TAILS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

#define TAIL_RARE 0
#define TAIL_TOO_BIG 1
#define TAIL_RESET 2
#define TAIL_UNREACHABLE 3
#define TAILS 4

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, TAILS);
	__type(key, __u32);
	__type(value, __u32);
} tails SEC(".maps");

/* Where a frame leaves by another interface, at ifindex mod INTERFACE_ROWS. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, INTERFACE_ROWS);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

#endif
