// SPDX-License-Identifier: GPL-2.0-only
/*
 * The desired state as a value: making, freeing and finding things in it, and the text of a VIP.
 * Pure. The defaults of the top level stand here for a box that has no file yet, and in
 * user/config/schema.c for keys that a file leaves out; tests/unit/config_test.c holds the two
 * together.
 */
#include "policy/policy.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct policy *policy_new(void)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return NULL;
	policy->metrics_listen = strdup("127.0.0.1:9977");
	if (!policy->metrics_listen) {
		free(policy);
		return NULL;
	}
	policy->limits = (struct limits){
		.services = 1024,
		.vips = 8192,
		.backends = 65536,
		.transition_flows = 131072,
		.segment_clients = 1048576,
		.segment_prefixes = 131072,
		.observed_clients = 1048576,
		.tracked_clients = 262144,
	};
	policy->observe = (struct observe){.sample = 16, .window_ms = 7 * 86400000ULL};
	return policy;
}

static void health_check_release(struct health_check *check)
{
	free(check->path);
	free(check->host);
	free(check->expect_status);
	free(check->expect_body);
}

static void metric_release(struct rollout_metric *metric)
{
	free(metric->url);
	free(metric->query);
	free(metric->query_control);
	for (size_t i = 0; i < metric->command_count; i++)
		free(metric->command[i]);
	free(metric->command);
}

static void rollout_release(struct rollout *rollout)
{
	for (size_t i = 0; i < rollout->steps_count; i++)
		free(rollout->steps[i].approve_message);
	for (size_t i = 0; i < rollout->metrics_count; i++)
		metric_release(&rollout->metrics[i]);
	for (size_t i = 0; i < rollout->hooks_count; i++)
		free(rollout->hooks[i].url);
	free(rollout->steps);
	free(rollout->metrics);
	free(rollout->hooks);
}

static void service_release(struct service *service)
{
	for (size_t i = 0; i < COHORTS_MAX; i++) {
		free(service->cohorts[i].version);
		free(service->cohorts[i].backends);
	}
	free(service->vips);
	free(service->release);
	free(service->salt);
	free(service->group_by);
	health_check_release(&service->health_check);
	rollout_release(&service->rollout);
}

static void segment_release(struct segment *segment)
{
	free(segment->description);
	free(segment->cidrs);
	free(segment->file);
	free(segment->where);
	free(segment->bins.feature);
	free(segment->bins.edges);
	free(segment->bins.take);
	free(segment->bins.where);
	free(segment->model.class_name);
	free(segment->sample.where);
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->services_count; i++)
		service_release(&policy->services[i]);
	for (size_t i = 0; i < policy->segments_count; i++)
		segment_release(&policy->segments[i]);
	for (size_t i = 0; i < policy->files_count; i++)
		free(policy->files[i]);
	free(policy->files);
	free(policy->segments);
	free(policy->services);
	free(policy->interfaces);
	free(policy->metrics_listen);
	free(policy->secret_file);
	free(policy);
}

struct position policy_position(struct policy *policy, const struct position *where)
{
	struct position kept = {.line = where->line, .column = where->column};
	char **files;

	for (size_t i = 0; where->file && i < policy->files_count && !kept.file; i++)
		if (!strcmp(policy->files[i], where->file))
			kept.file = policy->files[i];
	if (kept.file || !where->file)
		return kept;
	files = reallocarray(policy->files, policy->files_count + 1, sizeof(*files));
	if (!files)
		return (struct position){0};
	policy->files = files;
	files[policy->files_count] = strdup(where->file);
	if (!files[policy->files_count])
		return (struct position){0};
	kept.file = files[policy->files_count++];
	return kept;
}

struct segment *policy_segment(const struct policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->segments_count; i++)
		if (!strcmp(policy->segments[i].name, name))
			return &policy->segments[i];
	return NULL;
}

bool rollout_has_critical(const struct rollout *rollout)
{
	for (size_t i = 0; i < rollout->metrics_count; i++)
		if (rollout->metrics[i].critical)
			return true;
	return false;
}

struct service *policy_service(const struct policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->services_count; i++)
		if (!strcmp(policy->services[i].name, name))
			return &policy->services[i];
	return NULL;
}

const char *server_id_format(const struct backend *backend, char out[SERVER_ID_TEXT_SIZE])
{
	if (!backend->has_server_id)
		return NULL;
	snprintf(out, SERVER_ID_TEXT_SIZE, "%0*" PRIx64, 2 * backend->server_id_length,
		 backend->server_id);
	return out;
}

int service_cohort(const struct service *service, const char *name)
{
	for (size_t i = 0; i < service->cohorts_count; i++)
		if (!strcmp(service->cohorts[i].name, name))
			return i;
	return -ENOENT;
}

