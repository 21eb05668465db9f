/* Writes past the end of an array on a job's stack after a pause, for the address sanitizer to find. */
#include "../check.h"

static int job(void *args)
{
    volatile char array[16];
    int at = *(int *)args;

    ASYNC_pause_job();
    array[at] = 1;
    return array[at];
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *paused = NULL;
    int ret, at = 17;

    CHECK(ASYNC_start_job(&paused, ctx, &ret, job, &at, sizeof(at)) == ASYNC_PAUSE);
    CHECK(start(&paused, ctx, &ret, job) == ASYNC_FINISH);
    return 0;
}
