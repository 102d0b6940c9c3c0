// SPDX-License-Identifier: GPL-2.0-only
/*
 * The catalogue as segments read it: rows joined of attributes and features, in order, and `where`,
 * which can do nothing but choose among them. What is in the tables is put there by SQLite itself.
 */
#include "state_fixture.h"

#include "catalogue/catalogue.h"
#include "catalogue/features.h"
#include "catalogue/import.h"
#include "policy/policy.h"
#include "tests/random.h"
#include "store/client_key.h"
#include "store/expression.h"
#include "store/rows.h"

#include <errno.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int make_box(void **state)
{
	struct state_box *box = calloc(1, sizeof(*box));

	assert_non_null(box);
	state_box_make(box);
	*state = box;
	return 0;
}

static int remove_box(void **state)
{
	state_box_remove(*state);
	free(*state);
	return 0;
}

static struct store *reader_of(struct state_box *box)
{
	if (!box->store)
		assert_int_equal(store_open_read(box->directory, &box->store, box->errors), 0);
	return box->store;
}

/*
 * Four clients: .1 with both, .2 with attributes alone, .3 observed alone, and a prefix of IPv6
 * with attributes. Keys are written out here, as the contract of the table has them.
 */
static const char four[] =
	"ALTER TABLE clients ADD COLUMN plan; ALTER TABLE clients ADD COLUMN \"Spent $\";"
	"ALTER TABLE clients ADD COLUMN \"a\"\"b\";"
	"INSERT INTO clients VALUES"
	" (x'00000000000000000000ffffc0000201' || x'80', 'gold', 12, NULL),"
	" (x'00000000000000000000ffffc0000202' || x'80', 'trial', 2.5, 'odd'),"
	" (x'20010db8000100020000000000000000' || x'40', NULL, NULL, NULL);"
	"UPDATE clients SET client = CAST(client AS BLOB);"
	"INSERT INTO features VALUES"
	" (x'00000000000000000000ffffc000020180', 100, 6400, 5, 60, 0.5, 1280.0, NULL, 9.0, 1.0, "
	"1),"
	" (x'00000000000000000000ffffc000020380', 7, 700, 1, 1, 0.1, 700.0, NULL, 9.0, 9.0, 2);";

struct found {
	char *text;
	size_t size;
	FILE *stream;
	size_t columns, rows, stop_after;
};

static int note_row(const struct catalogue_row *row, void *data)
{
	struct found *found = data;
	struct prefix prefix = member_prefix(&row->client);
	char text[ADDRESS_TEXT_SIZE];

	fputs(prefix_format(&prefix, text), found->stream);
	for (size_t i = 0; i < found->columns; i++) {
		const struct catalogue_value *value = &row->values[i];

		fputc(' ', found->stream);
		if (value->type == CATALOGUE_NULL)
			fputc('-', found->stream);
		else if (value->type == CATALOGUE_INTEGER)
			fprintf(found->stream, "%lld", (long long)value->integer);
		else if (value->type == CATALOGUE_REAL)
			fprintf(found->stream, "%.17g", value->real);
		else
			fprintf(found->stream, "'%s'", value->text);
	}
	fputc('\n', found->stream);
	return ++found->rows == found->stop_after ? 7 : 0;
}

static char *ask(struct state_box *box, const char *where, const char *const *columns, size_t count)
{
	struct catalogue_query query = {"segments/s/where", where, columns, count};
	struct found found = {.columns = count};

	found.stream = open_memstream(&found.text, &found.size);
	if (catalogue_each(reader_of(box), &query, note_row, &found, box->errors)) {
		errors_print(box->errors, stderr);
		fail_msg("%s", where ? where : "(all)");
	}
	fclose(found.stream);
	return found.text;
}

static void assert_found(struct state_box *box, const char *where, const char *expected)
{
	static const char *const columns[] = {"plan", "spent $", "packets"};
	char *text = ask(box, where, columns, 3);

	assert_string_equal(text, expected);
	free(text);
}

#define ROW_1 "192.0.2.1 'gold' 12 100\n"
#define ROW_2 "192.0.2.2 'trial' 2.5 -\n"
#define ROW_3 "192.0.2.3 - - 7\n"
#define ROW_6 "2001:db8:1:2::/64 - - -\n"

static void rows_are_attributes_and_features_of_all_clients_in_order(void **state)
{
	state_box_execute(*state, four);
	assert_found(*state, NULL, ROW_1 ROW_2 ROW_3 ROW_6);
}

