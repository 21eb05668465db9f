/* A callback and a status pass between application and engine; the library only keeps them. */
#include "../check.h"

static int calls;

static int callback(void *arg)
{
    calls += *(int *)arg;
    return 1;
}

static int engine(void *args)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_get_wait_ctx(ASYNC_get_current_job());
    ASYNC_callback_fn function = NULL;
    void *arg = NULL;

    (void)args;
    CHECK(ASYNC_WAIT_CTX_get_callback(ctx, &function, &arg) == 1);
    CHECK(ASYNC_WAIT_CTX_set_status(ctx, ASYNC_STATUS_OK) == 1);
    ASYNC_pause_job();
    function(arg);
    return 1;
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_callback_fn function = NULL;
    ASYNC_JOB *job = NULL;
    void *arg = NULL;
    int by = 5, ret = 0;

    CHECK(ASYNC_WAIT_CTX_get_callback(ctx, &function, &arg) == 0);
    CHECK(ASYNC_WAIT_CTX_get_status(ctx) == ASYNC_STATUS_UNSUPPORTED);
    CHECK(ASYNC_WAIT_CTX_set_callback(NULL, callback, &by) == 0);
    CHECK(ASYNC_WAIT_CTX_set_callback(ctx, callback, &by) == 1);
    CHECK(ASYNC_WAIT_CTX_get_callback(ctx, &function, &arg) == 1);
    CHECK(function == callback && arg == &by);
    CHECK(start(&job, ctx, &ret, engine) == ASYNC_PAUSE);
    CHECK(ASYNC_WAIT_CTX_get_status(ctx) == ASYNC_STATUS_OK && calls == 0);
    CHECK(start(&job, ctx, &ret, engine) == ASYNC_FINISH && ret == 1 && calls == 5);
    /* The status stays until an engine sets another. */
    CHECK(ASYNC_WAIT_CTX_get_status(ctx) == ASYNC_STATUS_OK);
    CHECK(ASYNC_WAIT_CTX_set_status(ctx, ASYNC_STATUS_EAGAIN) == 1);
    CHECK(ASYNC_WAIT_CTX_get_status(ctx) == ASYNC_STATUS_EAGAIN);
    CHECK(ASYNC_WAIT_CTX_set_callback(ctx, NULL, NULL) == 1);
    CHECK(ASYNC_WAIT_CTX_get_callback(ctx, &function, &arg) == 0);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
