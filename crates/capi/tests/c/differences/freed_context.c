/* The job of a wait context that was freed is not resumed. */
#include "../check.h"

static int pause_once(void *args)
{
    (void)args;
    ASYNC_pause_job();
    CHECK(0);
    return 1;
}

int main(void)
{
    ASYNC_JOB *job = NULL, *handle;
    ASYNC_callback_fn function;
    void *arg;
    int ret = 0;

    for (int round = 0; round < 100; round++) {
        ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new(), *next;

        CHECK(start(&job, ctx, &ret, pause_once) == ASYNC_PAUSE);
        handle = job;
        ASYNC_WAIT_CTX_free(ctx);
        /* While the job is there, the context is not used again, so a late engine meets no other session. */
        next = ASYNC_WAIT_CTX_new();
        CHECK(next != ctx);
        CHECK(ASYNC_WAIT_CTX_get_callback(ctx, &function, &arg) == 0);
        CHECK(ASYNC_WAIT_CTX_get_status(ctx) == 0);
        CHECK(start(&job, ctx, &ret, pause_once) == ASYNC_ERR && job == NULL);
        CHECK(ASYNC_get_wait_ctx(handle) == NULL);
        ASYNC_WAIT_CTX_free(ctx);
        ASYNC_WAIT_CTX_free(next);
    }
    ASYNC_cleanup_thread();
    return 0;
}
