// SPDX-License-Identifier: GPL-2.0-only
/*
 * XDP links: pinned, so that the data path goes on with no process alive. Made with
 * bpf_link_create() and an explicit mode, for without one the kernel falls back to generic XDP
 * without a word.
 */
#include "datapath/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file of a bpffs has no '.' in its name, an interface's name has no ':'. */
static void exchange(char *name, char from, char to)
{
	for (; (name = strchr(name, from)); name++)
		*name = to;
}

static char *link_path(const char *pins, const char *interface)
{
	char name[IF_NAMESIZE], *path;

	snprintf(name, sizeof(name), "%s", interface);
	exchange(name, '.', ':');
	return asprintf(&path, "%s/links/%s", pins, name) < 0 ? NULL : path;
}

/* The interface that a pinned link is on; 0: it was taken away, or it is none of this network
 * namespace's. */
static uint32_t link_ifindex(int fd)
{
	struct bpf_link_info info = {0};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		return 0;
	return info.xdp.ifindex;
}

enum attach_state link_state(const char *pins, const char *interface)
{
	struct bpf_xdp_query_opts query = {.sz = sizeof(query)};
	enum attach_state state = NOT_ATTACHED;
	char *path = link_path(pins, interface);
	int fd = path ? bpf_obj_get(path) : -1;
	uint32_t ifindex = if_nametoindex(interface);

	free(path);
	if (fd < 0)
		return NOT_ATTACHED;
	if (ifindex && link_ifindex(fd) == ifindex && !bpf_xdp_query(ifindex, 0, &query))
		state = query.attach_mode == XDP_ATTACHED_SKB ? ATTACHED_GENERIC : ATTACHED_NATIVE;
	close(fd);
	return state;
}

static int attach_failed(int code, const struct interface *interface, struct errors *errors)
{
	const char *mode = interface->mode == MODE_GENERIC ? "generic" : "native";

	if (code == EBUSY || code == EEXIST)
		return errors_add_code(
			errors, code, interface->name,
			"see `ip link show` and `bpftool net`, and detach the other one",
			"another XDP program is attached to it");
	if (code == EOPNOTSUPP || code == EINVAL)
		return errors_add_code(
			errors, code, interface->name,
			"set `mode: auto` or `mode: generic` for it, or look at `doctor`",
			"its driver cannot run XDP in %s mode: %s", mode, strerror(code));
	if (code == ERANGE)
		return errors_add_code(errors, code, interface->name,
				       "lower the MTU of it or its peer, or look at `doctor`",
				       "its MTU is too large for %s XDP", mode);
	return errors_add_code(errors, code, interface->name,
			       code == EPERM ? "run as root, or with CAP_BPF and CAP_NET_ADMIN"
					     : "look at `doctor`",
			       "cannot attach in %s mode: %s", mode, strerror(code));
}

static int create_link(int program, uint32_t ifindex, uint32_t mode)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = mode);

	return bpf_link_create(program, ifindex, BPF_XDP, &options);
}

/* The descriptor of a new link, or a negative errno. */
static int attach_by_mode(int program, uint32_t ifindex, const struct interface *interface,
			  struct errors *errors)
{
	int fd, code;

	if (interface->mode == MODE_GENERIC)
		return create_link(program, ifindex, XDP_FLAGS_SKB_MODE);
	fd = create_link(program, ifindex, XDP_FLAGS_DRV_MODE);
	if (fd >= 0 || interface->mode == MODE_NATIVE || fd == -EBUSY || fd == -EEXIST)
		return fd;
	code = -fd;
	fd = create_link(program, ifindex, XDP_FLAGS_SKB_MODE);
	if (fd >= 0)
		errors_warn(errors, NULL, interface->name, "use a NIC whose driver has native XDP",
			    "attached in generic mode, several times slower: native failed: %s",
			    strerror(code));
	return fd;
}

