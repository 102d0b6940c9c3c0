// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fields lie one behind the other in blocks: a byte with the length (255: four bytes with it
 * follow), the text, a zero.
 */
#include "catalogue/sheet.h"

#include "catalogue/cell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE   (2 * 1024 * 1024)
#define BLOCK_SIZE  (2 * HUGE_PAGE)
#define LONG_LENGTH 255
#define AHEAD	    16 /* rows whose fields are fetched before they are read */
#define FIRST_ROOM  4096

struct sheet_block {
	struct sheet_block *next;
	size_t used;
	char bytes[BLOCK_SIZE - sizeof(struct sheet_block *) - sizeof(size_t)];
};
_Static_assert(sizeof(struct sheet_block) == BLOCK_SIZE &&
		       BLOCK_SIZE / 2 > CSV_RECORD_MAX + CSV_FIELDS_MAX * 8,
	       "a record has room in a block");

/* ---- adding ---- */

/*
 * At most BLOCK_SIZE bytes less the block's head; a record has less. Rows are read in another order
 * than they lie in, which huge pages make a tenth of the import faster.
 */
static char *take_bytes(struct sheet *sheet, size_t size)
{
	struct sheet_block *block = sheet->blocks;

	if (!block || sizeof(block->bytes) - block->used < size) {
		block = aligned_alloc(HUGE_PAGE, sizeof(*block));
		if (!block)
			return NULL;
		madvise(block, sizeof(*block), MADV_HUGEPAGE);
		block->used = 0;
		block->next = sheet->blocks;
		sheet->blocks = block;
	}
	block->used += size;
	return block->bytes + block->used - size;
}

static size_t packed_size(const struct csv_field *field)
{
	return (field->length < LONG_LENGTH ? 1 : 1 + sizeof(uint32_t)) + field->length + 1;
}

static char *pack(char *to, const struct csv_field *field)
{
	if (field->length < LONG_LENGTH) {
		*to++ = (char)field->length;
	} else {
		*to++ = (char)LONG_LENGTH;
		memcpy(to, &field->length, sizeof(field->length));
		to += sizeof(field->length);
	}
	memcpy(to, field->text, field->length + 1);
	return to + field->length + 1;
}

static const char *unpack(const char *from, const char **text, uint32_t *length)
{
	*length = (unsigned char)*from++;
	if (*length == LONG_LENGTH) {
		memcpy(length, from, sizeof(*length));
		from += sizeof(*length);
	}
	*text = from;
	return from + *length + 1;
}

