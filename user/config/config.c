// SPDX-License-Identifier: GPL-2.0-only
/*
 * From files to a policy: which files there are, one document of each, all of them read into one
 * policy, then the checks of the whole. Whatever is wrong with one file, the others are looked at
 * too.
 */
#include "config/config.h"

#include "config/check.h"
#include "config/document.h"
#include "config/reader.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct source {
	char *name; /* as errors show it */
	struct document document;
};

struct sources {
	struct source *list;
	size_t count, room;
};

static int out_of_memory(struct errors *errors, const char *object)
{
	return errors_add_code(errors, ENOMEM, object, "free some memory", "out of memory");
}

static void sources_release(struct sources *sources)
{
	for (size_t i = 0; i < sources->count; i++) {
		document_release(&sources->list[i].document);
		free(sources->list[i].name);
	}
	free(sources->list);
}

/* Parses @text as one more source. Where that fails, the others are still worth a look. */
static int sources_add(struct sources *sources, const char *name, const char *text, size_t length,
		       struct errors *errors)
{
	struct source *source;

	if (sources->count == sources->room) {
		size_t room = sources->room ? 2 * sources->room : 16;
		struct source *list = reallocarray(sources->list, room, sizeof(*list));

		if (!list)
			return out_of_memory(errors, name);
		sources->list = list;
		sources->room = room;
	}
	source = &sources->list[sources->count];
	*source = (struct source){.name = strdup(name)};
	if (!source->name)
		return out_of_memory(errors, name);
	sources->count++;
	return document_load(&source->document, text, length, source->name, errors);
}

/* ---- reading the documents into a policy ---- */

/* Lists are joined, and what was read must not move: room for all their items is made first. */
static int make_room(const struct sources *sources, struct policy *policy)
{
	size_t interfaces = 0, segments = 0, services = 0;

	for (size_t i = 0; i < sources->count; i++) {
		const struct document *document = &sources->list[i].document;
		const yaml_node_t *root = document_root(document), *list;

		list = root ? map_value(document, root, "interfaces") : NULL;
		interfaces += list ? list_length(list) : 0;
		list = root ? map_value(document, root, "segments") : NULL;
		segments += list ? list_length(list) : 0;
		list = root ? map_value(document, root, "services") : NULL;
		services += list ? list_length(list) : 0;
	}
	/* Longer lists are errors, and none of their items will be read. */
	interfaces = interfaces < INTERFACES_MAX ? interfaces : INTERFACES_MAX;
	segments = segments < SEGMENTS_MAX ? segments : SEGMENTS_MAX;
	services = services < SERVICES_MAX ? services : SERVICES_MAX;
	policy->interfaces = calloc(interfaces + 1, sizeof(*policy->interfaces));
	policy->segments = calloc(segments + 1, sizeof(*policy->segments));
	policy->services = calloc(services + 1, sizeof(*policy->services));
	return policy->interfaces && policy->segments && policy->services ? 0 : -ENOMEM;
}

/* False if one was no map, and so was not read. */
static bool read_documents(struct reader *reader, const struct sources *sources,
			   struct policy *policy)
{
	bool whole = true;

	for (size_t i = 0; i < sources->count; i++) {
		const struct document *document = &sources->list[i].document;
		const yaml_node_t *root = document_root(document);
		struct position where;

		if (!root)
			continue;
		if (root->type != YAML_MAPPING_NODE) {
			where = document_position(document, root);
			errors_add(reader->errors, &where, "yaml", "write KEY: VALUE lines",
				   "the file must be a map of keys, not %s", node_kind(root));
			whole = false;
			continue;
		}
		reader->document = document;
		reader_read_map(reader, &config_schema, root, policy, NULL);
	}
	return whole;
}

static void keep_rollout_places(const struct places *places, struct policy *policy,
				struct service *service)
{
	struct rollout *rollout = &service->rollout;
	const struct place *place = places_find(places, service, "rollout");

	if (place)
		rollout->where = policy_position(policy, &place->where);
	for (size_t i = 0; i < rollout->steps_count; i++) {
		place = places_find(places, &rollout->steps[i], "");
		if (place)
			rollout->steps[i].where = policy_position(policy, &place->where);
	}
	for (size_t i = 0; i < rollout->metrics_count; i++) {
		place = places_find(places, &rollout->metrics[i], "name");
		if (place)
			rollout->metrics[i].where = policy_position(policy, &place->where);
	}
}

/* What is compared with more than the files, by whoever applies them. */
static void keep_places(const struct places *places, struct policy *policy)
{
	const struct place *place;

	for (size_t i = 0; i < policy->interfaces_count; i++) {
		place = places_find(places, &policy->interfaces[i], "name");
		if (place)
			policy->interfaces[i].where = policy_position(policy, &place->where);
	}
	for (size_t i = 0; i < policy->segments_count; i++) {
		place = places_find(places, &policy->segments[i], "name");
		if (place)
			policy->segments[i].position = policy_position(policy, &place->where);
	}
	for (size_t i = 0; i < policy->services_count; i++) {
		place = places_find(places, &policy->services[i], "name");
		if (place)
			policy->services[i].where = policy_position(policy, &place->where);
		keep_rollout_places(places, policy, &policy->services[i]);
	}
}

