// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Page requests (PRI): ask the guest to map a page, and wait for the response.
 *
 * One at a time, each a group of its own, which makes the group index tell a response to a request
 * that was given up from one that is waited for.
 * Source: PCI Express specification 6.x, section 10.4 (page request services).
 */
#include <errno.h>
#include <time.h>

#include "ats.h"

#define ANSWER_SECONDS	60	/* before it is given up */
#define QUEUE_RETRIES	10000
#define QUEUE_PAUSE_NS	1000000

static int send_request(struct ats *ats, __u64 addr, bool write)
{
	int ret;

	bql_lock();
	pthread_mutex_lock(&ats->lock);
	ats->request_prgi = (ats->request_prgi + 1) & QEMU_PRI_PRGI_MASK;
	ats->request_waits = true;
	pthread_mutex_unlock(&ats->lock);
	ret = pci_pri_request_page(ats->pci, ats->pasid, false, false, addr & PAGE_MASK, true,
				   ats->request_prgi, true, write);
	bql_unlock();
	return ret;
}

/**
 * page_request() - have the guest map a page
 * @ats: of the device and PASID
 * @addr: an address in it
 * @write: whether it is to be written to
 *
 * Context: thread of the device, without locks.
 * Return: 0 if the guest has answered by success, -EFAULT if by something else, -EINTR if the
 * thread is to stop, -EIO if there is no answer or page requests are off.
 */
int page_request(struct ats *ats, __u64 addr, bool write)
{
	struct timespec deadline;
	int ret;

	/* The queue of the IOMMU may be full for a moment. */
	for (int i = 0; (ret = send_request(ats, addr, write)) && i < QUEUE_RETRIES; i++) {
		if (ret == -EPERM || ret == -ENODEV)
			break;
		nanosleep(&(struct timespec) { .tv_nsec = QUEUE_PAUSE_NS }, NULL);
	}
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += ANSWER_SECONDS;
	pthread_mutex_lock(&ats->lock);
	while (!ret && ats->request_waits && !ats->stop)
		if (pthread_cond_timedwait(&ats->wake, &ats->lock, &deadline) == ETIMEDOUT)
			break;
	if (ret)
		ret = -EIO;
	else if (ats->request_waits)
		ret = ats->stop ? -EINTR : -EIO;
	else if (ats->request_code != QEMU_PRI_SUCCESS)
		ret = -EFAULT;
	ats->request_waits = false;
	pthread_mutex_unlock(&ats->lock);
	return ret;
}

/**
 * page_response() - a page group response has come
 * @notifier: that of the PASID
 * @response: what it says
 *
 * Context: BQL held, in the processor that has written the tail of the invalidation queue.
 */
void page_response(struct qemu_pri_notifier *notifier, struct qemu_pri_response *response)
{
	struct ats *ats = container_of(notifier, struct ats, pri);

	pthread_mutex_lock(&ats->lock);
	if (ats->request_waits && response->prgi == ats->request_prgi) {
		ats->request_waits = false;
		ats->request_code = response->code;
		pthread_cond_signal(&ats->wake);
	} else {
		ats->late++;
	}
	pthread_mutex_unlock(&ats->lock);
}
