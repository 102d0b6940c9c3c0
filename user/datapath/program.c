// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loading the program. Each interface has an instance of its own, all on the same maps: what
 * differs between instances are constants that the verifier folds (bpf/maps.h).
 */
#include "datapath/publish.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "xdp_canary.skel.h"

struct program {
	struct xdp_canary *skeleton;
	struct bpf_program *program; /* the one that is loaded */
};

static int reuse_maps(struct datapath *datapath, struct xdp_canary *skeleton)
{
	int id, error = 0;

	for (id = 0; id < MAPS && !error; id++) {
		struct bpf_map *map =
			id == MAP_BOX ? skeleton->maps.data_box
				      : bpf_object__find_map_by_name(skeleton->obj,
								     datapath->maps[id].name);

		error = bpf_map__reuse_fd(map, datapath->maps[id].fd);
	}
	return error;
}

static int load_failed(int code, struct errors *errors)
{
	struct utsname kernel;
	int major = 0, minor = 0;

	if (code == EPERM)
		return errors_add_code(
			errors, code, "program",
			"run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
			"the kernel refused to load it: not permitted");
	if (!uname(&kernel) && sscanf(kernel.release, "%d.%d", &major, &minor) == 2 &&
	    (major < 6 || (major == 6 && minor < 1)))
		return errors_add_code(errors, code, "program", "boot Linux 6.1 or newer",
				       "Linux %s cannot run it: %s", kernel.release,
				       strerror(code));
	return errors_add_code(errors, code, "program",
			       "run it with -v for the verifier's words, and report it",
			       "the kernel refused to load it: %s", strerror(code));
}

int program_load(struct datapath *datapath, struct siphash_key secret, uint32_t interface_slot,
		 bool explaining, struct program **out, struct errors *errors)
{
	struct program *program = calloc(1, sizeof(*program));
	int error;

	if (!program)
		return -ENOMEM;
	program->skeleton = xdp_canary__open();
	if (!program->skeleton) {
		error = load_failed(errno, errors);
		goto out;
	}
	program->skeleton->rodata->secret = secret;
	program->skeleton->rodata->interface_slot = interface_slot;
	program->skeleton->rodata->vip_bucket_bits =
		__builtin_ctz(datapath->maps[MAP_VIP_BUCKETS].entries / 2);
	program->skeleton->rodata->vip6_count = datapath->maps[MAP_VIPS6].entries / 2;
	program->skeleton->rodata->observed_count = datapath->maps[MAP_OBSERVED].entries;
	program->skeleton->rodata->tracked_client_sets =
		datapath->maps[MAP_TRACKED_CLIENTS].entries / TRACK_WAYS;
	program->skeleton->rodata->tracked_flow_sets =
		datapath->maps[MAP_TRACKED_FLOWS].entries / TRACK_WAYS;
	program->skeleton->rodata->ms_per_jiffy = track_ms_per_jiffy();
	program->program = explaining ? program->skeleton->progs.xdp_canary_explain
				      : program->skeleton->progs.xdp_canary;
	bpf_program__set_autoload(program->skeleton->progs.xdp_canary, !explaining);
	bpf_program__set_autoload(program->skeleton->progs.xdp_canary_explain, explaining);
	error = reuse_maps(datapath, program->skeleton);
	if (!error)
		error = xdp_canary__load(program->skeleton);
	if (error) {
		error = load_failed(-error, errors);
		goto out;
	}
	*out = program;
	return 0;
out:
	program_free(program);
	return error;
}

int program_fd(const struct program *program)
{
	return bpf_program__fd(program->program);
}

void program_tag(int program, char tag[PROGRAM_TAG_SIZE])
{
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);
	size_t i;

	*tag = '\0';
	if (bpf_obj_get_info_by_fd(program, &info, &size))
		return;
	for (i = 0; i < sizeof(info.tag); i++)
		sprintf(tag + 2 * i, "%02x", info.tag[i]);
}

void program_free(struct program *program)
{
	if (!program)
		return;
	xdp_canary__destroy(program->skeleton);
	free(program);
}
