// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arrays in memory. Mapping an array costs time for each of its pages, which the kernel enters
 * at once (array_map_mmap() in kernel/bpf/arraymap.c): 0.4 us, of tens of thousands, of which a
 * command looks at a few. So an array has addresses from the time it is opened, and pages, a chunk
 * at a time, from their first use. They stay: pointers hold until the datapath is closed.
 */
#include "datapath/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK 262144 /* bytes, a multiple of any page's; a mapping each, of 65,530 at the most */

static size_t element_size(const struct map *map)
{
	return (map->value_size + 7) & ~7u;
}

uint64_t map_bytes(const struct map *map, bool per_cpu)
{
	uint64_t elements = (uint64_t)element_size(map) * map->entries;

	return per_cpu ? elements * libbpf_num_possible_cpus() : elements;
}

static size_t whole_pages(const struct map *map)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (map_bytes(map, false) + page - 1) / page * page;
}

int map_reserve(struct map *map, enum map_access access)
{
	int protection = access == MAP_IS_COPY ? PROT_READ | PROT_WRITE : PROT_NONE;
	size_t size = whole_pages(map);

	map->access = access;
	map->has_chunk = calloc(size / CHUNK + 1, 1);
	if (!map->has_chunk)
		return -ENOMEM;
	map->memory =
		mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map->memory != MAP_FAILED)
		return 0;
	map->memory = NULL;
	return -errno;
}

void map_release(struct map *map)
{
	if (map->memory)
		munmap(map->memory, whole_pages(map));
	free(map->has_chunk);
}

/* All elements that the bytes are of. */
static int copy_elements(const struct map *map, size_t from, size_t size)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	size_t element = element_size(map);
	__u32 first = from / element, count = (from + size - 1) / element - first + 1;
	__u32 before = first - 1, next, *keys = calloc(count, sizeof(*keys));
	int error = 0;

	if (!keys)
		return -ENOMEM;
	/* ENOENT: the last element was among them. */
	if (bpf_map_lookup_batch(map->fd, first ? &before : NULL, &next, keys,
				 map->memory + first * element, &count, &options) &&
	    errno != ENOENT)
		error = -errno;
	free(keys);
	return error;
}

static int map_pages(const struct map *map, size_t from, size_t size)
{
	int protection = PROT_READ | (map->access == MAP_IS_WRITABLE ? PROT_WRITE : 0);
	void *pages =
		mmap(map->memory + from, size, protection, MAP_SHARED | MAP_FIXED, map->fd, from);

	return pages == MAP_FAILED ? -errno : 0;
}

/* Two threads at one chunk do the same twice. */
static int bring_chunk(const struct map *map, size_t chunk)
{
	size_t from = chunk * CHUNK, all = whole_pages(map);
	size_t size = all - from < CHUNK ? all - from : CHUNK;
	int error;

	if (__atomic_load_n(&map->has_chunk[chunk], __ATOMIC_ACQUIRE))
		return 0;
	if (map->access == MAP_IS_COPY) {
		all = map_bytes(map, false);
		error = copy_elements(map, from, all - from < size ? all - from : size);
	} else {
		error = map_pages(map, from, size);
	}
	if (!error)
		__atomic_store_n(&map->has_chunk[chunk], 1, __ATOMIC_RELEASE);
	return error;
}

/*
 * Fails by ending the process, as it would without memory for a page of its own: a writer may die
 * at any moment, and what has not been shown is dropped.
 */
void *map_reach(const struct map *map, size_t from, size_t size)
{
	size_t chunk;

	if (from + size > map_bytes(map, false))
		errx(EXIT_FAILURE, "map %s: a view names what lies beyond its end; apply again",
		     map->name);
	for (chunk = from / CHUNK; chunk * CHUNK < from + size; chunk++) {
		errno = -bring_chunk(map, chunk);
		if (errno)
			err(EXIT_FAILURE, "map %s: cannot be mapped into memory", map->name);
	}
	return map->memory + from;
}