static void where_takes_the_rows_for_which_it_is_true(void **state)
{
	state_box_execute(*state, four);
	assert_found(*state, "plan = 'gold'", ROW_1);
	assert_found(*state, "plan <> 'gold'", ROW_2);
	assert_found(*state, "plan IS NULL", ROW_3 ROW_6);
	assert_found(*state, "plan IS NULL AND packets IS NULL", ROW_6);
	assert_found(*state, "packets > 50 OR \"spent $\" < 3", ROW_1 ROW_2);
	assert_found(*state, "packets BETWEEN 1 AND 10", ROW_3);
	assert_found(*state, "client = '192.0.2.3' OR client LIKE '2001:%'", ROW_3 ROW_6);
	assert_found(*state, "catalogue.plan IN ('gold', 'trial') AND NOT packets", "");
	assert_found(*state, "coalesce(plan, upper('none')) = 'NONE'", ROW_3 ROW_6);
	assert_found(*state, "CASE plan WHEN 'gold' THEN 1 ELSE 0 END", ROW_1);
	assert_found(*state, "PLAN = 'trial'", ROW_2);
	assert_found(*state, "\"a\"\"b\" = 'odd'", ROW_2);
	assert_found(*state, "[a\"b] = 'odd'", ROW_2);
	assert_found(*state, "plan = ')' OR plan = ';' OR plan = '--' OR packets = 7", ROW_3);
	assert_found(*state, "plan = 'it''s' OR (packets = (7))", ROW_3);
	assert_found(*state, "date('2030-01-02') < '2030-02-01' AND packets = 7", ROW_3);
	assert_found(*state, "0", "");
	assert_found(*state, "NULL", "");
}

static void values_have_the_types_they_were_stored_with(void **state)
{
	static const char *const columns[] = {"CLIENT", "bytes_per_flow", "mean_gap_seconds",
					      "bytes"};
	char *text;

	state_box_execute(*state, four);
	text = ask(*state, "packets = 100", columns, 4);
	assert_string_equal(text, "192.0.2.1 '192.0.2.1' 1280 - 6400\n");
	free(text);
}

static void columns_are_attributes_then_features(void **state)
{
	struct state_box *box = *state;
	char **names;
	size_t count;

	state_box_execute(box, four);
	assert_int_equal(catalogue_columns(reader_of(box), &names, &count, box->errors), 0);
	assert_int_equal(count, 3 + FEATURES_COUNT);
	assert_string_equal(names[0], "plan");
	assert_string_equal(names[1], "Spent $");
	assert_string_equal(names[2], "a\"b");
	assert_string_equal(names[3], "packets");
	assert_string_equal(names[12], "services");
	catalogue_columns_release(names, count);
}

static void feature_names_are_the_columns_of_their_table(void **state)
{
	struct state_box *box = *state;
	sqlite3_stmt *statement;
	sqlite3 *database;
	size_t i = 0;

	assert_int_equal(sqlite3_open(box->path, &database), SQLITE_OK);
	sqlite3_prepare_v2(database, "SELECT name FROM pragma_table_info('features') WHERE cid > 0",
			   -1, &statement, NULL);
	for (; sqlite3_step(statement) == SQLITE_ROW; i++)
		assert_string_equal(sqlite3_column_text(statement, 0), feature_names[i]);
	assert_int_equal(i, FEATURES_COUNT);
	sqlite3_finalize(statement);
	sqlite3_close(database);
}

static void a_callback_ends_the_rows_and_may_use_the_store(void **state)
{
	struct catalogue_query query = {"x", NULL, NULL, 0};
	struct state_box *box = *state;
	struct found found = {.stop_after = 2};

	state_box_execute(box, four);
	found.stream = open_memstream(&found.text, &found.size);
	assert_int_equal(catalogue_each(reader_of(box), &query, note_row, &found, box->errors), 7);
	fclose(found.stream);
	assert_string_equal(found.text, "192.0.2.1\n192.0.2.2\n");
	free(found.text);
}

#define MANY 1000000 /* members: more bytes than a text that an expression makes may have */

static int write_within(const struct catalogue_row *row, void *data)
{
	struct found *found = data;
	struct membership membership = {.segment = "within", .count = MANY};
	int error;

	(void)row;
	found->rows++;
	membership.members = calloc(MANY, sizeof(*membership.members));
	error = store_set_membership((struct store *)found->text, &membership, NULL, NULL);
	free(membership.members);
	return error;
}

