/* Cleaning up a thread ends its paused jobs, whose handles are stale from then on. */
#include "../check.h"

static int pause_once(void *args)
{
    (void)args;
    ASYNC_pause_job();
    return 1;
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job[10] = { NULL };
    int ret = 0;

    for (int i = 0; i < 10; i++)
        CHECK(start(&job[i], ctx, &ret, pause_once) == ASYNC_PAUSE);
    ASYNC_cleanup_thread();
    for (int i = 0; i < 10; i++)
        CHECK(start(&job[i], ctx, &ret, pause_once) == ASYNC_ERR && job[i] == NULL);
    CHECK(start(&job[0], ctx, &ret, pause_once) == ASYNC_PAUSE);
    CHECK(start(&job[0], ctx, &ret, pause_once) == ASYNC_FINISH && ret == 1);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
