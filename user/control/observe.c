// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether and how clients are observed: the policy says it, the box of the kernel has it. Written
 * by whoever publishes, after the views are shown.
 */
#include "control/control_internal.h"

#include "catalogue/catalogue.h"
#include "datapath/observed.h"

static void warn_of_new_window(struct control *control, const struct observe_settings *wanted)
{
	const struct box *box = datapath_box(control->datapath);

	if (!observed_is_on(control->datapath) ||
	    (box->observe_prefix4 == wanted->prefix4 && box->observe_prefix6 == wanted->prefix6))
		return;
	errors_warn(control->errors, NULL, "observe",
		    "the features of the last complete window stay until this one ends",
		    "the running window begins anew, for clients are cut to /%u and /%u now",
		    wanted->prefix4, wanted->prefix6);
}

int control_observe(struct control *control)
{
	const struct observe *observe = &control->policy->observe;
	struct client_form form = box_client_form(control->policy);
	struct observe_settings wanted = {
		.prefix4 = form.prefix4,
		.prefix6 = form.prefix6,
		.sample = observe->sample,
	};

	if (!observe->is_on) {
		observed_stop(control->datapath);
		return 0;
	}
	warn_of_new_window(control, &wanted);
	return observed_start(control->datapath, &wanted, control->errors);
}
