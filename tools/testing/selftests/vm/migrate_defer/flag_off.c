// SPDX-License-Identifier: GPL-2.0
/*
 * For kernels without CONFIG_MIGRATE_DEFER: the advices are unknown there and change nothing.
 * Not one of the tests that run by default, for these are about kernels that have it.
 */
#include <errno.h>

#include "harness.h"
#include "migrate_defer.h"

/* Both advices are EINVAL, even for an empty range, and the mapping is as it was. */
TEST(unknown_advice)
{
	char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char before[4096], after[4096];

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(madvise(p, MIB, MADV_NORMAL), 0);
	ASSERT_GT(vma_describe(p, MIB, before, sizeof(before)), 0);
	for (int advice = MADV_NOMIGRATE; advice <= MADV_DOMIGRATE; advice++) {
		EXPECT_EQ(madvise(p, MIB, advice), -1);
		EXPECT_EQ(errno, EINVAL);
		EXPECT_EQ(madvise(p, 0, advice), -1);
		EXPECT_EQ(errno, EINVAL);
	}
	ASSERT_GT(vma_describe(p, MIB, after, sizeof(after)), 0);
	EXPECT_STREQ(after, before);
	EXPECT_LT(vmstat("nomigrate_forced"), 0);
}

TEST_HARNESS_MAIN
