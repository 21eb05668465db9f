/* A job cannot clean up the thread that it runs on. */
#include "../check.h"

static int cleans_up(void *args)
{
    (void)args;
    ASYNC_cleanup_thread();
    ASYNC_pause_job();
    ASYNC_cleanup_thread();
    return 1;
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL;
    int ret = 0;

    CHECK(start(&job, ctx, &ret, cleans_up) == ASYNC_PAUSE);
    CHECK(start(&job, ctx, &ret, cleans_up) == ASYNC_FINISH && ret == 1);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
