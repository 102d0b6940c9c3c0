// SPDX-License-Identifier: GPL-2.0-only
#include "probe/spawn.h"

#include "probe/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY	       65534 /* where the system does not name it */
#define PROCESSES_MAX  512   /* of all that run as nobody */
#define FILES_MAX      256
#define FILE_BYTES_MAX (64UL << 20)
#define CANNOT_RUN     127 /* as shells have it */

#define SYSTEM_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static char *const environment[] = {
	"PATH=" SYSTEM_PATH, "HOME=/", "USER=nobody", "LOGNAME=nobody", "LANG=C.UTF-8", NULL,
};

struct identity {
	uid_t user;
	gid_t group;
};

static void find_nobody(struct identity *out)
{
	struct passwd entry, *found = NULL;
	char buffer[4096];

	*out = (struct identity){NOBODY, NOBODY};
	if (!getpwnam_r("nobody", &entry, buffer, sizeof(buffer), &found) && found)
		*out = (struct identity){found->pw_uid, found->pw_gid};
}

/* ---- in the child: nothing that is not async-signal-safe, for libcurl may have threads ---- */

static int limit(int resource, rlim_t most)
{
	return setrlimit(resource, &(struct rlimit){most, most});
}

static int take_rights(const struct identity *identity, uint64_t timeout_ms)
{
	if (!geteuid() &&
	    (setgroups(0, NULL) || setresgid(identity->group, identity->group, identity->group) ||
	     setresuid(identity->user, identity->user, identity->user)))
		return -1;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || limit(RLIMIT_CORE, 0) ||
	    limit(RLIMIT_NPROC, PROCESSES_MAX) || limit(RLIMIT_NOFILE, FILES_MAX) ||
	    limit(RLIMIT_FSIZE, FILE_BYTES_MAX))
		return -1;
	return limit(RLIMIT_CPU, timeout_ms / 1000 + 2);
}

static void reset_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int arrange_files(int output)
{
	int null = open("/dev/null", O_RDONLY);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
	    dup2(output, STDERR_FILENO) < 0)
		return -1;
	return close_range(3, ~0U, 0);
}

static void complain(const char *what)
{
	const char *why = strerrordesc_np(errno);

	dprintf(STDERR_FILENO, "cannot run %s: %s\n", what, why ? why : "unknown error");
}

/*
 * As execvpe() does, but in the PATH that the program is given: the daemon's own may be anybody's.
 * No shell takes what is no program, either. Returns where nothing was found that can be run.
 */
static void execute(char *const *words)
{
	const char *directory = SYSTEM_PATH;
	size_t length, name = strlen(words[0]);
	char path[PATH_MAX];
	int error = ENOENT;

	if (strchr(words[0], '/')) {
		execve(words[0], words, environment);
		return;
	}
	for (; name && *directory; directory += length + (directory[length] == ':')) {
		length = strcspn(directory, ":");
		if (length + name + 2 > sizeof(path))
			continue;
		memcpy(path, directory, length);
		path[length] = '/';
		memcpy(path + length + 1, words[0], name + 1);
		execve(path, words, environment);
		if (errno != ENOENT && errno != ENOTDIR)
			error = errno;
	}
	errno = error;
}

static void run(char *const *words, const struct identity *identity, uint64_t timeout_ms,
		int output, pid_t parent)
{
	setpgid(0, 0);
	reset_signals();
	if (arrange_files(output) || chdir("/") || take_rights(identity, timeout_ms)) {
		complain("it without rights");
		_exit(CANNOT_RUN);
	}
	/* Changing who we are takes it back, so it comes last. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(CANNOT_RUN);
	execute(words);
	complain(words[0]);
	_exit(CANNOT_RUN);
}

/* ---- in the daemon ---- */

int spawn(char *const *words, uint64_t timeout_ms, pid_t *child, int *output)
{
	struct identity identity;
	pid_t parent = getpid(), pid;
	int ends[2], error;

	find_nobody(&identity);
	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid)
		run(words, &identity, timeout_ms, ends[1], parent);
	error = errno;
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return -error;
	}
	/* Both do it, for either may come first. */
	setpgid(pid, pid);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	*child = pid;
	*output = ends[0];
	return 0;
}

/* The loop's own reference was the last one. */
static int forget(sd_event_source *source, const siginfo_t *child, void *data)
{
	(void)child;
	(void)data;
	return sd_event_source_set_floating(source, false);
}

void spawn_abandon(struct probe_engine *engine, pid_t child)
{
	if (sd_event_add_child(engine->event, NULL, child, WEXITED, forget, NULL) < 0)
		waitpid(child, NULL, 0);
}
