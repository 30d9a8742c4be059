// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * RDMA over loopback: both ends of a reliable connection of soft RoCE (rdma_rxe) are in this
 * process.  A thread reads what it wrote a round before at the beginning of each page, checks it,
 * and writes something else.
 *
 * rxe keeps no count of the page faults and invalidations of a registration (of the drivers of 7.3
 * only mlx5 does, drivers/infiniband/hw/mlx5/restrack.c), so they are counted where the RDMA core
 * does what they ask for, by probes.
 */
#include <errno.h>
#include <limits.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "traffic.h"

#define TRACING		"/sys/kernel/tracing"
#define PORT		1
#define MAX_READS	16	/* of a connection at a time */
#define WAIT_SECONDS	60

/**
 * run() - run a command of the shell; what it says becomes part of the log
 * @command: the command
 *
 * Return: its status, as that of pclose().
 */
int run(const char *command)
{
	char *line = NULL;
	size_t len = 0;
	int status;
	FILE *pipe;

	fflush(stdout);
	pipe = popen(command, "r");
	if (!pipe)
		return -1;
	while (getline(&line, &len, pipe) > 0)
		printf("#   %s", line);
	free(line);
	status = pclose(pipe);
	fflush(stdout);
	return status;
}

/* ----------------------------------------------------------------------------------- the device */

static struct ibv_context *device_open(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *context = NULL;

	for (int i = 0; list && list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]), RXE))
			context = ibv_open_device(list[i]);
	if (list)
		ibv_free_device_list(list);
	return context;
}

/* The IPv4 address of the network device: that of its MAC needs IPv6 to be routed. */
static int gid_find(struct ibv_context *context, union ibv_gid *gid)
{
	static const unsigned char mapped[12] = { [10] = 0xff, 0xff };
	struct ibv_port_attr port;

	if (ibv_query_port(context, PORT, &port))
		return -1;
	for (int i = 0; i < port.gid_tbl_len; i++)
		if (!ibv_query_gid(context, PORT, i, gid) && !memcmp(gid, mapped, sizeof(mapped)))
			return i;
	return -1;
}

static bool device_ready(void *arg)
{
	struct ibv_context *context = device_open();
	union ibv_gid gid;
	int index = context ? gid_find(context, &gid) : -1;

	(void)arg;
	if (context)
		ibv_close_device(context);
	return index >= 0;
}

/**
 * rxe_missing() - have soft RoCE on a network device that sends nothing, or know why not
 *
 * Return: the reason why there is none, or NULL.
 */
const char *rxe_missing(void)
{
	const unsigned int need = IBV_ODP_SUPPORT_READ | IBV_ODP_SUPPORT_WRITE;
	struct ibv_device_attr_ex attr = { 0 };
	struct ibv_context *context;
	bool has;

	if (access("/sys/class/infiniband/" RXE, F_OK) &&
	    run("./rxe.sh up " RXE))
		return "no soft RoCE device";
	if (!poll_until(device_ready, NULL, WAIT_SECONDS))
		return "the verbs library does not find " RXE ", or it has no address";
	context = device_open();
	if (!context)
		return "the device cannot be opened";
	has = !ibv_query_device_ex(context, NULL, &attr) &&
	      attr.odp_caps.general_caps & IBV_ODP_SUPPORT &&
	      (attr.odp_caps.per_transport_caps.rc_odp_caps & need) == need;
	ibv_close_device(context);
	return has ? NULL : "the device has no on-demand paging for reads and writes";
}