int service_rule(const struct service *service, const char *name)
{
	for (size_t i = 0; i < service->rules_count; i++)
		if (!strcmp(service->rules[i].name, name))
			return i;
	return -ENOENT;
}

struct rule *service_default_rule(const struct service *service)
{
	for (size_t i = 0; i < service->rules_count; i++)
		if (service->rules[i].is_default)
			return (struct rule *)&service->rules[i];
	return NULL;
}

const char *service_salt(const struct service *service, char *buffer, size_t size)
{
	if (service->salt)
		return service->salt;
	snprintf(buffer, size, "%s/%s", service->name, service->release);
	return buffer;
}

int vip_parse(const char *text, struct vip *out)
{
	char copy[ADDRESS_TEXT_SIZE];
	char *address = copy, *port, *protocol;
	struct vip vip = {0};
	uint64_t number = 0;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	protocol = strrchr(copy, '/');
	if (!protocol)
		return -EINVAL;
	*protocol++ = 0;
	if (!strcmp(protocol, "tcp"))
		vip.protocol = IPPROTO_TCP;
	else if (!strcmp(protocol, "udp"))
		vip.protocol = IPPROTO_UDP;
	else
		return -EINVAL;
	port = strrchr(copy, ':');
	if (!port)
		return -EINVAL;
	*port++ = 0;
	if (strcmp(port, "*") && text_integer(port, 1, 65535, &number))
		return -EINVAL;
	vip.port = number;
	if (*address == '[') {
		size_t length = strlen(++address);

		if (!length || address[length - 1] != ']' || !strchr(address, ':'))
			return -EINVAL;
		address[length - 1] = 0;
	} else if (strchr(address, ':')) {
		return -EINVAL; /* IPv6 without brackets: where does the port begin? */
	}
	if (address_parse(address, &vip.address))
		return -EINVAL;
	*out = vip;
	return 0;
}

const char *vip_format(const struct vip *vip, char out[ADDRESS_TEXT_SIZE])
{
	const char *protocol = vip->protocol == IPPROTO_TCP ? "tcp" : "udp";
	bool brackets = vip->address.family == 6;
	char address[ADDRESS_TEXT_SIZE], port[8] = "*";

	address_format(&vip->address, address);
	if (vip->port)
		snprintf(port, sizeof(port), "%u", vip->port);
	if ((size_t)snprintf(out, ADDRESS_TEXT_SIZE, "%s%s%s:%s/%s", brackets ? "[" : "", address,
			     brackets ? "]" : "", port, protocol) >= ADDRESS_TEXT_SIZE)
		out[0] = 0; /* cannot be: the longest has 52 characters */
	return out;
}

static const char *const kernel_metric_names[KERNEL_METRICS] = {
	[METRIC_CONNECT_FAILURE] = "connect_failure",
	[METRIC_SYN_REPEATED] = "syn_repeated",
	[METRIC_UNANSWERED] = "unanswered",
	[METRIC_QUIT] = "quit",
	[METRIC_SILENT] = "silent",
	[METRIC_RETRANSMISSION] = "retransmission",
	[METRIC_ESTABLISH_TIME] = "establish_time",
	[METRIC_RESPOND_TIME] = "respond_time",
	[METRIC_LAST_BYTE_TIME] = "last_byte_time",
	[METRIC_CLIENT_RESET] = "client_reset",
	[METRIC_RESPONSE_SIZE] = "response_size",
};

const char *kernel_metric_name(enum kernel_metric metric)
{
	return metric < KERNEL_METRICS ? kernel_metric_names[metric] : "";
}

enum kernel_metric kernel_metric_by_name(const char *name)
{
	unsigned int metric = 0;

	while (metric < KERNEL_METRICS && strcmp(kernel_metric_names[metric], name))
		metric++;
	return metric;
}

size_t rollout_cohort(const struct service *service)
{
	int cohort =
		service->rollout.cohort[0] ? service_cohort(service, service->rollout.cohort) : 1;

	return cohort > 0 ? cohort : 1;
}

bool metric_samples(const struct rollout_metric *metric)
{
	return metric->source == SOURCE_COMMAND ||
	       (metric->source == SOURCE_PROMETHEUS && !metric->query_control);
}

bool metric_is_informational(const struct rollout_metric *metric)
{
	return metric->source == SOURCE_KERNEL &&
	       (metric->kernel == METRIC_CLIENT_RESET || metric->kernel == METRIC_RESPONSE_SIZE);
}

bool metric_acts(const struct rollout_metric *metric)
{
	if (metric_samples(metric) || metric->is_blind)
		return false;
	return !metric_is_informational(metric) || metric->critical || metric->has_max_rate ||
	       metric->weight != 1;
}
