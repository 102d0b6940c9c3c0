// SPDX-License-Identifier: GPL-2.0-only
/* One function an examination; each adds what it found, also that all is well, so that silence
 * means not looked at. */
#include "observe/doctor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/magic.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

/* With one buffer a packet, native XDP takes frames of a page minus headroom and tail room: 3,498
 * on veth. */
#define MTU_WITHOUT_FRAGS 3498

void finding_add(struct findings *findings, const char *id, enum severity severity,
		 const char *object, const char *fix, const char *format, ...)
{
	struct finding *grown = reallocarray(findings->list, findings->count + 1, sizeof(*grown));
	struct finding *finding;
	va_list arguments;

	if (!grown)
		return;
	findings->list = grown;
	finding = &grown[findings->count++];
	*finding = (struct finding){.id = id, .severity = severity};
	snprintf(finding->object, sizeof(finding->object), "%s", object);
	snprintf(finding->fix, sizeof(finding->fix), "%s", fix);
	va_start(arguments, format);
	vsnprintf(finding->message, sizeof(finding->message), format, arguments);
	va_end(arguments);
}

const char *severity_name(enum severity severity)
{
	static const char *const names[] = {
		[SEVERITY_OK] = "ok",
		[SEVERITY_INFO] = "info",
		[SEVERITY_WARNING] = "warning",
		[SEVERITY_ERROR] = "error",
	};

	return names[severity];
}

void findings_release(struct findings *findings)
{
	free(findings->list);
	*findings = (struct findings){0};
}

/* ---- the host ---- */

static void examine_kernel(struct findings *findings)
{
	struct utsname kernel;
	int major = 0, minor = 0;

	if (uname(&kernel) || sscanf(kernel.release, "%d.%d", &major, &minor) != 2)
		return;
	if (major < 6 || (major == 6 && minor < 1))
		finding_add(findings, "kernel", SEVERITY_ERROR, "kernel", "boot Linux 6.1 or newer",
			    "Linux %s lacks what the data path needs", kernel.release);
	else
		finding_add(findings, "kernel", SEVERITY_OK, "kernel", "", "Linux %s",
			    kernel.release);
}

static void examine_jit(struct findings *findings)
{
	int fd = open("/proc/sys/net/core/bpf_jit_enable", O_RDONLY | O_CLOEXEC);
	char value = '1';

	if (fd < 0)
		return;
	if (read(fd, &value, 1) == 1 && value == '0')
		finding_add(findings, "jit", SEVERITY_ERROR, "kernel",
			    "sysctl -w net.core.bpf_jit_enable=1",
			    "BPF is interpreted: many times slower");
	close(fd);
}

static void examine_privileges(struct findings *findings)
{
	static const struct {
		cap_value_t value;
		const char *name;
	} needed[] = {{CAP_BPF, "CAP_BPF"},
		      {CAP_NET_ADMIN, "CAP_NET_ADMIN"},
		      {CAP_PERFMON, "CAP_PERFMON"}};
	cap_t capabilities = cap_get_proc();
	size_t i;

	for (i = 0; capabilities && i < sizeof(needed) / sizeof(*needed); i++) {
		cap_flag_value_t set = CAP_CLEAR;

		cap_get_flag(capabilities, needed[i].value, CAP_EFFECTIVE, &set);
		if (set == CAP_CLEAR)
			finding_add(findings, "privileges", SEVERITY_ERROR, needed[i].name,
				    "run as root, or grant it",
				    "is missing: the program cannot be loaded or attached by this "
				    "user");
	}
	cap_free(capabilities);
}

static void examine_bpffs(struct findings *findings, const struct place *place,
			  const struct control *control)
{
	struct statfs info;

	if (control && control->datapath)
		finding_add(findings, "bpffs", SEVERITY_OK, place->pins, "", "the maps are pinned");
	else if (!statfs(place->pins, &info) && info.f_type != BPF_FS_MAGIC)
		finding_add(findings, "bpffs", SEVERITY_INFO, place->pins,
			    "nothing: `attach` mounts one there", "is not on a bpffs");
	else
		finding_add(findings, "bpffs", SEVERITY_INFO, place->pins,
			    "run `xdp-canary attach`", "nothing is loaded");
}

/* ---- interfaces ---- */

static int ethtool_value(int fd, const char *interface, uint32_t command, uint32_t *value)
{
	struct ethtool_value request = {.cmd = command};
	struct ifreq ifreq = {0};

	snprintf(ifreq.ifr_name, sizeof(ifreq.ifr_name), "%s", interface);
	ifreq.ifr_data = (char *)&request;
	if (ioctl(fd, SIOCETHTOOL, &ifreq))
		return -errno;
	*value = request.data;
	return 0;
}

static int interface_mtu(int fd, const char *interface)
{
	struct ifreq ifreq = {0};

	snprintf(ifreq.ifr_name, sizeof(ifreq.ifr_name), "%s", interface);
	return ioctl(fd, SIOCGIFMTU, &ifreq) ? -errno : ifreq.ifr_mtu;
}

static void examine_offloads(struct findings *findings, int fd, const char *name)
{
	char fix[200];
	uint32_t flags = 0;

	if (ethtool_value(fd, name, ETHTOOL_GFLAGS, &flags))
		return;
	snprintf(fix, sizeof(fix), "ethtool -K %s rxvlan off", name);
	if (flags & ETH_FLAG_RXVLAN)
		finding_add(findings, "rxvlan", SEVERITY_WARNING, name, fix,
			    "VLAN offload hides tags from the program: needed off where VIPs come "
			    "tagged");
	snprintf(fix, sizeof(fix), "ethtool -K %s lro off", name);
	if (flags & ETH_FLAG_LRO)
		finding_add(findings, "lro", SEVERITY_ERROR, name, fix,
			    "large receive offload merges packets before XDP");
}

