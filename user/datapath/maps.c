// SPDX-License-Identifier: GPL-2.0-only
/*
 * Maps: sized when they are made, and found again by their pins. Who may write what and when is in
 * headers/abi.h.
 */
#include "datapath/datapath.h"

#include "policy/ring.h"
#include "policy/vip_table.h"
#include "segment/layout.h"
#include "util/siphash.h"
#include "util/text.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "xdp_canary.skel.h"

/* Slots beside limits.services: one that is removed is free again only with the next write. */
#define SPARE_SERVICE_SLOTS 16
/* Lines go by backend number, and numbers of those that left are given again late: room for gaps.
 */
#define BACKEND_GENERATIONS 3
#define SERVER_ID_SLOTS	    4 /* a backend: half full at the most, and two generations */
#define PIN_RANGES_MAX                                                                             \
	(2u << PINS_SEARCH_STEPS) /* of the most that one service can have, two generations */

/* A group has several clients, and each service that groups its own entries, two generations. */
#define GROUP_CLIENTS 2

#define FLOWS_A_CLIENT 2 /* that is followed */

/* Of all services together: what each makes of each class of clients, two generations. */
#define SERVICE_CLASSES (1u << 20)

static const char *const map_names[MAPS] = {
#define X(symbol, name, type) [MAP_##symbol] = name,
	FOR_EACH_MAP(X)
#undef X
};

static const size_t map_value_sizes[MAPS] = {
#define X(symbol, name, type) [MAP_##symbol] = sizeof(type),
	FOR_EACH_MAP(X)
#undef X
};

bool map_is_per_cpu(enum map_id id)
{
	return id >= MAP_INTERFACE_COUNTERS && id <= MAP_SEGMENT_COUNTERS;
}

static bool map_is_mmapable(enum map_id id)
{
	return id <= MAP_BOX;
}

/*
 * Rings of all backends, and a second generation of those of one service. A ring has a power of two
 * of slots: at most 200 a backend, and at least RING_SLOTS_MIN with two backends.
 */
static uint32_t ring_slots(const struct limits *limits)
{
	uint32_t of_many = 2 * RING_SLOTS_PER_BACKEND * limits->backends;
	uint32_t rings = COHORTS_MAX * limits->services;
	uint32_t of_few =
		RING_SLOTS_MIN * (rings < limits->backends / 2 ? rings : limits->backends / 2 + 1);
	uint32_t of_one =
		2 * RING_SLOTS_PER_BACKEND *
		(limits->backends < SERVICE_BACKENDS_MAX ? limits->backends : SERVICE_BACKENDS_MAX);

	return of_many + of_few + (of_one > of_few ? of_one : of_few);
}

/* Of followed clients and flows: whole sets, one at least. */
static uint32_t tracked_records(uint32_t count)
{
	uint32_t sets = (count + TRACK_WAYS - 1) / TRACK_WAYS;

	return (sets ? sets : 1) * TRACK_WAYS;
}

static uint32_t map_entries(enum map_id id, const struct limits *limits)
{
	uint32_t slots = limits->services + SPARE_SERVICE_SLOTS;

	switch (id) {
	case MAP_CELLS:
	case MAP_SERVICE_NAMES:
	case MAP_DECISION_COUNTERS:
	case MAP_AFFINITY_COUNTERS:
		return slots;
	case MAP_VIEWS:
		return 2 * slots;
	case MAP_RULES:
		return 2 * slots * VIEW_RULES;
	case MAP_RING_SLOTS:
		return ring_slots(limits) / RING_LINE_SLOTS + 1;
	case MAP_BACKENDS:
		return BACKEND_GENERATIONS * limits->backends;
	case MAP_PINS:
		return PIN_RANGES_MAX;
	case MAP_TRANSITION:
		return limits->transition_flows / TRANSITION_WAYS + 1;
	case MAP_SERVER_IDS:
		return SERVER_ID_SLOTS * limits->backends;
	case MAP_OBSERVED:
		return limits->observed_clients ? limits->observed_clients : 1;
	case MAP_TRACKED_SERVICES:
		return slots < TRACKED_SERVICES_MAX ? slots : TRACKED_SERVICES_MAX;
	case MAP_TRACKED_CLIENTS:
		return tracked_records(limits->tracked_clients);
	case MAP_TRACKED_FLOWS:
		return tracked_records(FLOWS_A_CLIENT * limits->tracked_clients);
	case MAP_TRACK_SAMPLES:
		return slots * LANES_MAX;
	case MAP_VIP_BUCKETS:
		return 2 * vip_table_buckets(limits->vips);
	case MAP_VIPS6:
		return 2 * limits->vips;
	case MAP_INTERFACE_COUNTERS:
		return INTERFACES_MAX;
	case MAP_RULE_COUNTERS:
	case MAP_TRACK_EVENTS:
		return slots * (RULES_MAX + 1) * LANES_MAX;
	case MAP_BACKEND_COUNTERS:
		return 2 * limits->backends;
	case MAP_SEGMENT_TABLES:
		return SEGMENT_TABLES;
	case MAP_SEGMENT_LINES:
		return 2 * layout_lines_max(limits->segment_clients, limits->segment_prefixes);
	case MAP_CLASSES:
		return SERVICE_CLASSES / CLASS_LINE_CLASSES;
	case MAP_GROUPS:
		return limits->segment_clients / GROUP_CLIENTS + 1;
	case MAP_SEGMENT_COUNTERS:
		return SEGMENTS_MAX;
	default:
		return 1;
	}
}