static void a_writer_sees_its_own_changes_and_writes_between_rows(void **state)
{
	struct catalogue_query query = {"x", "packets > 0", NULL, 0};
	struct state_box *box = *state;
	struct membership membership;
	struct found found = {0};
	struct store *store;

	state_box_execute(box, four);
	assert_int_equal(store_open_write(box->directory, 0, &state_actor, &store, box->errors), 0);
	found.text = (char *)store;
	assert_int_equal(catalogue_each(store, &query, write_within, &found, box->errors), 0);
	assert_int_equal(found.rows, 2);
	assert_int_equal(store_membership(store, "within", false, &membership, box->errors), 0);
	assert_int_equal(membership.version, 2);
	assert_int_equal(membership.count, MANY);
	membership_release(&membership);
	assert_int_equal(store_commit(store, box->errors), 0);
	store_close(store);
}

/* ---- what is refused ---- */

static char *refusal(struct state_box *box, const char *where, int code)
{
	struct catalogue_query query = {"segments/s/where", where, NULL, 0};
	struct errors *errors = errors_new();
	struct found found = {0};
	char *text = NULL;
	size_t size;
	FILE *stream;
	int result = catalogue_each(reader_of(box), &query, note_row, &found, errors);

	if (result != code)
		fail_msg("%d, not %d: %s", result, code, where);
	assert_int_equal(errors_count(errors), 1);
	stream = open_memstream(&text, &size);
	errors_print(errors, stream);
	fclose(stream);
	errors_free(errors);
	return text;
}

static void assert_refused(struct state_box *box, const char *where, const char *says)
{
	char *text = refusal(box, where, -EINVAL);

	if (!strstr(text, says) || strncmp(text, "segments/s/where: ", 18))
		fail_msg("`%s` is not in: %s", says, text);
	free(text);
}

static void nothing_breaks_out_of_the_expression(void **state)
{
	static const char *const texts[][2] = {
		{"1) UNION SELECT 1, client FROM clients --", "closed that was not opened"},
		{"1) UNION SELECT (1", "closed that was not opened"},
		{"1; DROP TABLE clients", "`;`"},
		{"1)); DROP TABLE clients; --", "closed"},
		{"1 -- and more", "comments"},
		{"1 /* and more", "comments"},
		{"1 /* ) */", "comments"},
		{"(1", "left open"},
		{"1)", "not opened"},
		{"'open", "left open"},
		{"plan = \"open", "left open"},
		{"plan = `open", "left open"},
		{"[open", "left open"},
		{"plan = ?", "parameter"},
		{"plan = :x", "parameter"},
		{"plan = @x", "parameter"},
		{"$x(') OR 1 OR (')", "parameter"},
		{"#1", "parameter"},
		{"", "empty"},
		{" \n\t", "empty"},
		{"1 ORDER BY 1", "syntax error"},
		{"1 GROUP BY plan", "syntax error"},
		{"1 LIMIT 1", "syntax error"},
		{"plan =", "syntax error"},
		{"= 1", "syntax error"},
	};

	for (size_t i = 0; i < COUNT(texts); i++)
		assert_refused(*state, texts[i][0], texts[i][1]);
}

static void an_expression_reads_nothing_but_its_columns(void **state)
{
	static const char *const texts[][2] = {
		{"1 IN (SELECT 1)", "subquery"},
		{"EXISTS (SELECT * FROM sqlite_schema)", "another table"},
		{"plan IN (SELECT text FROM notes)", "no such table"},
		{"plan IN catalogue", "sub-select"},
		{"1 IN (WITH RECURSIVE x(y) AS (SELECT 1 UNION ALL SELECT y + 1 FROM x) SELECT y "
		 "FROM x)",
		 "subquery"},
		{"(VALUES (1))", "subquery"},
		{"1 IN (SELECT value FROM json_each('[1]'))", "it is more than"},
		{"1 IN json_each('[1]')", "it is more than"},
		{"'x' IN pragma_table_info('clients')", "it is more than"},
	};

	state_box_execute(*state, four);
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_refused(*state, texts[i][0], texts[i][1]);
}