static void examine_state(struct findings *findings, const struct control *control,
			  const struct interface *interface)
{
	const struct live_interface *live = live_interface_of(&control->live, interface->name);

	switch (link_state(control->place->pins, interface->name)) {
	case ATTACHED_NATIVE:
		finding_add(findings, "attached", SEVERITY_OK, interface->name, "",
			    "attached in native mode");
		break;
	case ATTACHED_GENERIC:
		finding_add(findings, "generic", SEVERITY_WARNING, interface->name,
			    "use a NIC whose driver has native XDP",
			    "attached in generic mode: several times slower than native");
		break;
	default:
		if (live && live->attached && !control->live.detached)
			finding_add(findings, "attached", SEVERITY_ERROR, interface->name,
				    "run `xdp-canary attach`",
				    "is to be attached and is not: VIP traffic goes to the host");
		else
			finding_add(findings, "attached", SEVERITY_INFO, interface->name,
				    "run `xdp-canary attach`", "is not attached");
	}
}

static void examine_interface(struct findings *findings, int fd, const struct control *control,
			      const struct interface *interface)
{
	int mtu;

	if (!interface_exists(interface->name)) {
		finding_add(findings, "interface", SEVERITY_ERROR, interface->name, "see `ip link`",
			    "there is no such interface in this network namespace");
		return;
	}
	mtu = interface_mtu(fd, interface->name);
	if (mtu > MTU_WITHOUT_FRAGS)
		finding_add(findings, "mtu", SEVERITY_INFO, interface->name, "",
			    "MTU %d: frames in several buffers; the driver must support them", mtu);
	examine_offloads(findings, fd, interface->name);
	examine_state(findings, control, interface);
}

/* ---- state ---- */

static void examine_secret(struct findings *findings, const struct control *control)
{
	char *path = secret_path(control->place, control->policy);
	struct stat info;

	if (path && !stat(path, &info) && (info.st_mode & 077))
		finding_add(findings, "secret", SEVERITY_ERROR, path,
			    "chmod 600 it, and make a new one if others read it",
			    "the secret can be read by others than its owner");
	free(path);
}

static void examine_next_hops(struct findings *findings, struct control *control)
{
	char address[ADDRESS_TEXT_SIZE], object[80];
	size_t s, c, b;

	for (s = 0; s < control->policy->services_count; s++) {
		const struct service *service = &control->policy->services[s];
		const struct view *view = control_view(control, service->name);

		for (c = 0; view && c < service->cohorts_count; c++)
			for (b = 0; b < service->cohorts[c].backends_count; b++) {
				uint32_t number;

				address_format(&service->cohorts[c].backends[b].address, address);
				if (store_find_number(control->store, NUMBER_BACKEND, service->name,
						      address, &number, control->errors) ||
				    number >= view->backends_count)
					continue;
				snprintf(object, sizeof(object), "%.40s/%.38s", service->name,
					 address);
				if (!(datapath_backend(control->datapath, view, number)->next_hop &
				      NEXT_HOP_VALID))
					finding_add(findings, "next_hop", SEVERITY_WARNING, object,
						    "look at `ip route get` and `ip neigh`, run "
						    "the daemon",
						    "no next hop is known for the backend");
			}
	}
}

static void examine_memory(struct findings *findings, const struct control *control)
{
	uint64_t sum = 0;
	int id;

	for (id = 0; id < MAPS; id++)
		sum += map_bytes(&control->datapath->maps[id], map_is_per_cpu(id));
	finding_add(findings, "memory", SEVERITY_INFO, "maps",
		    "lower `limits` for less; they count when maps are made",
		    "the maps take %.1f MiB", sum / 1048576.0);
}

static void examine_limits(struct findings *findings, const struct control *control)
{
	const struct datapath *datapath = control->datapath;

	if (datapath_service_limit(datapath) != control->policy->limits.services ||
	    datapath->maps[MAP_VIPS6].entries != 2 * control->policy->limits.vips ||
	    datapath->maps[MAP_BACKEND_COUNTERS].entries != 2 * control->policy->limits.backends)
		finding_add(findings, "limits", SEVERITY_WARNING, "limits",
			    "they take effect when the maps are next made",
			    "the loaded maps have other sizes than the configuration says");
}

int doctor_examine(const struct place *place, struct control *control, struct findings *out)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t i;

	*out = (struct findings){0};
	if (fd < 0)
		return -errno;
	examine_kernel(out);
	examine_jit(out);
	examine_privileges(out);
	examine_bpffs(out, place, control);
	if (!control) {
		finding_add(out, "state", SEVERITY_ERROR, place->state, "see the errors above",
			    "the state cannot be read");
		close(fd);
		return 0;
	}
	if (!control->revision.number)
		finding_add(out, "state", SEVERITY_INFO, place->state,
			    "run `xdp-canary apply -f FILE`", "nothing has been applied yet");
	for (i = 0; i < control->policy->interfaces_count; i++)
		examine_interface(out, fd, control, &control->policy->interfaces[i]);
	examine_secret(out, control);
	examine_segments(out, control);
	examine_checks(out, control);
	if (control->datapath) {
		examine_next_hops(out, control);
		examine_limits(out, control);
		examine_memory(out, control);
	}
	close(fd);
	return 0;
}
