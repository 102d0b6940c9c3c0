// SPDX-License-Identifier: GPL-2.0-only
#include "store/list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void list_release(const struct row_type *type, void *list, size_t count)
{
	char *elements = list;

	for (size_t i = 0; type->release && i < count; i++)
		type->release(elements + i * type->size);
	free(list);
}

static int read_all(struct store *store, sqlite3_stmt *statement, const struct row_type *type,
		    char **list, size_t *used, struct errors *errors)
{
	int error;

	while ((error = sql_next(store, statement, errors)) > 0) {
		char *larger = rows_grow(store, *list, *used, type->size, errors);

		if (!larger)
			return -ENOMEM;
		*list = larger;
		memset(larger + *used * type->size, 0, type->size);
		error = type->read(store, statement, larger + *used * type->size, errors);
		if (error)
			return error;
		++*used;
	}
	return error;
}

int list_read(struct store *store, const struct row_type *type, const char *sql,
	      const struct sql_value *values, size_t values_count, void **out, size_t *count,
	      struct errors *errors)
{
	sqlite3_stmt *statement;
	char *list = NULL;
	size_t used = 0;
	int error;

	*out = NULL;
	*count = 0;
	error = sql_query(store, &statement, sql, values, values_count, errors);
	if (error)
		return error;
	error = read_all(store, statement, type, &list, &used, errors);
	if (error) {
		sql_end(statement);
		list_release(type, list, used);
		return error;
	}
	*out = list;
	*count = used;
	return 0;
}
