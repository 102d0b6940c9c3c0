/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From records to features: what a client did in one window, as numbers. Pure but for the store,
 * which knows since when a client is known.
 */
#ifndef XDP_CANARY_OBSERVE_FEATURES_H
#define XDP_CANARY_OBSERVE_FEATURES_H

#include "catalogue/features.h"
#include "datapath/observed.h"
#include "store/store.h"

/* A window of observation; seconds as records have them (headers/observed.h). */
struct window {
	uint32_t from, to;
	uint64_t to_ns; /* CLOCK_REALTIME at its end */
	uint8_t prefix4, prefix6;
	uint32_t sample;
};

/* The running one, up to now. -ENODATA without an error: nothing is observed. */
int window_running(struct datapath *datapath, struct window *out, struct errors *errors);
struct features_window window_in_store(const struct window *window, uint64_t clients);

/* In the order of clients, one record each: two of the same client are added up. */
void observed_merge(struct observed_list *list);
struct client_features features_of(const struct observed_client *client,
				   const struct window *window);
/*
 * Of the sorted @clients. Who was in the last complete window is known since then, or since
 * earlier: first_seen_age_seconds goes on over windows. @store NULL: nothing was ever stored.
 */
int features_of_all(struct store *store, const struct window *window,
		    const struct observed_client *clients, size_t count,
		    struct client_features *out, struct errors *errors);

/* By its name: an integer, a real number, or NAN in .real where it is unknown. */
struct feature_value {
	bool is_real;
	uint64_t integer;
	double real;
};
struct feature_value feature_value(const struct client_features *features, enum feature feature);

#endif