static void an_expression_calls_nothing_but_harmless_functions(void **state)
{
	static const char *const texts[] = {
		"load_extension('x')",
		"randomblob(1000000000)",
		"zeroblob(1000000000)",
		"random() > 0",
		"sqlite_version()",
		"last_insert_rowid()",
		"changes()",
		"printf('%1000000000d', 1)",
		"format('%d', 1)",
		"hex(plan)",
		"count(*) > 1",
		"sum(packets) > 1",
		"fts3_tokenizer('x')",
		"sqlite_compileoption_get(1)",
		"plan -> 'x'",
		"client_text(x'00')",
		"readfile('/etc/shadow')",
		"writefile('x', 'y')",
		"row_number() OVER () = 1",
		"RAISE(ABORT, 'x')",
		"MATCH('a', 'b')",
		"plan REGEXP 'x'",
	};
	struct state_box *box = *state;

	state_box_execute(box, four);
	for (size_t i = 0; i < COUNT(texts); i++) {
		char *text = refusal(box, texts[i], -EINVAL);

		assert_non_null(strstr(text, texts[i]));
		free(text);
	}
	assert_refused(box, "load_extension('x')", "it calls `load_extension`");
	assert_refused(box, "max(plan) = 1", "misuse of aggregate");
}

static void an_unknown_column_names_those_that_there_are(void **state)
{
	static const char *const texts[][2] = {
		{"plann = 'gold'",
		 "there is no column `plann` (a text stands in single quotes), at "
		 "character 1 of `plann = 'gold'`: did you mean `plan`; there are "
		 "`plan`, `Spent $`, `a\"b`, `packets`"},
		{"plan = gold", "there is no column `gold`"},
		{"plan = \"gold\"", "there is no column `gold`"},
		{"plan = 'é' AND x", "at character 16 of"},
		{"rowid > 0", "`rowid`"},
		{"\" key\" IS NOT NULL", "` key`"},
		{"clients.plan = 'gold'", "`clients.plan`"},
		{"c.plan = 'gold'", "`c.plan`"},
	};
	struct state_box *box = *state;

	state_box_execute(box, four);
	for (size_t i = 0; i < COUNT(texts); i++) {
		char *text = refusal(box, texts[i][0], -ENOENT);

		if (!strstr(text, texts[i][1]))
			fail_msg("`%s` is not in: %s", texts[i][1], text);
		free(text);
	}
}

static void an_unknown_column_to_read_is_refused_the_same(void **state)
{
	static const char *const columns[] = {"packets", "plann"};
	struct catalogue_query query = {"segments/s/bins/feature", NULL, columns, 2};
	struct state_box *box = *state;
	char *text = NULL;
	size_t size;
	FILE *stream;

	state_box_execute(box, four);
	assert_int_equal(catalogue_each(reader_of(box), &query, note_row, NULL, box->errors),
			 -ENOENT);
	stream = open_memstream(&text, &size);
	errors_print(box->errors, stream);
	fclose(stream);
	assert_non_null(strstr(text, "segments/s/bins/feature: there is no column `plann`: did you "
				     "mean `plan`; there are `plan`, "));
	free(text);
}

static void an_expression_is_judged_before_there_is_a_state(void **state)
{
	struct catalogue_query good = {"x", "packets > 1", NULL, 0},
			       bad = {"x", "plan = 1", NULL, 0};
	struct state_box *box = *state;

	assert_int_equal(catalogue_each(NULL, &good, note_row, NULL, box->errors), 0);
	assert_int_equal(catalogue_each(NULL, &bad, note_row, NULL, box->errors), -ENOENT);
	assert_int_equal(catalogue_check(reader_of(box), &good, box->errors), 0);
	assert_int_equal(catalogue_check(reader_of(box), &bad, box->errors), -ENOENT);
}

static void a_state_of_an_earlier_version_has_no_clients(void **state)
{
	struct catalogue_query query = {"x", "packets > 1", NULL, 0};
	struct state_box *box = *state;
	char **names;
	size_t count;

	state_box_execute(
		box,
		"DROP TABLE clients; DROP TABLE features; UPDATE schema_version SET version = 2");
	assert_int_equal(catalogue_each(reader_of(box), &query, note_row, NULL, box->errors), 0);
	assert_int_equal(catalogue_columns(reader_of(box), &names, &count, box->errors), 0);
	assert_int_equal(count, FEATURES_COUNT);
	catalogue_columns_release(names, count);
}

static void an_expression_too_long_or_too_deep_is_refused(void **state)
{
	char *text = malloc(EXPRESSION_MAX + 2);
	size_t i;

	memset(text, ' ', EXPRESSION_MAX + 1);
	text[0] = '1';
	text[EXPRESSION_MAX + 1] = 0;
	assert_refused(*state, text, "longer than");
	for (i = 0; i < 20000; i++)
		text[i] = '(';
	text[i++] = '1';
	for (; i < 40001; i++)
		text[i] = ')';
	text[i] = 0;
	assert_refused(*state, text, "");
	for (i = 0; i < 20000; i++)
		memcpy(text + 2 * i, "1+", 2);
	strcpy(text + 2 * i, "1");
	assert_refused(*state, text, "too large");
	free(text);
}

