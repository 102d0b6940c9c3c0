// SPDX-License-Identifier: GPL-2.0-only
/*
 * The child is ended as a group: at its time-out, when it is cancelled, and what it has left behind
 * when it exits by itself. The group's number is not given to anybody else meanwhile, for the child
 * is not yet waited for when the group is killed.
 */
#include "probe/command.h"

#include "probe/internal.h"
#include "probe/spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX    1024 /* the rest is read and thrown away */
#define KILL_AFTER_US 1000000ULL

struct command_probe {
	struct probe probe;
	command_done done;
	void *data;
	char **words; /* ends with NULL */
	uint64_t timeout_ms;
	pid_t child; /* 0: none that has not been waited for */
	int output;  /* our end; -1: none */
	sd_event_source *exited, *readable, *timer;
	bool has_timed_out;
	char text[OUTPUT_MAX + 1];
	size_t length;
};

/* ---- what it wrote ---- */

static void keep(struct command_probe *command, const char *bytes, size_t length)
{
	size_t room = OUTPUT_MAX - command->length;

	if (length > room)
		length = room;
	memcpy(command->text + command->length, bytes, length);
	command->length += length;
}

/* A child that writes without end is read no faster than others have their turn. */
static int on_readable(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct command_probe *command = data;
	char bytes[4096];
	ssize_t length = read(fd, bytes, sizeof(bytes));

	(void)events;
	if (length > 0)
		keep(command, bytes, length);
	else if (!length || errno != EAGAIN)
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

/* What is left in the pipe when the child has ended. */
static void read_rest(struct command_probe *command)
{
	char bytes[4096];
	ssize_t length;

	while (command->length < OUTPUT_MAX &&
	       (length = read(command->output, bytes, sizeof(bytes))) > 0)
		keep(command, bytes, length);
}

/* Its first line that says something. */
static const char *first_line(struct command_probe *command)
{
	char *line = command->text;

	command->text[command->length] = '\0';
	line += strspn(line, " \t\r\n");
	line[strcspn(line, "\r\n")] = '\0';
	return line;
}

/* ---- its end ---- */

static void destroy(struct probe *probe)
{
	struct command_probe *command = (struct command_probe *)probe;

	sd_event_source_disable_unref(command->readable);
	sd_event_source_disable_unref(command->timer);
	sd_event_source_disable_unref(command->exited);
	if (command->child) {
		kill(-command->child, SIGKILL);
		spawn_abandon(probe->engine, command->child);
	}
	if (command->output >= 0)
		close(command->output);
	for (size_t i = 0; command->words && command->words[i]; i++)
		free(command->words[i]);
	free(command->words);
	free(command);
}

static void finish(struct command_probe *command, enum command_result result, const char *text)
{
	command_done done = command->done;
	void *data = command->data;

	probe_end(&command->probe);
	done(data, result, text);
}

static void describe(const struct command_probe *command, const siginfo_t *child, const char *line,
		     char text[PROBE_ERROR_SIZE])
{
	const char *colon = *line ? ": " : "";

	if (command->has_timed_out)
		probe_say(text, "it did not end within %llu ms%s%s",
			  (unsigned long long)command->timeout_ms, colon, line);
	else if (child->si_code != CLD_EXITED)
		probe_say(text, "it was ended by signal %d (%s)%s%s", child->si_status,
			  strsignal(child->si_status), colon, line);
	else if (child->si_status > COMMAND_NODATA)
		probe_say(text, "it ended with exit status %d%s%s", child->si_status, colon, line);
	else if (child->si_status == COMMAND_NODATA && !*line)
		probe_say(text, "it says that there is no data");
	else
		probe_say(text, "%s", line);
}

static int on_exited(sd_event_source *source, const siginfo_t *child, void *data)
{
	struct command_probe *command = data;
	enum command_result result = COMMAND_NODATA;
	char text[PROBE_ERROR_SIZE];

	(void)source;
	/* It is a zombie until this function returns: its group is still its own. */
	kill(-command->child, SIGKILL);
	command->child = 0;
	read_rest(command);
	describe(command, child, first_line(command), text);
	if (!command->has_timed_out && child->si_code == CLD_EXITED &&
	    child->si_status <= COMMAND_NODATA)
		result = (enum command_result)child->si_status;
	finish(command, result, text);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t time, void *data)
{
	struct command_probe *command = data;

	(void)time;
	if (command->has_timed_out) {
		kill(-command->child, SIGKILL);
		return 0;
	}
	command->has_timed_out = true;
	kill(-command->child, SIGTERM);
	sd_event_source_set_time_relative(source, KILL_AFTER_US);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

/* ---- its beginning ---- */

static int watch(struct command_probe *command)
{
	sd_event *event = command->probe.engine->event;
	int error = sd_event_add_child(event, &command->exited, command->child, WEXITED, on_exited,
				       command);

	if (error >= 0)
		error = sd_event_add_io(event, &command->readable, command->output, EPOLLIN,
					on_readable, command);
	if (error >= 0)
		error = sd_event_add_time_relative(event, &command->timer, CLOCK_MONOTONIC,
						   command->timeout_ms * 1000, 1, on_timer,
						   command);
	return error < 0 ? error : 0;
}

static void begin(struct probe *probe)
{
	struct command_probe *command = (struct command_probe *)probe;
	char text[PROBE_ERROR_SIZE];
	int error = spawn(command->words, command->timeout_ms, &command->child, &command->output);

	if (!error)
		error = watch(command);
	if (!error)
		return;
	probe_say(text, "cannot begin it: %s", strerror(-error));
	finish(command, COMMAND_NODATA, text);
}

static const struct probe_kind command_kind = {
	.queue = QUEUE_COMMANDS,
	.begin = begin,
	.destroy = destroy,
};

static int copy_words(struct command_probe *command, char *const *words, size_t count)
{
	command->words = calloc(count + 1, sizeof(*command->words));
	if (!command->words)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		command->words[i] = strdup(words[i]);
		if (!command->words[i])
			return -ENOMEM;
	}
	return 0;
}

int probe_command(struct probe_engine *engine, char *const *words, size_t count,
		  uint64_t timeout_ms, command_done done, void *data, struct probe **out)
{
	struct command_probe *command = calloc(1, sizeof(*command));

	if (!command)
		return -ENOMEM;
	command->done = done;
	command->data = data;
	command->timeout_ms = timeout_ms;
	command->output = -1;
	if (copy_words(command, words, count)) {
		destroy(&command->probe);
		return -ENOMEM;
	}
	probe_enter(engine, &command->probe, &command_kind);
	*out = &command->probe;
	return 0;
}
