// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loading a YAML text by libyaml, and what libyaml leaves unchecked: the encoding (it would take
 * UTF-16), further documents, tags, alias cycles, and aliases of aliases that make a small file a
 * huge tree. After that everything else can walk the tree without a thought about its size.
 */
#include "config/document.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The contract's deepest key is at 8. The walk below recurses, so this also bounds its stack. */
#define DEPTH_MAX 64
/* What aliases may add to the nodes that were written. */
#define ALIAS_EXPANSION_MAX (1u << 20)

static struct position mark_position(const struct document *document, const yaml_mark_t *mark)
{
	return (struct position){document->name, mark->line + 1, mark->column + 1};
}

struct position document_position(const struct document *document, const yaml_node_t *node)
{
	return mark_position(document, &node->start_mark);
}

const yaml_node_t *document_root(const struct document *document)
{
	const yaml_document_t *yaml = &document->yaml;

	if (!document->loaded || yaml->nodes.top == yaml->nodes.start)
		return NULL;
	return yaml->nodes.start;
}

const yaml_node_t *document_node(const struct document *document, int index)
{
	return document->yaml.nodes.start + index - 1;
}

const char *node_text(const yaml_node_t *node)
{
	const char *text;

	if (node->type != YAML_SCALAR_NODE)
		return NULL;
	text = (const char *)node->data.scalar.value;
	return strlen(text) == node->data.scalar.length ? text : NULL;
}

bool node_is_plain(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

bool node_is_null(const yaml_node_t *node)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
	const char *text = node_text(node);

	if (!text || !node_is_plain(node))
		return false;
	for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++)
		if (!strcmp(text, nulls[i]))
			return true;
	return false;
}

const char *node_kind(const yaml_node_t *node)
{
	switch (node->type) {
	case YAML_MAPPING_NODE:
		return "a map";
	case YAML_SEQUENCE_NODE:
		return "a list";
	default:
		return "a single value";
	}
}

const yaml_node_t *map_value(const struct document *document, const yaml_node_t *map,
			     const char *key)
{
	if (map->type != YAML_MAPPING_NODE)
		return NULL;
	for (const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
	     pair < map->data.mapping.pairs.top; pair++) {
		const char *text = node_text(document_node(document, pair->key));

		if (text && !strcmp(text, key))
			return document_node(document, pair->value);
	}
	return NULL;
}

size_t list_length(const yaml_node_t *list)
{
	if (list->type != YAML_SEQUENCE_NODE)
		return 0;
	return list->data.sequence.items.top - list->data.sequence.items.start;
}

/* ---- what libyaml leaves unchecked ---- */

#define SIZE_UNKNOWN	 0
#define SIZE_IN_PROGRESS UINT64_MAX

struct measure {
	const struct document *document;
	struct errors *errors;
	uint64_t *sizes; /* of each node, with all that is below it, aliases written out */
	uint64_t limit;
};

static int measure_node(struct measure *measure, int index, unsigned int depth, uint64_t *total);

static int refuse(struct measure *measure, const yaml_node_t *node, const char *hint,
		  const char *what)
{
	struct position where = document_position(measure->document, node);

	return errors_add(measure->errors, &where, "yaml", hint, "%s", what);
}

static int measure_children(struct measure *measure, const yaml_node_t *node, unsigned int depth,
			    uint64_t *total)
{
	int error = 0;

	if (node->type == YAML_SEQUENCE_NODE)
		for (const yaml_node_item_t *item = node->data.sequence.items.start;
		     !error && item < node->data.sequence.items.top; item++)
			error = measure_node(measure, *item, depth + 1, total);
	if (node->type == YAML_MAPPING_NODE)
		for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
		     !error && pair < node->data.mapping.pairs.top; pair++) {
			error = measure_node(measure, pair->key, depth + 1, total);
			if (!error)
				error = measure_node(measure, pair->value, depth + 1, total);
		}
	return error;
}

/* Adds the size of the node to *@total. Each node is walked once, so this takes linear time. */
static int measure_node(struct measure *measure, int index, unsigned int depth, uint64_t *total)
{
	const yaml_node_t *node = document_node(measure->document, index);
	uint64_t *size = &measure->sizes[index - 1], own = 1;
	int error;

	if (*size == SIZE_IN_PROGRESS)
		return refuse(measure, node, "write the values out",
			      "an alias stands inside the very value that it repeats");
	if (depth > DEPTH_MAX)
		return refuse(measure, node, "no key is that deep",
			      "lists and maps are nested too deeply");
	if (*size == SIZE_UNKNOWN) {
		if (node->tag && strcmp((char *)node->tag, YAML_DEFAULT_SCALAR_TAG) &&
		    strcmp((char *)node->tag, YAML_DEFAULT_SEQUENCE_TAG) &&
		    strcmp((char *)node->tag, YAML_DEFAULT_MAPPING_TAG))
			return refuse(measure, node, "write the value without it",
				      "tags have no meaning here");
		*size = SIZE_IN_PROGRESS;
		error = measure_children(measure, node, depth, &own);
		if (error)
			return error;
		*size = own;
	}
	*total += *size;
	if (*total > measure->limit)
		return refuse(measure, node, "write the values out", "aliases repeat too much");
	return 0;
}

