/* SPDX-License-Identifier: GPL-2.0-only */
/* What is observed of a client: the one list of the names (and columns of table `features`). */
#ifndef XDP_CANARY_FEATURES_H
#define XDP_CANARY_FEATURES_H

#define FEATURES(FEATURE)                                                                          \
	FEATURE(packets)                                                                           \
	FEATURE(bytes)                                                                             \
	FEATURE(flows)                                                                             \
	FEATURE(active_seconds)                                                                    \
	FEATURE(flows_per_day)                                                                     \
	FEATURE(bytes_per_flow)                                                                    \
	FEATURE(mean_gap_seconds)                                                                  \
	FEATURE(first_seen_age_seconds)                                                            \
	FEATURE(last_seen_age_seconds)                                                             \
	FEATURE(services)

enum feature {
#define FEATURE_NUMBER(name) FEATURE_##name,
	FEATURES(FEATURE_NUMBER)
#undef FEATURE_NUMBER
		FEATURES_COUNT
};

extern const char *const feature_names[FEATURES_COUNT];

#endif
