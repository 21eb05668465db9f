/* A job starts another one, which pauses, and resumes it to its end. */
#include "../check.h"

static int inner_steps;

static int inner(void *args)
{
    ASYNC_JOB *me = ASYNC_get_current_job();

    inner_steps++;
    ASYNC_pause_job();
    CHECK(ASYNC_get_current_job() == me);
    inner_steps++;
    ASYNC_pause_job();
    return *(int *)args;
}

static int outer(void *args)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *me = ASYNC_get_current_job(), *job = NULL;
    int number = 41, ret = 0;

    (void)args;
    CHECK(ASYNC_start_job(&job, ctx, &ret, inner, &number, sizeof(number)) == ASYNC_PAUSE);
    CHECK(job != NULL && job != me && ASYNC_get_current_job() == me && inner_steps == 1);
    ASYNC_pause_job();
    CHECK(start(&job, ctx, &ret, inner) == ASYNC_PAUSE && inner_steps == 2);
    CHECK(start(&job, ctx, &ret, inner) == ASYNC_FINISH && ret == 41);
    ASYNC_WAIT_CTX_free(ctx);
    return ret + 1;
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL;
    int ret = 0;

    CHECK(start(&job, ctx, &ret, outer) == ASYNC_PAUSE);
    CHECK(start(&job, ctx, &ret, outer) == ASYNC_FINISH && ret == 42);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
