/* SPDX-License-Identifier: Apache-2.0 */
/* Writing tables that the data plane reads at the same moment. The callers check bounds and alignment. */
#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "native.h"

/* For rows that no reader can reach yet: a plain copy tears. */
void fl_store(void *base, size_t offset, const char *data, size_t length)
{
	memcpy((char *)base + offset, data, length);
}

/* The switch: whoever sees the value sees everything stored before it. */
void fl_publish(void *base, size_t offset, uint64_t value)
{
	__atomic_store_n((uint64_t *)((char *)base + offset), value, __ATOMIC_RELEASE);
}

uint64_t fl_load(const void *base, size_t offset)
{
	return __atomic_load_n((const uint64_t *)((const char *)base + offset), __ATOMIC_ACQUIRE);
}

/*
 * Returns when every program that was running at the call has ended: MEMBARRIER_CMD_GLOBAL is synchronize_rcu() (kernel/sched/
 * membarrier.c), and XDP and tc programs run inside RCU read sections. Refused with EINVAL on kernels with nohz_full CPUs.
 */
int fl_grace(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) ? -errno : 0;
}
