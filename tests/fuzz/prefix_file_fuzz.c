// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes at all as the file of a segment. What is refused has errors with a line of the file;
 * what is accepted is sorted and in the form of the box. Build with clang
 * -fsanitize=fuzzer,address,undefined.
 */
#include "segment/compute.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_members(const struct membership *membership, struct client_form form)
{
	for (size_t i = 0; i < membership->count; i++) {
		struct prefix prefix = member_prefix(&membership->members[i]);
		struct prefix shorter = prefix_shorten(&prefix, form.prefix4, form.prefix6);

		require(prefix_equal(&prefix, &shorter));
		require(!i ||
			member_compare(&membership->members[i - 1], &membership->members[i]) < 0);
	}
}

static void check_errors(const struct errors *errors, const char *file)
{
	json_t *report = errors_to_json(errors);
	const json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(report, "errors"), i, entry)
	{
		require(!strcmp(json_string_value(json_object_get(entry, "file")), file));
		require(json_integer_value(json_object_get(entry, "line")) >= 1);
	}
	require(i > 0);
	json_decref(report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct limits limits = {.segment_clients = 1u << 20, .segment_prefixes = 1u << 20};
	const struct segment_world world = {.limits = &limits, .form = {24, 56}};
	int fd = memfd_create("list", MFD_CLOEXEC);
	struct errors *errors = errors_new();
	struct membership membership;
	char file[32];
	struct segment segment = {.name = "s", .kind = SEGMENT_FILE, .file = file};
	int error;

	require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	error = segment_compute(&world, &segment, &membership, errors);
	require(!error == !errors_count(errors));
	if (error)
		check_errors(errors, file);
	else
		check_members(&membership, world.form);
	membership_release(&membership);
	errors_free(errors);
	close(fd);
	return 0;
}
