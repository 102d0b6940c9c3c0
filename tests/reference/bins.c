// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bins for test_bins.py to compare with pandas: requests on stdin, answers on stdout, in the byte
 * order of the machine, until the end of stdin.
 *
 *	request		u32 method (enum bin_method), u32 bins, u32 edges, u32 values;
 *			the edges and the values as doubles
 *	answer		i32 error, u32 bins, u32 edges; the edges as doubles, u64 size of each bin,
 *			u32 bin of each value (none of these with an error)
 */
#include "segment/bins.h"

#include <stdio.h>
#include <stdlib.h>

struct request {
	uint32_t method, bins, edges, values;
};

static int read_all(void *out, size_t size)
{
	return fread(out, 1, size, stdin) == size ? 0 : -1;
}

static void write_all(const void *bytes, size_t size)
{
	if (fwrite(bytes, 1, size, stdout) != size)
		exit(1);
}

static void answer(const struct segment_bins *bins, const double *values, uint32_t count)
{
	struct bin_edges edges;
	int32_t error = bins_make(bins, values, count, &edges, "bins", NULL);
	uint32_t head[2] = {edges.count, error ? 0 : edges.count + 1};

	write_all(&error, sizeof(error));
	write_all(head, sizeof(head));
	if (!error) {
		write_all(edges.edges, head[1] * sizeof(*edges.edges));
		write_all(edges.sizes, edges.count * sizeof(*edges.sizes));
		for (uint32_t i = 0; i < count; i++) {
			uint32_t bin = bin_of(&edges, values[i]);

			write_all(&bin, sizeof(bin));
		}
	}
	fflush(stdout);
	bin_edges_release(&edges);
}

int main(void)
{
	struct request request;

	while (!read_all(&request, sizeof(request))) {
		double *edges = malloc((request.edges + 1) * sizeof(*edges));
		double *values = malloc((request.values + 1) * sizeof(*values));
		struct segment_bins bins = {.method = request.method,
					    .count = request.bins,
					    .edges = edges,
					    .edges_count = request.edges};

		if (!edges || !values || read_all(edges, request.edges * sizeof(*edges)) ||
		    read_all(values, request.values * sizeof(*values)))
			return 1;
		answer(&bins, values, request.values);
		free(edges);
		free(values);
	}
	return 0;
}
