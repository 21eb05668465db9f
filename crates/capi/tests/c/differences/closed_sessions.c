/* Sessions are closed while their jobs are paused. Without a limit memory stays, and with one there is always a job. */
#include "../check.h"

#include <sys/eventfd.h>

static const char key;

static void close_it(ASYNC_WAIT_CTX *ctx, const void *of, OSSL_ASYNC_FD fd, void *custom)
{
    (void)ctx;
    (void)of;
    (void)custom;
    close(fd);
}

static int request(void *args)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_get_wait_ctx(ASYNC_get_current_job());
    int fd = eventfd(*(int *)args, EFD_NONBLOCK);

    CHECK(ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, fd, NULL, close_it) == 1);
    ASYNC_pause_job();
    return 1;
}

/* Starts a job and closes its session; its engine has woken it by then, or never will. */
static int close_paused(int is_woken, ASYNC_JOB **job)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    int ret = 0, code;

    *job = NULL;
    code = ASYNC_start_job(job, ctx, &ret, request, &is_woken, sizeof(is_woken));
    ASYNC_WAIT_CTX_free(ctx);
    return code;
}

int main(void)
{
    ASYNC_JOB *job;

    /* The engine has signalled before the session is closed, as the manual wants. */
    CHECK(ASYNC_init_thread(1, 0) == 1);
    for (int round = 0; round < 10000; round++)
        CHECK(close_paused(1, &job) == ASYNC_PAUSE);

    /* The engine is not done: the stack stays out of use until it looks for the session. */
    for (int round = 0; round < 1000; round++) {
        ASYNC_JOB *orphan;

        CHECK(close_paused(0, &orphan) == ASYNC_PAUSE);
        CHECK(close_paused(0, &job) == ASYNC_NO_JOBS);
        CHECK(ASYNC_get_wait_ctx(orphan) == NULL);
        CHECK(close_paused(1, &job) == ASYNC_PAUSE);
    }
    CHECK(close_paused(0, &job) == ASYNC_PAUSE);
    CHECK(close_paused(0, &job) == ASYNC_NO_JOBS);
    ASYNC_cleanup_thread();
    CHECK(ASYNC_init_thread(1, 0) == 1);
    CHECK(close_paused(1, &job) == ASYNC_PAUSE);
    ASYNC_cleanup_thread();
    return 0;
}
