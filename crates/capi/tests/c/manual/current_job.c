/* Code finds the job that it runs in, and the wait context of the job. */
#include "../check.h"

static ASYNC_JOB *seen;
static ASYNC_WAIT_CTX *seen_ctx;

static int look(void *args)
{
    (void)args;
    seen = ASYNC_get_current_job();
    seen_ctx = ASYNC_get_wait_ctx(seen);
    ASYNC_pause_job();
    return ASYNC_get_current_job() == seen && ASYNC_get_wait_ctx(seen) == seen_ctx;
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new(), *other = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL;
    int ret = 0;

    CHECK(ASYNC_get_current_job() == NULL);
    CHECK(start(&job, ctx, &ret, look) == ASYNC_PAUSE);
    CHECK(job == seen && seen_ctx == ctx && ASYNC_get_wait_ctx(job) == ctx);
    CHECK(ASYNC_get_current_job() == NULL);
    /* The context of the start stays, whatever a resume says. */
    CHECK(start(&job, other, &ret, look) == ASYNC_FINISH && ret == 1);
    CHECK(ASYNC_get_wait_ctx(seen) == NULL);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_WAIT_CTX_free(other);
    ASYNC_cleanup_thread();
    return 0;
}
