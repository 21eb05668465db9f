/* Null is an error where a pointer is needed, and leaves out what is not wanted. */
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
    ASYNC_JOB *job = NULL;
    ASYNC_callback_fn function;
    OSSL_ASYNC_FD fd;
    size_t count;
    void *data;
    int ret;

    CHECK(ASYNC_start_job(NULL, ctx, &ret, pause_once, NULL, 0) == ASYNC_ERR);
    CHECK(ASYNC_start_job(&job, ctx, &ret, NULL, NULL, 0) == ASYNC_ERR);
    CHECK(ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_PASSED_NULL_PARAMETER);
    CHECK(start(&job, ctx, NULL, pause_once) == ASYNC_PAUSE);
    CHECK(start(&job, ctx, NULL, pause_once) == ASYNC_FINISH);
    CHECK(ASYNC_get_wait_ctx(NULL) == NULL);
    CHECK(ASYNC_WAIT_CTX_set_wait_fd(NULL, ctx, 1, NULL, NULL) == 0);
    CHECK(ASYNC_WAIT_CTX_get_fd(NULL, ctx, &fd, &data) == 0);
    CHECK(ASYNC_WAIT_CTX_get_all_fds(NULL, NULL, &count) == 0);
    CHECK(ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, NULL) == 0);
    CHECK(ASYNC_WAIT_CTX_get_changed_fds(NULL, NULL, &count, NULL, &count) == 0);
    CHECK(ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, NULL, NULL, NULL) == 0);
    CHECK(ASYNC_WAIT_CTX_clear_fd(NULL, ctx) == 0);
    CHECK(ASYNC_WAIT_CTX_get_callback(NULL, &function, &data) == 0);
    CHECK(ASYNC_WAIT_CTX_set_status(NULL, 1) == 0);
    CHECK(ASYNC_WAIT_CTX_get_status(NULL) == 0);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
