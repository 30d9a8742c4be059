/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Soft RoCE in a guest, and RDMA through a registration of memory: see traffic.c. */
#ifndef _TRAFFIC_H
#define _TRAFFIC_H

#include <infiniband/verbs.h>
#include <pthread.h>

#include "migrate_defer.h"

#define RXE		"rxe0"
#define MAX_TARGETS	4
#define BATCH		16	/* pages of which reads and writes are on their way together */
#define BLOCK_BYTES	64	/* at the beginning of each page, that RDMA reads and writes */
#define BLOCK_WORDS	(BLOCK_BYTES / sizeof(uint64_t))

/**
 * struct target - memory that RDMA goes to
 * @r:		the memory
 * @mr:		its registration
 * @first:	what was at the beginning of each page before
 * @accesses:	reads and writes that were completed
 * @wrong:	reads that did not find what had been written last
 * @refused:	how often the connection was lost, as rxe could not have a page in time
 */
struct target {
	struct region *r;
	struct ibv_mr *mr;
	uint64_t (*first)[BLOCK_WORDS];
	unsigned long accesses;
	unsigned long wrong;
	unsigned long refused;
};

/**
 * struct traffic - a thread that reads and writes targets through the device
 * @context:	the device
 * @pd:		what belongs together there
 * @cq:		where the end of a batch is reported
 * @qp:		two ends of a connection
 * @gid_index:	the address of the device that can be routed
 * @gid:	that address
 * @staging:	where reads go to, and writes come from
 * @staging_mr:	its registration, an ordinary one
 * @targets:	the targets, all of the same size
 * @nr:		how many there are
 * @round:	how often all pages of all targets were read and written
 * @stop:	tells the thread to end
 * @error:	why it ended before; 0 or a status of ibv_wc_status_str(), or a negative errno
 * @thread:	the thread
 */
struct traffic {
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp[2];
	int gid_index;
	union ibv_gid gid;
	uint64_t (*staging)[BLOCK_WORDS];
	struct ibv_mr *staging_mr;
	struct target targets[MAX_TARGETS];
	int nr;
	volatile unsigned long round;
	volatile bool stop;
	int error;
	pthread_t thread;
};

int run(const char *command);
const char *rxe_missing(void);
int traffic_open(struct traffic *t, int node);
int traffic_add(struct traffic *t, struct region *r, int access);
int traffic_start(struct traffic *t);
bool traffic_wait(struct traffic *t, unsigned long rounds, double seconds);
int traffic_stop(struct traffic *t);
void traffic_close(struct traffic *t);

/* What the kernel does with a registration for on-demand paging */
enum odp_event { ODP_REGISTRATION, ODP_FAULT, ODP_INVALIDATION };

int odp_count_open(struct breaks *count, enum odp_event event, const void *addr, size_t len);

#endif /* _TRAFFIC_H */