static int check_tree(const struct document *document, struct errors *errors)
{
	size_t nodes = document->yaml.nodes.top - document->yaml.nodes.start;
	struct measure measure = {.document = document, .errors = errors};
	uint64_t total = 0;
	int error;

	if (!nodes)
		return 0;
	measure.limit = nodes + ALIAS_EXPANSION_MAX;
	measure.sizes = calloc(nodes, sizeof(*measure.sizes));
	if (!measure.sizes)
		return errors_add_code(errors, ENOMEM, document->name, "free some memory",
				       "out of memory");
	error = measure_node(&measure, 1, 0, &total);
	free(measure.sizes);
	return error;
}

/* ---- loading ---- */

/* libyaml's reader knows only the byte where the text ends to be UTF-8. */
static struct position byte_position(const struct document *document, const char *text,
				     size_t offset)
{
	struct position where = {document->name, 1, 1};

	for (size_t i = 0; i < offset; i++) {
		bool is_pair = text[i] == '\r' && i + 1 < offset && text[i + 1] == '\n';
		bool line_ends = text[i] == '\n' || (text[i] == '\r' && !is_pair);

		if (line_ends) {
			where.line++;
			where.column = 1;
		} else if ((text[i] & 0xc0) != 0x80 && text[i] != '\r') {
			where.column++;
		}
	}
	return where;
}

static int syntax_error(const struct document *document, const yaml_parser_t *parser,
			const char *text, size_t length, struct errors *errors)
{
	const char *problem = parser->problem ? parser->problem : "not YAML";
	struct position where;

	if (parser->error == YAML_MEMORY_ERROR)
		return errors_add_code(errors, ENOMEM, document->name, "free some memory",
				       "out of memory");
	if (parser->error == YAML_READER_ERROR) {
		size_t offset = parser->problem_offset;

		where = byte_position(document, text, offset < length ? offset : length);
		return errors_add(errors, &where, "yaml", "write plain UTF-8 text", "%s", problem);
	}
	where = mark_position(document, &parser->problem_mark);
	if (parser->context)
		return errors_add(errors, &where, "yaml", "check indentation, brackets and quotes",
				  "%s, %s (line %zu)", problem, parser->context,
				  parser->context_mark.line + 1);
	return errors_add(errors, &where, "yaml", "check indentation, brackets and quotes", "%s",
			  problem);
}

/* Fails if anything but the end of the text follows the first document. */
static int check_end(const struct document *document, yaml_parser_t *parser, const char *text,
		     size_t length, struct errors *errors)
{
	struct position where;
	yaml_document_t next;
	bool more;

	if (!yaml_parser_load(parser, &next))
		return syntax_error(document, parser, text, length, errors);
	more = next.nodes.top != next.nodes.start;
	where = mark_position(document, &next.start_mark);
	yaml_document_delete(&next);
	if (!more)
		return 0;
	return errors_add(errors, &where, "yaml", "keep one document in a file, without `---`",
			  "a second document begins here");
}

int document_load(struct document *document, const char *text, size_t length, const char *name,
		  struct errors *errors)
{
	struct position start = {name, 1, 1};
	yaml_parser_t parser;
	int error;

	*document = (struct document){.name = name};
	if (length > DOCUMENT_SIZE_MAX)
		return errors_add(errors, &start, "yaml", "split it into several files",
				  "the file has more than %u MiB", DOCUMENT_SIZE_MAX >> 20);
	if (!yaml_parser_initialize(&parser))
		return errors_add_code(errors, ENOMEM, name, "free some memory", "out of memory");
	/* Without this a byte order mark could make it UTF-16. UTF-8's would count as a column. */
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	if (length >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
		text += 3;
		length -= 3;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
	if (yaml_parser_load(&parser, &document->yaml)) {
		document->loaded = true;
		error = check_end(document, &parser, text, length, errors);
	} else {
		error = syntax_error(document, &parser, text, length, errors);
	}
	yaml_parser_delete(&parser);
	if (!error)
		error = check_tree(document, errors);
	if (error)
		document_release(document); /* it may be endless: nobody shall walk it */
	return error;
}

void document_release(struct document *document)
{
	if (document->loaded)
		yaml_document_delete(&document->yaml);
	document->loaded = false;
}
