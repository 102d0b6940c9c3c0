// SPDX-License-Identifier: GPL-2.0-only
/* Live shares, pins and wishes: what operators set over the file, by names, with who did it and
 * when. */
#include "store/store_internal.h"

#include <errno.h>

int store_set_share(struct store *store, const char *service, const char *rule, const char *cohort,
		    uint32_t ppm, struct errors *errors)
{
	return sql_change(store, NULL,
			  "INSERT OR REPLACE INTO shares"
			  " (service, rule, cohort, ppm, time_ns, actor)"
			  " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
			  VALUES(TEXT(service), TEXT(rule), TEXT(cohort), NUMBER(ppm),
				 NUMBER(store->time_ns), TEXT(store->by)),
			  errors);
}

int store_drop_shares(struct store *store, const char *service, const char *rule,
		      const char *cohort, size_t *dropped, struct errors *errors)
{
	return sql_change(store, dropped,
			  "DELETE FROM shares WHERE service = ?1 AND (?2 IS NULL OR rule = ?2)"
			  " AND (?3 IS NULL OR cohort = ?3)",
			  VALUES(TEXT(service), TEXT(rule), TEXT(cohort)), errors);
}

int store_set_pin(struct store *store, const struct live_pin *pin, struct errors *errors)
{
	char client[ADDRESS_TEXT_SIZE];

	prefix_format(&pin->client, client);
	return sql_change(store, NULL,
			  "INSERT OR REPLACE INTO pins"
			  " (service, client, cohort, expires_ns, time_ns, actor)"
			  " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
			  VALUES(TEXT(pin->service), TEXT(client), TEXT(pin->cohort),
				 NUMBER(pin->expires_ns), NUMBER(store->time_ns), TEXT(store->by)),
			  errors);
}

int store_drop_pin(struct store *store, const char *service, const struct prefix *client,
		   struct errors *errors)
{
	char text[ADDRESS_TEXT_SIZE];
	size_t dropped = 0;
	int error;

	prefix_format(client, text);
	error = sql_change(store, &dropped, "DELETE FROM pins WHERE service = ?1 AND client = ?2",
			   VALUES(TEXT(service), TEXT(text)), errors);
	if (error)
		return error;
	return dropped ? 0 : -ENOENT;
}

int store_drop_pins(struct store *store, const char *service, const char *cohort,
		    struct errors *errors)
{
	return sql_change(store, NULL,
			  "DELETE FROM pins WHERE service = ?1 AND (?2 IS NULL OR cohort = ?2)",
			  VALUES(TEXT(service), TEXT(cohort)), errors);
}

int store_set_wish(struct store *store, const char *service, const struct address *backend,
		   enum wish wish, struct errors *errors)
{
	char text[ADDRESS_TEXT_SIZE];

	address_format(backend, text);
	return sql_change(store, NULL,
			  "INSERT OR REPLACE INTO wishes (service, backend, wish, time_ns, actor)"
			  " VALUES (?1, ?2, ?3, ?4, ?5)",
			  VALUES(TEXT(service), TEXT(text), TEXT(wish_name(wish)),
				 NUMBER(store->time_ns), TEXT(store->by)),
			  errors);
}
