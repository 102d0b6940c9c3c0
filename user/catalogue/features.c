// SPDX-License-Identifier: GPL-2.0-only
#include "catalogue/features.h"

const char *const feature_names[FEATURES_COUNT] = {
#define FEATURE_TEXT(name) #name,
	FEATURES(FEATURE_TEXT)
#undef FEATURE_TEXT
};
