# SPDX-License-Identifier: GPL-2.0-only
# Tests: tests/unit/*_test.c are cmocka programs, each linked with the whole of user/ but main(). The other files
# there are fixtures that several of them share.

UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(sort $(wildcard tests/unit/*_test.c)))

UNIT_FIXTURES := $(patsubst %.c,$(BUILD)/%.o,$(filter-out %_test.c,$(sort $(wildcard tests/unit/*.c))))

$(BUILD)/tests/unit/%: tests/unit/%.c $(UNIT_FIXTURES) $(LIB_OBJECTS)
	@mkdir -p $(@D)
	$(call say,TEST,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $< $(UNIT_FIXTURES) $(LIB_OBJECTS) -o $@ $(LIBS) -lcmocka

# tests/prog: the real program, fed packets by BPF_PROG_TEST_RUN on real maps. Root. The other files there are
# the laboratory that all of them share, and the bench too.
PROG_TEST_SOURCES := $(sort $(wildcard tests/prog/*_test.c))
PROG_TESTS := $(PROG_TEST_SOURCES:tests/prog/%.c=$(BUILD)/tests/prog/%)
LAB_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(PROG_TEST_SOURCES) %.bpf.c,$(sort $(wildcard tests/prog/*.c))))

$(UNIT_FIXTURES) $(LAB_OBJECTS): $(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/tests/prog/%: tests/prog/%.c $(LAB_OBJECTS) $(LIB_OBJECTS)
	@mkdir -p $(@D)
	$(call say,TEST,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -Itests/prog $< $(LAB_OBJECTS) $(LIB_OBJECTS) -o $@ $(LIBS) -lcmocka -lpthread

$(BUILD)/tests/prog/feeder.o: $(BUILD)/tests/prog/feeding.skel.h
$(BUILD)/tests/prog/looking_test: $(BUILD)/tests/prog/looking.skel.h

# Programs that feed packets to the real one.
$(BUILD)/tests/%.bpf.o: tests/%.bpf.c
	@mkdir -p $(@D)
	$(call say,BPF,$<)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(BUILD)/tests/%.skel.h: $(BUILD)/tests/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $(*F) > $@

# tests/simulate: rollouts that never were, judged by the real judge. The tests are the short form, `make simulate`
# the long one.
SIMULATE_TEST_SOURCES := $(sort $(wildcard tests/simulate/*_test.c))
SIMULATE_TESTS := $(SIMULATE_TEST_SOURCES:tests/simulate/%.c=$(BUILD)/tests/simulate/%)
SIMULATION_SOURCES := $(filter-out $(SIMULATE_TEST_SOURCES) %/simulate.c,$(sort $(wildcard tests/simulate/*.c)))

$(BUILD)/tests/simulate/%: tests/simulate/%.c $(SIMULATION_SOURCES) $(wildcard tests/simulate/*.h) $(LIB_OBJECTS)
	@mkdir -p $(@D)
	$(call say,TEST,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $< $(SIMULATION_SOURCES) $(LIB_OBJECTS) -o $@ $(LIBS) -lcmocka -lpthread

# The others are only built, that they do not fall behind what they measure.
tests: $(SIMULATE_TESTS) $(BUILD)/tests/simulate/simulate $(BUILD)/tests/bench/bench

.PHONY: simulate
## make simulate  promise 9 over 55,000 rollouts: a table; plot and CSV files in build/simulations; half an hour
simulate: $(BUILD)/tests/simulate/simulate
	@mkdir -p $(BUILD)/simulations
	$(Q)$< $(BUILD)/simulations
	$(Q)/usr/bin/python3 tests/simulate/plot.py $(BUILD)/simulations

# tests/bench: nanoseconds a packet, against the floor of the machine it runs on.

$(BUILD)/tests/bench/bench: $(wildcard tests/bench/*.c tests/bench/*.h) $(BUILD)/tests/bench/wrapper.skel.h \
		$(LAB_OBJECTS) $(LIB_OBJECTS)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -Itests/prog $(filter-out %.bpf.c,$(wildcard tests/bench/*.c)) $(LAB_OBJECTS) \
		$(LIB_OBJECTS) -o $@ $(LIBS) -lcmocka -lm

.PHONY: bench
## make bench     cost of a packet against the budgets; root; writes build/bench.json
bench: $(BUILD)/tests/bench/bench
	$(Q)$< $(BUILD)/bench.json

-include $(LAB_OBJECTS:.o=.d) $(wildcard $(BUILD)/tests/*/*.d)

# Other languages: the independent reference, and end to end in network namespaces.
REFERENCE_TESTS := $(sort $(wildcard tests/reference/test_*.py))
E2E_TESTS := $(sort $(wildcard tests/e2e/*_test.py))
# They take minutes of one CPU at most, and time nothing: the others need not wait for them.
PATIENT_TESTS := $(addprefix tests/e2e/,affinity_test.py quic_test.py upgrade_test.py)

# What the references ask for our own answers.
REFERENCE_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/reference/*.c)))

$(BUILD)/tests/reference/%: tests/reference/%.c $(LIB_OBJECTS)
	@mkdir -p $(@D)
	$(call say,TEST,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $< $(LIB_OBJECTS) -o $@ $(LIBS)

# This one asks the real program.
$(BUILD)/tests/reference/track_replay: tests/reference/track_replay.c $(LAB_OBJECTS) $(LIB_OBJECTS)
	@mkdir -p $(@D)
	$(call say,TEST,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -Itests/prog $< $(LAB_OBJECTS) $(LIB_OBJECTS) -o $@ $(LIBS) -lcmocka

# What they preload into programs of others; so no sanitizers in it.
E2E_LIBRARIES := $(patsubst tests/e2e/%.c,$(BUILD)/tests/e2e/%.so,$(filter-out %.bpf.c,$(wildcard tests/e2e/*.c)))

$(BUILD)/tests/e2e/%.so: tests/e2e/%.c
	@mkdir -p $(@D)
	$(call say,SHARED,$@)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARNINGS) -MMD -MP -fPIC -shared $< -o $@

# Many long-lived flows, and witnesses of what became of them: tests/e2e/long_lived.py runs it.
FLOWS := $(BUILD)/tests/e2e/flows
$(FLOWS): $(wildcard tests/e2e/flows/*.c tests/e2e/flows/*.h)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE $(CFLAGS) $(WARNINGS) $(filter %.c,$^) -o $@

# Crowds of short-lived clients, and servers that break when told to: tests/e2e/crowd.py runs it.
CROWD := $(BUILD)/tests/e2e/crowd
$(CROWD): $(wildcard tests/e2e/crowd/*.c tests/e2e/crowd/*.h) tests/e2e/flows/common.c tests/e2e/flows/flows.h
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE $(CFLAGS) $(WARNINGS) -Itests/e2e/flows $(filter %.c,$^) -o $@ -lm

.PHONY: rollback-table
## make rollback-table  how soon each failure is rolled back, again and again; root; half an hour; build/rollback-table.md
rollback-table: all $(CROWD)
	$(Q)scripts/rollback-table $(BUILD)/rollback-table.md

.PHONY: tests
tests: $(UNIT_TESTS) $(PROG_TESTS) $(REFERENCE_PROGRAMS) $(FLOWS) $(CROWD) $(E2E_LIBRARIES)