static void a_long_expression_is_quoted_about_the_place(void **state)
{
	char *text = calloc(1, 3000), *said;

	memset(text, ' ', 2000);
	text[0] = '1';
	memcpy(text + 998, "OR plann OR", 11);
	text[1999] = '1';
	said = refusal(*state, text, -ENOENT);
	assert_non_null(strstr(said, "at character 1002 of `..."));
	assert_non_null(strstr(said, "OR plann OR"));
	assert_true(strlen(said) < 900);
	free(said);
	free(text);
}

static void what_fails_in_a_row_quotes_the_expression(void **state)
{
	struct state_box *box = *state;

	state_box_execute(box, four);
	state_box_execute(box, "UPDATE clients SET plan = -9223372036854775807 - 1");
	assert_refused(box, "abs(plan) > 1", "integer overflow: `abs(plan) > 1`");
}

/* Every replace() makes it 16 times longer: 256 MiB, which SQLite itself would allow. */
static void an_expression_takes_no_memory_without_end(void **state)
{
	static const char before[] =
		"length(replace(replace(replace(replace(replace(replace('xxxxxxxxxxxxxxxx'";
	static const char once[] = ", 'x', 'xxxxxxxxxxxxxxxx')";
	struct state_box *box = *state;
	char text[1000];

	strcpy(text, before);
	for (int i = 0; i < 6; i++)
		strcat(text, once);
	strcat(text, ") + packets > 0");
	state_box_execute(box, four);
	assert_refused(box, text, "too big");
}

/* The second judge, with what the first one would have refused. */
static void rows_are_read_under_an_authoriser_too(void **state)
{
	static const char *const texts[] = {"1 IN (SELECT text FROM notes)", "random() IS NOT NULL",
					    "1) UNION SELECT name, 1 FROM sqlite_schema --"};
	static const char *const columns[] = {"plan", "Spent $", "a\"b"};
	struct expression where = {"x", NULL, columns, 3};
	struct rows_request request = {
		.where = &where, .attributes = columns, .attributes_count = 3};
	struct state_box *box = *state;

	state_box_execute(box, four);
	for (size_t i = 0; i < COUNT(texts); i++) {
		where.text = texts[i];
		assert_int_equal(rows_each(reader_of(box), &request, note_row, NULL, box->errors),
				 -EINVAL);
	}
}

static void an_expression_takes_no_steps_without_end(void **state)
{
	static const char many[] =
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
		"WHERE i < 300000) INSERT INTO clients SELECT "
		"CAST(printf('%016d', i) || x'80' AS BLOB), 'gold', 1, 1 FROM n;";
	static const char *const columns[] = {"a\"b", "Spent $", "plan"};
	struct expression where = {"x", "plan = 'lead' OR plan = 'tin'", columns, 3};
	struct rows_request request = {.where = &where,
				       .attributes =
					       (const char *const[]){"plan", "Spent $", "a\"b"},
				       .attributes_count = 3,
				       .steps_max = 1};
	struct state_box *box = *state;
	struct found found = {0};

	state_box_execute(box, four);
	state_box_execute(box, many);
	assert_int_equal(rows_each(reader_of(box), &request, note_row, &found, box->errors),
			 -EINVAL);
	request.steps_max = 0;
	assert_int_equal(rows_each(reader_of(box), &request, note_row, &found, box->errors), 0);
}

/* The tables, the connection and the transaction are as they were. */
static void a_refused_expression_leaves_a_writer_able_to_commit(void **state)
{
	struct catalogue_query bad = {"x", "abs(plan) > 1", NULL, 0};
	struct state_box *box = *state;
	struct store *store;

	state_box_execute(box, four);
	state_box_execute(box, "UPDATE clients SET plan = -9223372036854775807 - 1");
	assert_int_equal(store_open_write(box->directory, 0, &state_actor, &store, box->errors), 0);
	assert_int_equal(store_set_note(store, "a", "b", box->errors), 0);
	assert_int_equal(catalogue_each(store, &bad, note_row, NULL, box->errors), -EINVAL);
	assert_int_equal(store_set_note(store, "c", "d", box->errors), 0);
	assert_int_equal(store_commit(store, box->errors), 0);
	store_close(store);
}

/* ---- reading a file of clients ---- */

