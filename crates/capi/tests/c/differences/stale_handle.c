/* The handle of a finished job is an error, also when another job has taken its place. */
#include "../check.h"

static int pause_once(void *args)
{
    (void)args;
    ASYNC_pause_job();
    return 1;
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new(), *other = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL, *stale, *copy, *second = NULL;
    int ret = 0;

    CHECK(start(&job, ctx, &ret, pause_once) == ASYNC_PAUSE);
    stale = job;
    CHECK(start(&job, ctx, &ret, pause_once) == ASYNC_FINISH);
    copy = stale;
    CHECK(start(&copy, ctx, &ret, pause_once) == ASYNC_ERR && copy == NULL);
    CHECK(ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_ASYNC);
    CHECK(ERR_GET_REASON(ERR_get_error()) == ERR_R_INTERNAL_ERROR);
    CHECK(start(&second, other, &ret, pause_once) == ASYNC_PAUSE && second != stale);
    copy = stale;
    CHECK(start(&copy, ctx, &ret, pause_once) == ASYNC_ERR);
    CHECK(ASYNC_get_wait_ctx(stale) == NULL && ASYNC_get_wait_ctx(second) == other);
    CHECK(start(&second, other, &ret, pause_once) == ASYNC_FINISH && ret == 1);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_WAIT_CTX_free(other);
    ASYNC_cleanup_thread();
    return 0;
}