/* @whole: every file was parsed. Else nothing is said about what may stand in the others. */
static struct policy *read_policy(const struct sources *sources, bool whole, struct errors *errors)
{
	struct reader reader = {.errors = errors};
	struct position start = {sources->list[0].name, 1, 1};
	struct policy *policy = policy_new();
	struct check check = {.places = &reader.places, .errors = errors};
	size_t errors_before = errors_count(errors);

	if (!policy || make_room(sources, policy)) {
		out_of_memory(errors, sources->list[0].name);
		goto fail;
	}
	if (!whole)
		policy->limits = (struct limits){0};
	check.whole = read_documents(&reader, sources, policy) && whole;
	if (check.whole)
		reader_finish_map(&reader, &config_schema, &start, policy, NULL);
	if (!reader.out_of_memory)
		check_policy(&check, policy);
	if (errors_count(errors) > errors_before || !whole)
		goto fail;
	keep_places(&reader.places, policy);
	places_release(&reader.places);
	return policy;

fail:
	places_release(&reader.places);
	policy_free(policy);
	return NULL;
}

/* ---- files ---- */

static int read_error(struct errors *errors, const char *name, int code)
{
	return errors_add_code(errors, code, name, "check the name and its permissions",
			       "cannot be read, %s", strerror(code));
}

static int read_stream(FILE *stream, char **text, size_t *length)
{
	size_t room = 1 << 16;
	char *larger;

	*text = NULL;
	*length = 0;
	for (;;) {
		larger = realloc(*text, room);
		if (!larger)
			return ENOMEM;
		*text = larger;
		*length += fread(*text + *length, 1, room - *length, stream);
		if (ferror(stream))
			return errno ? errno : EIO;
		/* One byte too many is enough for document_load() to refuse it. */
		if (*length < room || *length > DOCUMENT_SIZE_MAX)
			return 0;
		room *= 2;
	}
}

static int load_file(struct sources *sources, const char *name, struct errors *errors)
{
	FILE *stream = fopen(name, "re");
	char *text = NULL;
	size_t length;
	int error;

	if (!stream)
		return read_error(errors, name, errno);
	error = read_stream(stream, &text, &length);
	fclose(stream);
	if (error)
		error = read_error(errors, name, error);
	else
		error = sources_add(sources, name, text, length, errors);
	free(text);
	return error;
}

static int is_config_file(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	/* Hidden ones are editors' copies. */
	return entry->d_name[0] != '.' && length > 5 &&
	       !strcmp(entry->d_name + length - 5, ".yaml");
}

/* By bytes: the same order everywhere, unlike alphasort(), which asks the locale. */
static int compare_entries(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int load_directory(struct sources *sources, const char *directory, struct errors *errors)
{
	size_t length = strlen(directory);
	const char *slash = length && directory[length - 1] == '/' ? "" : "/";
	struct dirent **entries;
	int count = scandir(directory, &entries, is_config_file, compare_entries);
	int error = 0;

	if (count < 0)
		return read_error(errors, directory, errno);
	if (!count)
		error = errors_add(errors, NULL, directory, "name a directory that has some",
				   "has no *.yaml files");
	for (int i = 0; i < count; i++) {
		char *name;

		if (asprintf(&name, "%s%s%s", directory, slash, entries[i]->d_name) < 0) {
			error = out_of_memory(errors, directory);
		} else {
			if (load_file(sources, name, errors))
				error = -EINVAL;
			free(name);
		}
		free(entries[i]);
	}
	free(entries);
	return error;
}

static int load_path(struct sources *sources, const char *path, struct errors *errors)
{
	struct stat status;

	if (stat(path, &status))
		return read_error(errors, path, errno);
	if (S_ISDIR(status.st_mode))
		return load_directory(sources, path, errors);
	return load_file(sources, path, errors);
}

/* ---- the two ways in ---- */

/* Callers may listen to no errors, but the readers count them. */
static struct errors *listen_to(struct errors *errors, struct errors **own)
{
	*own = errors ? NULL : errors_new();
	return errors ? errors : *own;
}

struct policy *config_load(const char *const *paths, size_t count, struct errors *errors)
{
	struct sources sources = {0};
	struct policy *policy = NULL;
	struct errors *own;
	bool whole = true;

	errors = listen_to(errors, &own);
	if (!errors)
		return NULL;
	if (!count)
		errors_add(errors, NULL, "-f", "name a file or directory", "no files are given");
	for (size_t i = 0; i < count; i++)
		if (load_path(&sources, paths[i], errors))
			whole = false;
	if (sources.count)
		policy = read_policy(&sources, whole, errors);
	sources_release(&sources);
	errors_free(own);
	return policy;
}

struct policy *config_parse(const char *text, size_t length, const char *name,
			    struct errors *errors)
{
	struct sources sources = {0};
	struct policy *policy = NULL;
	struct errors *own;

	errors = listen_to(errors, &own);
	if (!errors)
		return NULL;
	if (!sources_add(&sources, name, text, length, errors))
		policy = read_policy(&sources, true, errors);
	sources_release(&sources);
	errors_free(own);
	return policy;
}

struct policy *config_parse_revision(const char *text, const char *name, struct errors *errors)
{
	struct policy *policy = config_parse(text, strlen(text), name, NULL);

	return policy ? policy : config_parse(text, strlen(text), name, errors);
}
