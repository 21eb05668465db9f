/* A context may serve one job after another. */
#include "../check.h"

static const char key;

static int adds_a_descriptor(void *args)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_get_wait_ctx(ASYNC_get_current_job());
    OSSL_ASYNC_FD fd;
    void *custom;

    (void)args;
    if (!ASYNC_WAIT_CTX_get_fd(ctx, &key, &fd, &custom))
        ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, 9, NULL, NULL);
    ASYNC_pause_job();
    return 1;
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();

    for (int round = 0; round < 100; round++) {
        ASYNC_JOB *job = NULL;
        size_t all, added, removed;
        int ret = 0;

        CHECK(start(&job, ctx, &ret, adds_a_descriptor) == ASYNC_PAUSE);
        CHECK(start(&job, ctx, &ret, adds_a_descriptor) == ASYNC_FINISH && ret == 1);
        CHECK(ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, &all) == 1 && all == 1);
        CHECK(ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, &added, NULL, &removed) == 1);
        CHECK(added == 0 && removed == 0);
    }
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
