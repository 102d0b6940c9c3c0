# SPDX-License-Identifier: GPL-2.0-only
# Quiet unless V=1. `make` builds build/xdp-canary; see `make help`.

BUILD ?= build
PREFIX ?= /usr/local
CC = gcc
CLANG ?= clang
BPFTOOL ?= /usr/sbin/bpftool
Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s %s\n' '$(1)' '$(2)';)

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
ARCH := $(shell uname -m)
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
PACKAGES := libbpf libcap yaml-0.1 jansson sqlite3 libmicrohttpd libmnl libsystemd libcurl

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wmissing-prototypes -Wstrict-prototypes
CFLAGS ?= -O2 -g
# No fused operations, that bins and models have on every machine the doubles of numpy and scikit-learn.
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE $(CFLAGS) -ffp-contract=off $(WARNINGS) -MMD -MP -I. -Iheaders -Iuser -I$(BUILD) \
	-DVERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PACKAGES))
LIBS = $(shell pkg-config --libs $(PACKAGES)) -lm
BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(subst aarch64,arm64,$(subst x86_64,x86,$(ARCH))) \
	-Wall -Wextra -Werror -Wno-unused-parameter -MMD -MP -Iheaders -Ibpf -I/usr/include/$(MULTIARCH)

USER_SOURCES := $(sort $(wildcard user/*.c user/*/*.c))
USER_OBJECTS := $(USER_SOURCES:%.c=$(BUILD)/%.o)
# Everything but main(), for the tests to link.
LIB_OBJECTS := $(filter-out $(BUILD)/user/main.o,$(USER_OBJECTS))
SKELETON := $(BUILD)/xdp_canary.skel.h

# Objects and skeletons that only a rule's pattern names are kept.
.SECONDARY:
.PHONY: all help test demo examples install clean
all: $(BUILD)/xdp-canary

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make           build/xdp-canary (packages installed by scripts/setup)
$(BUILD)/xdp-canary: $(USER_OBJECTS)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $^ -o $@ $(LIBS)

$(BUILD)/user/%.o: user/%.c $(SKELETON)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(call say,BPF,$<)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(BUILD)/%.skel.h: $(BUILD)/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $* > $@

include tests/tests.mk
-include $(USER_OBJECTS:.o=.d) $(wildcard $(BUILD)/*.bpf.d)

## make demo      real HTTP through a canary, which breaks in the end; in namespaces; root; installs packages; under a minute
demo:
	$(Q)scripts/setup test
	$(Q)$(MAKE) --no-print-directory all $(CROWD)
	$(Q)scripts/demo

## make examples  who gets the new version first: docs/examples, each command of its pages; root; installs packages
examples:
	$(Q)scripts/setup test
	$(Q)$(MAKE) --no-print-directory all
	$(Q)scripts/examples

## make test      unit, program and end-to-end tests; root; installs packages
test:
	$(Q)scripts/setup test
	$(Q)$(MAKE) --no-print-directory -j2 all tests
	$(Q)scripts/run-tests $(PATIENT_TESTS:%=--beside %) $(UNIT_TESTS) $(SIMULATE_TESTS) $(PROG_TESTS) $(REFERENCE_TESTS) $(E2E_TESTS)

## make install   below PREFIX (/usr/local), DESTDIR honoured: program, man page, systemd unit
install: all
	install -D -m 755 $(BUILD)/xdp-canary $(DESTDIR)$(PREFIX)/sbin/xdp-canary
	install -D -m 644 docs/man/xdp-canary.8 $(DESTDIR)$(PREFIX)/share/man/man8/xdp-canary.8
	sed 's|@PREFIX@|$(PREFIX)|' scripts/xdp-canary.service.in > $(BUILD)/xdp-canary.service
	install -D -m 644 $(BUILD)/xdp-canary.service $(DESTDIR)$(PREFIX)/lib/systemd/system/xdp-canary.service

## make clean     removes build/
clean:
	$(Q)rm -rf $(BUILD)