int link_attach(struct datapath *datapath, struct siphash_key secret,
		const struct interface *interface, uint32_t interface_slot, struct errors *errors)
{
	uint32_t ifindex = if_nametoindex(interface->name);
	char *path = link_path(datapath->pins, interface->name);
	struct program *program = NULL;
	int error, fd = -1;

	if (!path)
		return -ENOMEM;
	if (!ifindex) {
		error = errors_add_code(errors, ENODEV, interface->name, "see `ip link`",
					"there is no such interface in this network namespace");
		goto out;
	}
	error = 0;
	if (link_state(datapath->pins, interface->name) != NOT_ATTACHED)
		goto out;
	unlink(path); /* of an interface that was taken away */
	error = program_load(datapath, secret, interface_slot, false, &program, errors);
	if (error)
		goto out;
	fd = attach_by_mode(program_fd(program), ifindex, interface, errors);
	if (fd < 0) {
		error = attach_failed(-fd, interface, errors);
		goto out;
	}
	if (bpf_obj_pin(fd, path))
		error = errors_add_code(errors, errno, path, "remove what is there",
					"cannot pin the link: %s", strerror(errno));
out:
	if (fd >= 0)
		close(fd);
	program_free(program);
	free(path);
	return error;
}

int link_detach(const char *pins, const char *interface, struct errors *errors)
{
	char *path = link_path(pins, interface);
	int fd = path ? bpf_obj_get(path) : -1;
	int error = 0;

	if (fd < 0) {
		error = -errno;
		if (error != -ENOENT && error != -ENOTDIR)
			errors_add_code(errors, -error, path ? path : interface, "run as root",
					"cannot open the pinned link: %s", strerror(-error));
		free(path);
		return error == -ENOTDIR ? -ENOENT : error;
	}
	bpf_link_detach(fd);
	close(fd);
	if (unlink(path))
		error = errors_add_code(errors, errno, path, "remove it by hand",
					"cannot remove the pin: %s", strerror(errno));
	free(path);
	return error;
}

static void tag_of_link(int fd, char tag[PROGRAM_TAG_SIZE])
{
	struct bpf_link_info info = {0};
	__u32 size = sizeof(info);
	int program = -1;

	*tag = '\0';
	if (!bpf_obj_get_info_by_fd(fd, &info, &size))
		program = bpf_prog_get_fd_by_id(info.prog_id);
	if (program < 0)
		return;
	program_tag(program, tag);
	close(program);
}

int link_replace_program(const char *pins, const char *interface, const struct program *program,
			 char before[PROGRAM_TAG_SIZE], struct errors *errors)
{
	char *path = link_path(pins, interface);
	int fd = path ? bpf_obj_get(path) : -1, error = 0;

	free(path);
	if (fd < 0)
		return errors_add_code(errors, errno, interface, "run as root",
				       "cannot open the pinned link: %s", strerror(errno));
	tag_of_link(fd, before);
	if (bpf_link_update(fd, program_fd(program), NULL))
		error = errors_add_code(errors, errno, interface,
					"the old program goes on; look at `doctor`",
					"cannot replace the program: %s", strerror(errno));
	close(fd);
	return error;
}

int link_list(const char *pins, char ***names, size_t *count, struct errors *errors)
{
	struct dirent *entry;
	int error = 0;
	char *path;
	DIR *directory;

	*names = NULL;
	*count = 0;
	if (asprintf(&path, "%s/links", pins) < 0)
		return -ENOMEM;
	directory = opendir(path);
	if (!directory && errno != ENOENT && errno != ENOTDIR)
		error = errors_add_code(errors, errno, path, "run as root",
					"cannot list the links: %s", strerror(errno));
	while (directory && !error && (entry = readdir(directory))) {
		char **grown;

		if (*entry->d_name == '.')
			continue;
		grown = reallocarray(*names, *count + 1, sizeof(**names));
		if (!grown) {
			error = -ENOMEM;
			break;
		}
		*names = grown;
		grown[*count] = strdup(entry->d_name);
		exchange(grown[(*count)++], ':', '.');
	}
	if (directory)
		closedir(directory);
	free(path);
	return error;
}
