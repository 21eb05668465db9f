/* A job uses as much stack as the argument says, in KiB. */
#include "../check.h"

static int use(volatile char *last, long kib)
{
    volatile char frame[1024];

    memset((void *)frame, (int)kib, sizeof(frame));
    frame[0] += last[0];
    return kib > 0 ? use(frame, kib - 1) + frame[7] : frame[7];
}

static int deep(void *args)
{
    char zero[1] = { 0 };

    return use(zero, *(long *)args) >= -1000000;
}

int main(int argc, char **argv)
{
    long kib = argc > 1 ? atol(argv[1]) : 0;
    ASYNC_JOB *job = NULL;
    int ret = 0;

    CHECK(ASYNC_start_job(&job, NULL, &ret, deep, &kib, sizeof(kib)) == ASYNC_FINISH);
    CHECK(ret == 1);
    return 0;
}