static void a_file_that_takes_too_much_memory_is_refused(void **state)
{
	struct state_box *box = *state;
	char path[128];
	struct import_request request = {
		.file = path, .form = {.prefix4 = 32, .prefix6 = 64}, .bytes_max = 1 << 20};
	struct import import;
	char *text = NULL;
	size_t size;
	FILE *stream;

	snprintf(path, sizeof(path), "%s/clients.csv", box->root);
	stream = fopen(path, "w");
	fputs("client,note\n", stream);
	for (int i = 0; i < 100000; i++)
		fprintf(stream, "10.0.%d.%d,%d\n", i / 256 % 256, i % 256, i);
	fclose(stream);
	assert_int_equal(import_read(&request, &import, box->errors), -EFBIG);
	import_release(&import);
	stream = open_memstream(&text, &size);
	errors_print(box->errors, stream);
	fclose(stream);
	assert_non_null(
		strstr(text, "its rows take more than 1 MiB of memory: import it in parts"));
	free(text);
	request.bytes_max = 0;
	request.skip_bad = true; /* 65,536 clients */
	assert_int_equal(import_read(&request, &import, NULL), 0);
	assert_int_equal(import.sheet.count, 65536);
	import_release(&import);
	unlink(path);
}

/* ---- keys, and the form of the box ---- */

static void keys_sort_as_members_do(void **state)
{
	struct random random = random_seeded("keys_sort_as_members_do");
	uint8_t left[CLIENT_KEY_SIZE], right[CLIENT_KEY_SIZE];

	(void)state;
	for (int i = 0; i < 100000; i++) {
		struct member a = {random_below(&random, 3) ? 0 : random_next(&random),
				   random_next(&random),
				   random_below(&random, 129),
				   {0}};
		struct member b = random_below(&random, 2)
					  ? a
					  : (struct member){0, random_next(&random), 128, {0}};
		int order, expected;

		b.length = random_below(&random, 129);
		client_key_of(&a, left);
		client_key_of(&b, right);
		order = memcmp(left, right, CLIENT_KEY_SIZE);
		expected = member_compare(&a, &b);
		assert_int_equal((order > 0) - (order < 0), (expected > 0) - (expected < 0));
		b = client_of_key(left);
		assert_int_equal(member_compare(&a, &b), 0);
	}
}

static void the_box_has_the_longest_prefixes_of_its_services(void **state)
{
	struct service services[] = {{.prefix4 = 24, .prefix6 = 56},
				     {.prefix4 = 16, .prefix6 = 60}};
	struct policy policy = {.services = services};
	struct client_form form = box_client_form(&policy);

	(void)state;
	assert_int_equal(form.prefix4, 32);
	assert_int_equal(form.prefix6, 64);
	policy.services_count = 2;
	form = box_client_form(&policy);
	assert_int_equal(form.prefix4, 24);
	assert_int_equal(form.prefix6, 60);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_box, remove_box)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(rows_are_attributes_and_features_of_all_clients_in_order),
		TEST(where_takes_the_rows_for_which_it_is_true),
		TEST(values_have_the_types_they_were_stored_with),
		TEST(columns_are_attributes_then_features),
		TEST(feature_names_are_the_columns_of_their_table),
		TEST(a_callback_ends_the_rows_and_may_use_the_store),
		TEST(a_writer_sees_its_own_changes_and_writes_between_rows),
		TEST(nothing_breaks_out_of_the_expression),
		TEST(an_expression_reads_nothing_but_its_columns),
		TEST(an_expression_calls_nothing_but_harmless_functions),
		TEST(an_unknown_column_names_those_that_there_are),
		TEST(an_unknown_column_to_read_is_refused_the_same),
		TEST(an_expression_is_judged_before_there_is_a_state),
		TEST(a_state_of_an_earlier_version_has_no_clients),
		TEST(an_expression_too_long_or_too_deep_is_refused),
		TEST(a_long_expression_is_quoted_about_the_place),
		TEST(what_fails_in_a_row_quotes_the_expression),
		TEST(an_expression_takes_no_memory_without_end),
		TEST(rows_are_read_under_an_authoriser_too),
		TEST(an_expression_takes_no_steps_without_end),
		TEST(a_refused_expression_leaves_a_writer_able_to_commit),
		TEST(a_file_that_takes_too_much_memory_is_refused),
		cmocka_unit_test(keys_sort_as_members_do),
		cmocka_unit_test(the_box_has_the_longest_prefixes_of_its_services),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