uint32_t datapath_service_limit(const struct datapath *datapath)
{
	return datapath->maps[MAP_CELLS].entries - SPARE_SERVICE_SLOTS;
}

uint32_t datapath_rule_groups(const struct datapath *datapath)
{
	return datapath->maps[MAP_RULE_COUNTERS].entries / LANES_MAX;
}

uint64_t secret_fingerprint(struct siphash_key secret)
{
	static const char text[] = "xdp-canary/fingerprint";

	return siphash13(secret, text, sizeof(text) - 1);
}

struct box *datapath_box(const struct datapath *datapath)
{
	return map_array(datapath, MAP_BOX, struct box);
}

static char *pin_path(const char *pins, const char *directory, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s/%s", pins, directory, name) < 0 ? NULL : path;
}

static int no_array(const struct map *map, int error, struct errors *errors)
{
	return errors_add_code(errors, -error, map->name, "is the pin from another version?",
			       "cannot map the pinned map into memory: %s", strerror(-error));
}

static enum map_access map_access(const struct datapath *datapath, bool may_write)
{
	if (!may_write)
		return MAP_IS_COPY;
	return datapath->writable ? MAP_IS_WRITABLE : MAP_IS_READABLE;
}

/* Adopts @fd: its real size, and addresses where it is an array to look into. */
static int map_adopt(struct datapath *datapath, enum map_id id, int fd, bool may_write,
		     struct errors *errors)
{
	struct map *map = &datapath->maps[id];
	struct bpf_map_info info = {0};
	__u32 size = sizeof(info);
	int error;

	map->fd = fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		return errors_add_code(errors, errno, map->name, "is it a pin of xdp-canary?",
				       "cannot read what map it is: %s", strerror(errno));
	map->entries = info.max_entries;
	map->value_size = info.value_size;
	if (map->value_size != map_value_sizes[id])
		return errors_add_code(
			errors, EPROTO, map->name,
			"detach, remove the pins and attach with this version",
			"the pinned map has elements of %u bytes, this version's have %zu",
			map->value_size, map_value_sizes[id]);
	if (!map_is_mmapable(id))
		return 0;
	if (!(info.map_flags & BPF_F_MMAPABLE))
		return no_array(map, -EINVAL, errors);
	error = map_reserve(map, map_access(datapath, may_write));
	return error ? no_array(map, error, errors) : 0;
}

static struct datapath *datapath_new(const char *pins, bool writable)
{
	struct datapath *datapath = calloc(1, sizeof(*datapath));
	int id;

	if (!datapath)
		return NULL;
	datapath->pins = strdup(pins);
	datapath->writable = writable;
	for (id = 0; id < MAPS; id++) {
		datapath->maps[id].fd = -1;
		datapath->maps[id].name = map_names[id];
	}
	return datapath;
}

void datapath_close(struct datapath *datapath)
{
	int id;

	if (!datapath)
		return;
	for (id = 0; id < MAPS; id++) {
		struct map *map = &datapath->maps[id];

		map_release(map);
		if (map->fd >= 0)
			close(map->fd);
	}
	free(datapath->pins);
	free(datapath);
}