static int qp_connect(struct traffic *t, struct ibv_qp *qp, uint32_t peer)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT, .port_num = PORT,
		.qp_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
	};
	int ret;

	ret = ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				       IBV_QP_ACCESS_FLAGS);
	if (ret)
		return -ret;
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_4096, .dest_qp_num = peer,
		.max_dest_rd_atomic = MAX_READS, .min_rnr_timer = 12,
		.ah_attr = {
			.is_global = 1, .port_num = PORT,
			.grh = { .dgid = t->gid, .sgid_index = t->gid_index, .hop_limit = 1 },
		},
	};
	ret = ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
				       IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
				       IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
	if (ret)
		return -ret;
	/* Two seconds, as nothing is lost here unless memory for a packet is short. */
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTS, .timeout = 19, .retry_cnt = 7, .rnr_retry = 7,
		.max_rd_atomic = MAX_READS,
	};
	return -ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
					 IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
					 IBV_QP_MAX_QP_RD_ATOMIC);
}

static int connect_ends(struct traffic *t)
{
	return qp_connect(t, t->qp[0], t->qp[1]->qp_num) ?:
	       qp_connect(t, t->qp[1], t->qp[0]->qp_num);
}

/*
 * A page fault that takes a second (HMM_RANGE_DEFAULT_TIMEOUT: as long as movers are about that
 * page) is an error to the other end, and the end of the connection.  Have it anew.
 */
static int reconnect(struct traffic *t)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RESET };
	struct ibv_wc wc;
	int ret = 0;

	for (int i = 0; !ret && i < 2; i++)
		ret = -ibv_modify_qp(t->qp[i], &attr, IBV_QP_STATE);
	while (!ret && ibv_poll_cq(t->cq, 1, &wc) > 0)
		;
	return ret ?: connect_ends(t);
}

/**
 * traffic_open() - have a connection, without any target yet
 * @t: what to fill in
 * @node: on which node its own memory is, which is pinned; -1: wherever
 *
 * Return: 0 or a negative errno.
 */
int traffic_open(struct traffic *t, int node)
{
	/* In its own mapping: the advice of a test must not reach it. */
	size_t len = (2 * BATCH * BLOCK_BYTES + page_size() - 1) / page_size() * page_size();
	struct ibv_qp_init_attr init = {
		.qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = 2 * BATCH, .max_recv_wr = 1, .max_send_sge = 1,
			 .max_recv_sge = 1 },
	};
	int ret;

	*t = (struct traffic) { .context = device_open() };
	if (!t->context)
		return -ENODEV;
	t->gid_index = gid_find(t->context, &t->gid);
	t->staging = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->gid_index < 0 || t->staging == MAP_FAILED)
		return -ENODEV;
	ret = node < 0 ? 0 : range_bind(t->staging, len, node, 0);
	if (ret)
		return ret;
	t->pd = ibv_alloc_pd(t->context);
	t->cq = ibv_create_cq(t->context, 4 * BATCH, NULL, NULL, 0);
	if (!t->pd || !t->cq)
		return -ENODEV;
	t->staging_mr = ibv_reg_mr(t->pd, t->staging, len, IBV_ACCESS_LOCAL_WRITE);
	init.send_cq = t->cq;
	init.recv_cq = t->cq;
	for (int i = 0; i < 2; i++)
		t->qp[i] = ibv_create_qp(t->pd, &init);
	if (!t->staging_mr || !t->qp[0] || !t->qp[1])
		return -ENODEV;
	return connect_ends(t);
}

/**
 * traffic_add() - register memory as a target
 * @t: the traffic, which is not started yet
 * @r: the memory
 * @access: IBV_ACCESS_ON_DEMAND, or 0 for a registration that pins it
 *
 * Return: 0 or a negative errno.
 */
int traffic_add(struct traffic *t, struct region *r, int access)
{
	struct target *target = &t->targets[t->nr];

	*target = (struct target) { .r = r };
	target->first = calloc(region_pages(r), sizeof(*target->first));
	if (!target->first)
		return -ENOMEM;
	target->mr = ibv_reg_mr(t->pd, r->addr, r->size,
				access | IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
				IBV_ACCESS_REMOTE_WRITE);
	if (!target->mr) {
		free(target->first);
		return -errno;
	}
	t->nr++;
	return 0;
}

/* ---------------------------------------------------------------------------------- the traffic */

