/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the extension offers to Python. cffi reads the prototypes between the markers, so keep them plain: one line each, no macros.
 * Every call releases the GIL. Calls that ask the kernel return a negative errno on failure; libbpf's words are then in fl_log().
 */
#ifndef FAIRLEAD_NATIVE_H
#define FAIRLEAD_NATIVE_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"

/* cffi: from here */
int fl_maglev_fill(uint32_t size, uint32_t nodes, const uint32_t *offsets, const uint32_t *skips, const uint32_t *weights,
		   uint32_t *out);
int fl_translate(const uint32_t *indices, size_t count, const uint32_t *ids, uint32_t nodes, uint32_t *out);
size_t fl_differing(const uint32_t *a, const uint32_t *b, size_t count);
int fl_rendezvous_fill(uint32_t size, uint32_t nodes, const uint8_t *addresses, const uint32_t *weights, uint32_t slack,
		       uint32_t *out);

void fl_store(void *base, size_t offset, const char *data, size_t length);
void fl_publish(void *base, size_t offset, uint64_t value);
uint64_t fl_load(const void *base, size_t offset);
int fl_grace(void);

size_t fl_sweep(void *flows, size_t first, size_t last, uint8_t fine_now, uint8_t coarse_now, const uint8_t *timeouts,
		const uint8_t *owned, size_t owned_bytes);
void fl_count(const void *flows, size_t buckets, uint8_t fine_now, uint8_t coarse_now, const uint8_t *timeouts, uint32_t *out,
	      uint32_t destinations);
void fl_survey(const void *flows, size_t buckets, uint8_t fine_now, uint8_t coarse_now, const uint8_t *timeouts,
	       const uint32_t *places, uint32_t destinations, uint32_t *out);
void fl_sum_cells(const void *cells, uint32_t cpus, uint32_t stride, const uint32_t *ids, size_t count, uint64_t *out);

void fl_sum_sources(const void *sources, uint32_t regions, size_t rows, uint64_t *out);
size_t fl_largest(const uint64_t *numbers, size_t count, size_t most, uint32_t *rows);
size_t fl_json(const uint64_t *numbers, size_t count, char *out);

const char *fl_log(void);
int fl_possible_cpus(void);
int64_t fl_file_system(const char *path);
int fl_map_create(uint32_t type, const char *name, uint32_t key_size, uint32_t value_size, uint32_t entries, uint32_t flags);
int fl_map_facts(int fd, uint32_t *facts);
int fl_map_put(int fd, uint32_t key, uint32_t value);
int fl_map_take(int fd, uint32_t key, uint32_t *value);
int fl_map_drop(int fd, uint32_t key);
int fl_map_update(int fd, const void *key, const void *value);
int fl_map_find(int fd, const void *key, void *value);
int fl_map_delete(int fd, const void *key);
int fl_map_read(int fd, void *keys, void *values, uint32_t *count);
int fl_pin(int fd, const char *path);
int fl_open_pin(const char *path);
int fl_program_facts(int fd, uint32_t *facts, char *name);
int fl_program_name(uint32_t id, char *name);
int fl_jiffies_program(void);
int fl_test_run(int fd, const void *packet, uint32_t length, const void *context, uint32_t context_length, void *out,
		uint32_t *out_length, uint32_t repeat, uint32_t *action, uint32_t *duration);

void *fl_object_open(const void *data, size_t length, const char *name);
int fl_object_programs(void *object, char *names, size_t size);
int fl_object_maps(void *object, char *names, size_t size);
int fl_object_reuse(void *object, const char *map, int fd);
int fl_object_constant(void *object, const char *variable, const void *value, uint32_t length);
int fl_object_load(void *object, char *log, uint32_t size);
int fl_object_program(void *object, const char *name);
int fl_object_map(void *object, const char *name);
void fl_object_close(void *object);

int fl_link_create(int program, uint32_t ifindex, uint32_t attach_type, uint32_t flags);
int fl_link_update(int link, int program, int old_program);
int fl_link_detach(int link);
int fl_link_facts(int fd, uint32_t *facts);
int fl_xdp_query(uint32_t ifindex, uint32_t *facts);

int fl_clsact_create(uint32_t ifindex);
int fl_clsact_destroy(uint32_t ifindex);
int fl_filter_attach(uint32_t ifindex, int program, uint32_t handle, uint32_t priority, bool replace);
int fl_filter_query(uint32_t ifindex, uint32_t handle, uint32_t priority, uint32_t *program);
int fl_filter_detach(uint32_t ifindex, uint32_t handle, uint32_t priority);
/* cffi: to here */

#endif