static int check_version(struct datapath *datapath, struct errors *errors)
{
	uint32_t version = datapath_box(datapath)->abi_version;

	if (version == ABI_VERSION)
		return 0;
	return errors_add_code(
		errors, EPROTO, datapath->pins,
		"use the program that made them, or detach, remove them and attach again",
		"the pinned maps have layout %u, this program's is %u", version, ABI_VERSION);
}

/* A reader that may write too has the better descriptor: see enum map_access. */
static int open_pin(const char *path, bool writable, bool *may_write)
{
	LIBBPF_OPTS(bpf_obj_get_opts, options, .file_flags = BPF_F_RDONLY);
	int fd = bpf_obj_get(path);

	*may_write = fd >= 0;
	if (fd < 0 && !writable && (errno == EACCES || errno == EPERM))
		fd = bpf_obj_get_opts(path, &options);
	return fd;
}

static int open_map(struct datapath *datapath, enum map_id id, struct errors *errors)
{
	char *path = pin_path(datapath->pins, "maps", map_names[id]);
	bool may_write;
	int error, fd = path ? open_pin(path, datapath->writable, &may_write) : -1;

	error = fd < 0 ? -errno : map_adopt(datapath, id, fd, may_write, errors);
	if (error == -ENOTDIR)
		error = -ENOENT;
	if (fd < 0 && error != -ENOENT)
		errors_add_code(errors, -error, path ? path : datapath->pins,
				"run as root, or as a member of the state's group for reading",
				"cannot open the pinned map: %s", strerror(-error));
	free(path);
	return error;
}

int datapath_open(const char *pins, bool writable, struct datapath **out, struct errors *errors)
{
	struct datapath *datapath = datapath_new(pins, writable);
	int id, error = datapath ? 0 : -ENOMEM;

	for (id = 0; id < MAPS && !error; id++)
		error = open_map(datapath, id, errors);
	if (!error)
		error = check_version(datapath, errors);
	if (error) {
		datapath_close(datapath);
		return error;
	}
	*out = datapath;
	return 0;
}

/* ---- making them ---- */

static bool is_bpffs(const char *path)
{
	struct statfs info;

	return !statfs(path, &info) && info.f_type == BPF_FS_MAGIC;
}

/* A directory of one's own on a bpffs: mounts one where there is none. */
static int make_pins(const char *pins, struct errors *errors)
{
	static const char usual[] = "/sys/fs/bpf/";

	if (!strncmp(pins, usual, sizeof(usual) - 1) && !is_bpffs("/sys/fs/bpf") &&
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"))
		return errors_add_code(errors, errno, "/sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf",
				       "cannot mount a bpffs: %s", strerror(errno));
	if (mkdir(pins, 0750) && errno != EEXIST)
		return errors_add_code(errors, errno, pins,
				       "its parent must be a directory that root may write",
				       "cannot make the directory for pins: %s", strerror(errno));
	if (!is_bpffs(pins) && mount("bpf", pins, "bpf", 0, "mode=0750"))
		return errors_add_code(errors, errno, pins, "give --pins a directory on a bpffs",
				       "is not on a bpffs, and mounting one there failed: %s",
				       strerror(errno));
	return 0;
}

static int make_directory(const char *pins, const char *name, struct errors *errors)
{
	char *path;
	int error = 0;

	if (asprintf(&path, "%s/%s", pins, name) < 0)
		return -ENOMEM;
	if (mkdir(path, 0750) && errno != EEXIST)
		error = errors_add_code(errors, errno, path, "run as root",
					"cannot make the directory: %s", strerror(errno));
	free(path);
	return error;
}

/* The skeleton's map of an id: libbpf gives sections other names than their pins have. */
static struct bpf_map *skeleton_map(struct xdp_canary *skeleton, enum map_id id)
{
	return id == MAP_BOX ? skeleton->maps.data_box
			     : bpf_object__find_map_by_name(skeleton->obj, map_names[id]);
}

static int pin_map(struct datapath *datapath, enum map_id id, struct bpf_map *map,
		   struct errors *errors)
{
	char *path = pin_path(datapath->pins, "maps", map_names[id]);
	int error = 0, fd;

	if (!path)
		return -ENOMEM;
	if (bpf_obj_pin(bpf_map__fd(map), path) || chmod(path, 0640))
		error = errors_add_code(errors, errno, path, "remove what is there",
					"cannot pin the map: %s", strerror(errno));
	free(path);
	if (error)
		return error;
	fd = dup(bpf_map__fd(map));
	return fd < 0 ? -errno : map_adopt(datapath, id, fd, true, errors);
}

void datapath_unmake(const char *pins)
{
	char *explainer;
	int id;

	for (id = 0; id < MAPS; id++) {
		char *path = pin_path(pins, "maps", map_names[id]);

		if (path)
			unlink(path);
		free(path);
	}
	if (asprintf(&explainer, "%s/explain", pins) < 0)
		return;
	unlink(explainer);
	free(explainer);
}

static uint32_t map_identity(int fd)
{
	struct bpf_map_info info = {0};
	__u32 size = sizeof(info);

	return fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) ? 0 : info.id;
}