static uint64_t word(const struct target *target, size_t page, size_t i, unsigned long round)
{
	return target->first[page][i] ^ round * 0x9e3779b97f4a7c15ULL;
}

static size_t wrong(const struct target *target, size_t page, const uint64_t *words,
		    unsigned long round)
{
	for (size_t i = 0; i < BLOCK_WORDS; i++)
		if (words[i] != word(target, page, i, round))
			return 1;
	return 0;
}

/*
 * Read so many pages and write them; 0, a status or a negative errno.  When it is done again it is
 * not known which of them were written.
 */
static int transfer(struct traffic *t, struct target *target, size_t page, size_t nr, bool again)
{
	struct ibv_send_wr wr[2 * BATCH] = { 0 }, *bad;
	struct ibv_sge sge[2 * BATCH];
	struct ibv_wc wc;
	int got;

	for (size_t i = 0; i < 2 * nr; i++) {
		size_t at = page + i % nr;

		sge[i] = (struct ibv_sge) {
			.addr = (uintptr_t)t->staging[i], .length = BLOCK_BYTES,
			.lkey = t->staging_mr->lkey,
		};
		wr[i] = (struct ibv_send_wr) {
			.next = i + 1 < 2 * nr ? &wr[i + 1] : NULL, .sg_list = &sge[i],
			.num_sge = 1, .opcode = i < nr ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
			.send_flags = i + 1 < 2 * nr ? 0 : IBV_SEND_SIGNALED,
			.wr.rdma = {
				.remote_addr = (uintptr_t)target->r->addr + at * page_size(),
				.rkey = target->mr->rkey,
			},
		};
		for (size_t k = 0; i >= nr && k < BLOCK_WORDS; k++)
			t->staging[i][k] = word(target, at, k, t->round + 1);
	}
	if (ibv_post_send(t->qp[0], wr, &bad))
		return -errno;
	do {
		got = ibv_poll_cq(t->cq, 1, &wc);
		if (!got)
			sched_yield();
	} while (!got);
	if (got < 0 || wc.status)
		return got < 0 ? -EIO : wc.status;
	for (size_t i = 0; i < nr; i++) {
		if (again && !wrong(target, page + i, t->staging[i], t->round + 1))
			continue;
		target->wrong += wrong(target, page + i, t->staging[i], t->round);
	}
	target->accesses += 2 * nr;
	return 0;
}

static int transfer_surely(struct traffic *t, struct target *target, size_t page, size_t nr)
{
	int ret = transfer(t, target, page, nr, false);

	while (ret == IBV_WC_REM_ACCESS_ERR) {
		target->refused++;
		ret = reconnect(t) ?: transfer(t, target, page, nr, true);
	}
	return ret;
}

/* It ends after a whole round, so that it is known what was written last. */
static void *stream(void *arg)
{
	struct traffic *t = arg;
	size_t pages = region_pages(t->targets[0].r);

	while (!t->stop && !t->error) {
		for (size_t page = 0; page < pages && !t->error; page += BATCH) {
			size_t nr = pages - page < BATCH ? pages - page : BATCH;

			for (int i = 0; i < t->nr && !t->error; i++)
				t->error = transfer_surely(t, &t->targets[i], page, nr);
		}
		if (!t->error)
			t->round++;
	}
	return NULL;
}

/**
 * traffic_start() - start to read and write
 * @t: the traffic
 *
 * Return: 0 or a negative errno.
 */
