// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes at all as a configuration. What is refused has errors; what is accepted renders to YAML
 * that is accepted again and means the same. Build with clang -fsanitize=fuzzer,address,undefined.
 */
#include "config/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_round_trip(const struct policy *policy, struct errors *errors)
{
	json_t *tree = config_to_json(policy), *tree_again, *differences;
	char *yaml = config_to_yaml(policy), *yaml_again;
	struct policy *again;

	require(tree && yaml);
	again = config_parse(yaml, strlen(yaml), "rendered.yaml", errors);
	require(again);
	tree_again = config_to_json(again);
	yaml_again = config_to_yaml(again);
	differences = config_diff(policy, again);
	require(json_equal(tree, tree_again));
	require(!strcmp(yaml, yaml_again));
	require(!json_array_size(differences));
	json_decref(differences);
	json_decref(tree);
	json_decref(tree_again);
	free(yaml);
	free(yaml_again);
	policy_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct errors *errors = errors_new();
	struct policy *policy = config_parse((const char *)data, size, "input.yaml", errors);
	json_t *list = errors_to_json(errors);

	require(list);
	require((policy == NULL) == (errors_count(errors) > 0));
	require(json_array_size(json_object_get(list, "errors")) == errors_count(errors));
	json_decref(list);
	if (policy)
		check_round_trip(policy, errors);
	policy_free(policy);
	errors_free(errors);
	return 0;
}