bool datapath_is_pinned(const struct datapath *datapath)
{
	char *path = pin_path(datapath->pins, "maps", map_names[MAP_CELLS]);
	int fd = path ? bpf_obj_get(path) : -1;
	uint32_t pinned = map_identity(fd);

	if (fd >= 0)
		close(fd);
	free(path);
	return pinned && pinned == map_identity(datapath->maps[MAP_CELLS].fd);
}

int datapath_keep_open(const char *pins, bool writable, struct datapath **datapath)
{
	if (*datapath && !datapath_is_pinned(*datapath)) {
		datapath_close(*datapath);
		*datapath = NULL;
	}
	return *datapath ? 0 : datapath_open(pins, writable, datapath, NULL);
}

static int make_maps(struct datapath *datapath, const struct limits *limits, struct errors *errors)
{
	struct xdp_canary *skeleton = xdp_canary__open();
	int id, error = skeleton ? 0 : -errno;

	for (id = 0; id < MAPS && !error; id++) {
		struct bpf_map *map = skeleton_map(skeleton, id);

		if (id != MAP_BOX && id != MAP_GRACE)
			bpf_map__set_max_entries(map, map_entries(id, limits));
	}
	if (!error) {
		bpf_program__set_autoload(skeleton->progs.xdp_canary, false);
		bpf_program__set_autoload(skeleton->progs.xdp_canary_explain, false);
	}
	if (!error && xdp_canary__load(skeleton))
		error = errors_add_code(
			errors, errno, "maps",
			errno == EPERM
				? "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
				: "lower `limits`, or give the box more memory",
			"cannot make the BPF maps: %s", strerror(errno));
	for (id = 0; id < MAPS && !error; id++)
		error = pin_map(datapath, id, skeleton_map(skeleton, id), errors);
	xdp_canary__destroy(skeleton);
	if (error)
		datapath_unmake(datapath->pins);
	return error;
}

int datapath_pin_explainer(struct datapath *datapath, struct siphash_key secret,
			   struct errors *errors)
{
	struct program *program;
	char *path;
	int error = program_load(datapath, secret, 0, true, &program, errors);

	if (error)
		return error;
	if (asprintf(&path, "%s/explain", datapath->pins) < 0) {
		program_free(program);
		return -ENOMEM;
	}
	unlink(path);
	if (bpf_obj_pin(program_fd(program), path) || chmod(path, 0640))
		error = errors_add_code(errors, errno, path, "remove what is there",
					"cannot pin the explaining program: %s", strerror(errno));
	free(path);
	program_free(program);
	return error;
}

int datapath_create(const char *pins, const struct limits *limits, struct siphash_key secret,
		    struct datapath **out, struct errors *errors)
{
	struct datapath *datapath = datapath_new(pins, true);
	struct box *box;
	int error = datapath ? make_pins(pins, errors) : -ENOMEM;

	if (!error)
		error = make_directory(pins, "maps", errors);
	if (!error)
		error = make_directory(pins, "links", errors);
	if (!error)
		error = make_maps(datapath, limits, errors);
	if (error)
		goto out;
	box = datapath_box(datapath);
	box->abi_version = ABI_VERSION;
	box->secret_fingerprint = secret_fingerprint(secret);
	box->created = time_now_ns();
	error = datapath_pin_explainer(datapath, secret, errors);
	if (error)
		datapath_unmake(pins);
out:
	if (error)
		datapath_close(datapath);
	else
		*out = datapath;
	return error;
}