static int make_room(struct sheet *sheet)
{
	size_t room = sheet->room ? 2 * sheet->room : FIRST_ROOM;
	struct sheet_row *larger;

	if (sheet->count < sheet->room)
		return 0;
	larger = reallocarray(sheet->rows, room, sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	sheet->rows = larger;
	sheet->room = room;
	return 0;
}

static void widen_column(struct attribute *attribute, const char *text, uint32_t length)
{
	enum attribute_type type;
	bool is_large;

	if (attribute->type == ATTRIBUTE_TEXT)
		return;
	type = cell_type(text, length, &is_large);
	attribute->has_large |= is_large;
	if (type > attribute->type)
		attribute->type = type;
	if (attribute->type == ATTRIBUTE_REAL && attribute->has_large)
		attribute->type = ATTRIBUTE_TEXT;
}

int sheet_add(struct sheet *sheet, const struct member *client, const struct csv_record *record)
{
	const struct csv_field *fields = record->fields;
	struct sheet_row *row;
	size_t size = 0;
	char *at;
	int error = make_room(sheet);

	for (size_t i = 1; i < record->count; i++)
		size += packed_size(&fields[i]);
	sheet->bytes += sizeof(*row) + size;
	if (!error && sheet->bytes > sheet->bytes_max)
		error = -EFBIG;
	at = error ? NULL : take_bytes(sheet, size);
	if (!at)
		return error ? error : -ENOMEM;
	row = &sheet->rows[sheet->count++];
	*row = (struct sheet_row){.high = client->high,
				  .low = client->low,
				  .length = client->length,
				  .fields = at,
				  .line = fields->line};
	for (size_t i = 1; i < record->count; i++) {
		at = pack(at, &fields[i]);
		widen_column(&sheet->attributes[i - 1], fields[i].text, fields[i].length);
	}
	return 0;
}

/* ---- sorting ---- */

static int compare_clients(const struct sheet_row *a, const struct sheet_row *b)
{
	if (a->high != b->high)
		return a->high < b->high ? -1 : 1;
	if (a->low != b->low)
		return a->low < b->low ? -1 : 1;
	return (int)a->length - (int)b->length;
}

static int compare_rows(const void *left, const void *right)
{
	const struct sheet_row *a = left, *b = right;
	int order = compare_clients(a, b);

	return order ? order : a->line < b->line ? -1 : 1;
}

static bool is_sorted(const struct sheet *sheet)
{
	for (size_t i = 1; i < sheet->count; i++)
		if (compare_rows(&sheet->rows[i - 1], &sheet->rows[i]) > 0)
			return false;
	return true;
}

static bool is_equal(const struct sheet *sheet, const char *a, const char *b)
{
	const char *left, *right;
	uint32_t length, other;

	for (size_t i = 0; i < sheet->columns; i++) {
		a = unpack(a, &left, &length);
		b = unpack(b, &right, &other);
		if (length != other || memcmp(left, right, length))
			return false;
	}
	return true;
}

/* As if only the rows that are left had ever been added. */
static void type_again(struct sheet *sheet)
{
	const char *from, *text;
	uint32_t length;

	for (size_t j = 0; j < sheet->columns; j++) {
		sheet->attributes[j].type = ATTRIBUTE_EMPTY;
		sheet->attributes[j].has_large = false;
	}
	for (size_t i = 0; i < sheet->count; i++) {
		from = sheet->rows[i].fields;
		for (size_t j = 0; j < sheet->columns; j++) {
			from = unpack(from, &text, &length);
			widen_column(&sheet->attributes[j], text, length);
		}
	}
}

void sheet_sort(struct sheet *sheet, uint64_t *repeated,
		void (*differs)(const struct sheet_row *first, const struct sheet_row *row,
				void *data),
		void *data)
{
	struct sheet_row *rows = sheet->rows;
	size_t kept = 0, differing = 0;

	if (!is_sorted(sheet))
		qsort(rows, sheet->count, sizeof(*rows), compare_rows);
	*repeated = 0;
	for (size_t i = 0; i < sheet->count; i++) {
		if (!kept || compare_clients(&rows[kept - 1], &rows[i])) {
			rows[kept++] = rows[i];
		} else if (is_equal(sheet, rows[kept - 1].fields, rows[i].fields)) {
			++*repeated;
		} else {
			differs(&rows[kept - 1], &rows[i], data);
			differing++;
		}
	}
	sheet->count = kept;
	if (differing)
		type_again(sheet);
}

/* ---- values ---- */

void sheet_values(const struct sheet *sheet, size_t index, struct attribute_value *values)
{
	const char *from = sheet->rows[index].fields, *text;
	uint32_t length;

	/* Rows are sorted, their fields are where they were read. */
	if (index + AHEAD < sheet->count)
		__builtin_prefetch(sheet->rows[index + AHEAD].fields);
	for (size_t i = 0; i < sheet->columns; i++) {
		from = unpack(from, &text, &length);
		values[i] = cell_value(text, length, sheet->attributes[i].type);
	}
}

struct member sheet_client(const struct sheet_row *row)
{
	return (struct member){.high = row->high, .low = row->low, .length = row->length};
}

void sheet_release(struct sheet *sheet)
{
	struct sheet_block *next;

	for (; sheet->blocks; sheet->blocks = next) {
		next = sheet->blocks->next;
		free(sheet->blocks);
	}
	for (size_t i = 0; i < sheet->columns; i++)
		free((char *)sheet->attributes[i].name);
	free(sheet->attributes);
	free(sheet->rows);
	*sheet = (struct sheet){0};
}
