/* SPDX-License-Identifier: Apache-2.0 */
/* Maps, pins, programs by descriptor, and what libbpf says when something fails. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "internal.h"

/* libbpf's printer is one for the process; threads of the daemon must not read each other's words. */
static __thread char words[8192];
static __thread size_t used;

static int keep_words(enum libbpf_print_level level, const char *format, va_list arguments)
{
	size_t left = sizeof(words) - used;
	int length;

	if (level != LIBBPF_WARN || left < 2)
		return 0;
	length = vsnprintf(words + used, left, format, arguments);
	if (length > 0)
		used += (size_t)length < left ? (size_t)length : left - 1;
	return 0;
}

__attribute__((constructor)) static void listen_to_libbpf(void)
{
	libbpf_set_print(keep_words);
}

void log_restart(void)
{
	words[0] = 0;
	used = 0;
}

const char *fl_log(void)
{
	return words;
}

int fl_possible_cpus(void)
{
	log_restart();
	return libbpf_num_possible_cpus();
}

/* The magic number of the file system that holds `path`. */
int64_t fl_file_system(const char *path)
{
	struct statfs facts;

	return statfs(path, &facts) ? -errno : (int64_t)(uint32_t)facts.f_type;
}

int fl_map_create(uint32_t type, const char *name, uint32_t key_size, uint32_t value_size, uint32_t entries, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);

	log_restart();
	return bpf_map_create(type, name, key_size, value_size, entries, &options);
}

/* facts: type, key size, value size, entries, flags, id. */
int fl_map_facts(int fd, uint32_t *facts)
{
	struct bpf_map_info info = {0};
	__u32 length = sizeof(info);
	int result = bpf_obj_get_info_by_fd(fd, &info, &length);

	if (result)
		return result;
	facts[0] = info.type;
	facts[1] = info.key_size;
	facts[2] = info.value_size;
	facts[3] = info.max_entries;
	facts[4] = info.map_flags;
	facts[5] = info.id;
	return 0;
}

/* The kernel copies as many bytes as the map says: four are all that we have. */
static int require_words(int fd)
{
	uint32_t facts[6];
	int result = fl_map_facts(fd, facts);

	return result ? result : facts[1] == 4 && facts[2] == 4 ? 0 : -EINVAL;
}

int fl_map_put(int fd, uint32_t key, uint32_t value)
{
	int result;

	log_restart();
	result = require_words(fd);
	return result ? result : bpf_map_update_elem(fd, &key, &value, BPF_ANY);
}

int fl_map_take(int fd, uint32_t key, uint32_t *value)
{
	int result = require_words(fd);

	return result ? result : bpf_map_lookup_elem(fd, &key, value);
}

int fl_map_drop(int fd, uint32_t key)
{
	int result;

	log_restart();
	result = require_words(fd);
	return result ? result : bpf_map_delete_elem(fd, &key);
}

/* Key and value must be as long as the map has them. */
int fl_map_update(int fd, const void *key, const void *value)
{
	log_restart();
	return bpf_map_update_elem(fd, key, value, BPF_ANY);
}

/* As a program would find it, but nothing is noted: an LRU hash's entries do not become younger by it. */
int fl_map_find(int fd, const void *key, void *value)
{
	log_restart();
	return bpf_map_lookup_elem(fd, key, value);
}

int fl_map_delete(int fd, const void *key)
{
	log_restart();
	return bpf_map_delete_elem(fd, key);
}

/* Everything in a map of any kind but arrays, in one call; `count` in: room, out: entries. */
int fl_map_read(int fd, void *keys, void *values, uint32_t *count)
{
	uint64_t next[8]; /* where a further call would begin: as long as a key, at most */
	int result;

	log_restart();
	result = bpf_map_lookup_batch(fd, NULL, next, keys, values, count, NULL);
	return result == -ENOENT ? 0 : result;
}

int fl_pin(int fd, const char *path)
{
	log_restart();
	return bpf_obj_pin(fd, path);
}

int fl_open_pin(const char *path)
{
	log_restart();
	return bpf_obj_get(path);
}

/* facts: id, type. `name` holds 16 bytes. */
int fl_program_facts(int fd, uint32_t *facts, char *name)
{
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);
	int result = bpf_obj_get_info_by_fd(fd, &info, &length);

	if (result)
		return result;
	facts[0] = info.id;
	facts[1] = info.type;
	memcpy(name, info.name, sizeof(info.name));
	return 0;
}

/* A foreign program's name; needs CAP_SYS_ADMIN, and -EPERM is no reason to stop. */
int fl_program_name(uint32_t id, char *name)
{
	int fd = bpf_prog_get_fd_by_id(id);
	uint32_t facts[2];
	int result;

	if (fd < 0)
		return fd;
	result = fl_program_facts(fd, facts, name);
	close(fd);
	return result;
}

/* A program of two instructions whose action is the low half of jiffies. */
int fl_jiffies_program(void)
{
	struct bpf_insn code[] = {
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_jiffies64},
		{.code = BPF_JMP | BPF_EXIT},
	};

	log_restart();
	return bpf_prog_load(BPF_PROG_TYPE_XDP, "fairlead_clock", "GPL", code, sizeof(code) / sizeof(*code), NULL);
}

/* `out_length` in: room, out: bytes written; `action` is the program's answer, `duration` ns per repetition. */
int fl_test_run(int fd, const void *packet, uint32_t length, const void *context, uint32_t context_length, void *out,
		uint32_t *out_length, uint32_t repeat, uint32_t *action, uint32_t *duration)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = length, .data_out = out,
		    .data_size_out = *out_length, .ctx_in = context_length ? context : NULL, .ctx_size_in = context_length,
		    .repeat = repeat);
	int result = bpf_prog_test_run_opts(fd, &run);

	*out_length = run.data_size_out;
	*action = run.retval;
	*duration = run.duration;
	return result;
}