int traffic_start(struct traffic *t)
{
	sigset_t all, old;
	int ret;

	for (int i = 0; i < t->nr; i++) {
		const struct target *target = &t->targets[i];

		for (size_t page = 0; page < region_pages(target->r); page++)
			memcpy(target->first[page], target->r->addr + page * page_size(),
			       BLOCK_BYTES);
	}
	/* Signals are for the thread that waits for a mover (write_bounded()). */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	ret = -pthread_create(&t->thread, NULL, stream, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

/**
 * traffic_wait() - wait until all was read and written
 * @t: the traffic
 * @rounds: how often, from now on
 * @seconds: how long at most
 *
 * Return: whether.
 */
bool traffic_wait(struct traffic *t, unsigned long rounds, double seconds)
{
	unsigned long until = t->round + rounds;
	double end = now() + seconds;

	while (t->round < until && !t->error && now() < end)
		usleep(10000);
	return t->round >= until;
}

/**
 * traffic_stop() - end it, and put back what was there before
 * @t: the traffic
 *
 * What the processor finds is compared with what was written last: it adds to the count of what
 * is wrong.
 *
 * Return: 0 or why it had ended before (see struct traffic).
 */
int traffic_stop(struct traffic *t)
{
	t->stop = true;
	pthread_join(t->thread, NULL);
	for (int i = 0; i < t->nr && !t->error; i++) {
		struct target *target = &t->targets[i];

		for (size_t page = 0; page < region_pages(target->r); page++) {
			void *block = target->r->addr + page * page_size();

			target->wrong += wrong(target, page, block, t->round);
			memcpy(block, target->first[page], BLOCK_BYTES);
		}
	}
	if (t->error)
		printf("# the connection ended: %s\n",
		       t->error < 0 ? strerror(-t->error) : ibv_wc_status_str(t->error));
	return t->error;
}

/**
 * traffic_close() - give back everything
 * @t: the traffic, which is stopped
 */
void traffic_close(struct traffic *t)
{
	for (int i = 0; i < 2; i++)
		ibv_destroy_qp(t->qp[i]);
	for (int i = 0; i < t->nr; i++) {
		ibv_dereg_mr(t->targets[i].mr);
		free(t->targets[i].first);
	}
	ibv_dereg_mr(t->staging_mr);
	ibv_destroy_cq(t->cq);
	ibv_dealloc_pd(t->pd);
	ibv_close_device(t->context);
}

/* ----------------------------------------------------------------------------------- the counts */

/* Without "fault" it only looks which pages are there. */
#define MAP	"p:odp/map ib_umem_odp_map_dma_and_lock at=$arg2:u64 fault=$arg5:u8"
#define UNMAP	"p:odp/unmap ib_umem_odp_unmap_dma_pages at=$arg2:u64"

static const struct probe {
	const char *name;
	const char *definition;
	const char *which;
} probes[] = {
	[ODP_REGISTRATION] = { "map", MAP, "fault==0 && " },
	[ODP_FAULT] = { "map", MAP, "fault!=0 && " },
	[ODP_INVALIDATION] = { "unmap", UNMAP, "" },
};

/**
 * odp_count_open() - count what happens to registrations for on-demand paging from now on
 * @count: for breaks_read() and breaks_close()
 * @event: what
 * @addr: where it happens
 * @len: length of that
 *
 * Return: 0 or a negative errno.
 */
int odp_count_open(struct breaks *count, enum odp_event event, const void *addr, size_t len)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr) };
	const struct probe *probe = &probes[event];
	char path[PATH_MAX], filter[128];
	long long id;
	int ret;

	count->nr = 0;
	snprintf(path, sizeof(path), TRACING "/events/odp/%s/id", probe->name);
	if (access(path, F_OK)) {
		ret = file_write(TRACING "/kprobe_events", "%s\n", probe->definition);
		if (ret)
			return ret;
	}
	id = file_number(path);
	if (id < 0)
		return id;
	attr.config = id;
	snprintf(filter, sizeof(filter), "%sat>=%#lx && at<%#lx", probe->which,
		 (unsigned long)addr, (unsigned long)addr + len);
	for (int cpu = 0; cpu < cpu_count() && count->nr < ARRAY_SIZE(count->fd); cpu++) {
		int fd = syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

		if (fd < 0)
			return -errno;
		count->fd[count->nr++] = fd;
		if (ioctl(fd, PERF_EVENT_IOC_SET_FILTER, filter))
			return -errno;
		ioctl(fd, PERF_EVENT_IOC_RESET, 0);
	}
	return 0;
}
