/* SPDX-License-Identifier: Apache-2.0 */
/* One compiled object from its bytes to loaded programs. Nothing is pinned here, and libbpf is kept from pinning. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "internal.h"

void *fl_object_open(const void *data, size_t length, const char *name)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name);
	struct bpf_object *object;
	struct bpf_map *map;

	log_restart();
	object = bpf_object__open_mem(data, length, &options);
	if (!object)
		return NULL;
	bpf_object__for_each_map(map, object) bpf_map__set_pin_path(map, NULL);
	return object;
}

static int append(char *names, size_t size, const char *name)
{
	size_t used = strlen(names);
	int length = snprintf(names + used, size - used, "%s\n", name);

	return length < 0 || (size_t)length >= size - used ? -ENOSPC : 0;
}

/* Names, one on a line. */
int fl_object_programs(void *object, char *names, size_t size)
{
	struct bpf_program *program;
	int result = 0;

	names[0] = 0;
	bpf_object__for_each_program(program, object) result = result ? result : append(names, size, bpf_program__name(program));
	return result;
}

int fl_object_maps(void *object, char *names, size_t size)
{
	struct bpf_map *map;
	int result = 0;

	names[0] = 0;
	bpf_object__for_each_map(map, object) result = result ? result : append(names, size, bpf_map__name(map));
	return result;
}

/* The object's map becomes the one behind `fd`, which must have the value size that the program was compiled for. */
int fl_object_reuse(void *object, const char *name, int fd)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, name);
	uint32_t facts[6];
	int result;

	if (!map)
		return -ENOENT;
	result = fl_map_facts(fd, facts);
	if (result)
		return result;
	if (facts[0] != bpf_map__type(map) || facts[1] != bpf_map__key_size(map) || facts[2] != bpf_map__value_size(map))
		return -EINVAL;
	return bpf_map__reuse_fd(map, fd);
}

/* Offset of a variable in .rodata, or a negative errno. */
static int place_of(const struct btf *types, const char *variable, uint32_t length)
{
	for (uint32_t id = 1; id < btf__type_cnt(types); id++) {
		const struct btf_type *type = btf__type_by_id(types, id);
		const struct btf_var_secinfo *at;

		if (!btf_is_datasec(type) || strcmp(btf__name_by_offset(types, type->name_off), ".rodata"))
			continue;
		at = btf_var_secinfos(type);
		for (int i = 0; i < btf_vlen(type); i++, at++) {
			const struct btf_type *found = btf__type_by_id(types, at->type);

			if (strcmp(btf__name_by_offset(types, found->name_off), variable) == 0)
				return at->size == length ? (int)at->offset : -EINVAL;
		}
	}
	return -ENOENT;
}

static struct bpf_map *constants_of(struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		const char *dot = strrchr(bpf_map__name(map), '.');

		if (bpf_map__is_internal(map) && dot && strcmp(dot, ".rodata") == 0)
			return map;
	}
	return NULL;
}

/* Sets one `const volatile` global before load. -ENOENT: the object has none of that name; -EINVAL: of another size. */
int fl_object_constant(void *object, const char *variable, const void *value, uint32_t length)
{
	const struct btf *types = bpf_object__btf(object);
	struct bpf_map *map = constants_of(object);
	int place = types ? place_of(types, variable, length) : -ENOENT;
	const void *before;
	size_t size = 0;
	char *after;
	int result;

	if (place < 0 || !map)
		return place < 0 ? place : -ENOENT;
	before = bpf_map__initial_value(map, &size);
	if (!before || (size_t)place + length > size)
		return -EINVAL;
	after = malloc(size);
	if (!after)
		return -ENOMEM;
	memcpy(after, before, size);
	memcpy(after + place, value, length);
	result = bpf_map__set_initial_value(map, after, size);
	free(after);
	return result;
}

/* `log` gets the verifier's words about the program that failed; libbpf asks for them only then. */
int fl_object_load(void *object, char *log, uint32_t size)
{
	struct bpf_program *program;

	log_restart();
	bpf_object__for_each_program(program, object) bpf_program__set_log_buf(program, log, size);
	return bpf_object__load(object);
}

int fl_object_program(void *object, const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);

	return program ? bpf_program__fd(program) : -ENOENT;
}

int fl_object_map(void *object, const char *name)
{
	return bpf_object__find_map_fd_by_name(object, name);
}

void fl_object_close(void *object)
{
	bpf_object__close(object);
}
