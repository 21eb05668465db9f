/* An application learns at each pause which descriptors have come and gone since the one before. */
#include "../check.h"

static const char key;

static int changes(void *args)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_get_wait_ctx(ASYNC_get_current_job());

    (void)args;
    ASYNC_pause_job();
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, 99, NULL, NULL);
    ASYNC_pause_job();
    ASYNC_WAIT_CTX_clear_fd(ctx, &key);
    ASYNC_pause_job();
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, 99, NULL, NULL);
    ASYNC_WAIT_CTX_clear_fd(ctx, &key);
    return 1;
}

static void expect(ASYNC_WAIT_CTX *ctx, size_t all, size_t added, size_t removed)
{
    OSSL_ASYNC_FD fd[3] = { -7, -7, -7 };
    size_t count[3] = { 99, 99, 99 };

    CHECK(ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, &count[0]) == 1);
    CHECK(ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, &count[1], NULL, &count[2]) == 1);
    CHECK(count[0] == all && count[1] == added && count[2] == removed);
    CHECK(ASYNC_WAIT_CTX_get_all_fds(ctx, &fd[0], &count[0]) == 1);
    CHECK(ASYNC_WAIT_CTX_get_changed_fds(ctx, &fd[1], &count[1], &fd[2], &count[2]) == 1);
    CHECK(fd[0] == (all ? 99 : -7));
    CHECK(fd[1] == (added ? 99 : -7));
    CHECK(fd[2] == (removed ? 99 : -7));
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL;
    int ret = 0;

    CHECK(start(&job, ctx, &ret, changes) == ASYNC_PAUSE);
    expect(ctx, 0, 0, 0);
    CHECK(start(&job, ctx, &ret, changes) == ASYNC_PAUSE);
    expect(ctx, 1, 1, 0);
    CHECK(start(&job, ctx, &ret, changes) == ASYNC_PAUSE);
    expect(ctx, 0, 0, 1);
    CHECK(start(&job, ctx, &ret, changes) == ASYNC_FINISH && ret == 1);
    expect(ctx, 0, 0, 0);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
