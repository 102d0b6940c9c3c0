/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * flows: long-lived flows for end-to-end tests, and witnesses of what became of them.
 *
 * A client sends numbered records, one at a time; the server answers each one with its own name
 * and with the number and a hash of all bytes that it ever got on this connection. So the client
 * sees at once whether a byte was lost, doubled or reordered, and who has the flow. Every record
 * carries the time at which it was sent: all namespaces of a machine have one CLOCK_MONOTONIC, so a
 * witness at a backend can tell what was sent after an event.
 *
 * Records and answers are in the machine's byte order: both ends are on one machine.
 */
#ifndef XDP_CANARY_TESTS_FLOWS_H
#define XDP_CANARY_TESTS_FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define NAME_SIZE 16
#define NS	  1000000000ULL
#define MS	  1000000ULL

enum record_kind { RECORD = 0x7265636f, RECORD_LAST = 0x6c617374, ANSWER = 0x616e7377 };

struct record {
	uint32_t kind;
	uint32_t length;  /* with this header */
	uint64_t number;  /* 1, 2, ... of the connection */
	uint64_t sent_ns; /* CLOCK_MONOTONIC */
};
#define RECORD_MAX 8192

struct answer {
	uint32_t kind;
	uint32_t reserved;
	uint64_t number; /* of the record */
	uint64_t cookie; /* of the connection at this server; no two are equal; 0: UDP */
	uint64_t bytes;	 /* of the connection so far; 0: UDP */
	uint64_t hash;	 /* of the same, record_hash() */
	char name[NAME_SIZE];
};

/*
 * After RECORD_LAST the client closes its half, and the server, when it has seen that, sends so
 * many bytes more: a half-closed flow still lives, and the client's segments still must find it.
 */
#define FAREWELL_BYTES 24576u /* more than a first window: it needs acknowledgements */

/*
 * The server of backend N announces this + N as its segment size (advmss of its routes), so that
 * a client knows whom it has a connection with before the first answer.
 */
#define MSS_BASE       1300
#define MSS_TIMESTAMPS 12 /* that the option takes off */

struct address {
	struct sockaddr_storage storage;
	socklen_t length;
};

/* ---- common.c ---- */

uint64_t now_ns(void); /* CLOCK_MONOTONIC */
uint64_t hash_bytes(uint64_t hash, const void *data, size_t length);
#define HASH_START 0xcbf29ce484222325ULL
uint64_t random_next(uint64_t *state); /* SplitMix64 */
struct address address_of(const char *text, uint16_t port);
_Noreturn void give_up(const char *what); /* with errno's text, where it is set */
int open_socket(int family, int type, const struct address *local);
void allow_many_files(void);
void watch(int poll, int file, uint32_t events, void *pointer);
uint64_t number_of(const char *text);

/*
 * Words "--name value": *@value is set to the value of one of them. False: there are none left, and
 * argv[*@at] is the first that is no option.
 */
bool next_option(char **argv, int *at, const char **name, const char **value);

/* A line that came on stdin; NULL: none is whole yet. *@ended: there will be no more. */
const char *command_line(bool *ended);

/* ---- the programs ---- */

int client_main(char **argv);
int server_main(char **argv);
int tap_main(char **argv);
int flood_main(char **argv);
int toggle_main(char **argv);
int time_main(char **argv);

#endif
