/* An engine wakes an application through a stable descriptor, and the application waits with poll. */
#include "../check.h"

#include <poll.h>

static const char key;
static int made, closed;

static void close_both(ASYNC_WAIT_CTX *ctx, const void *of, OSSL_ASYNC_FD fd, void *custom)
{
    int *writer = custom;

    (void)ctx;
    (void)of;
    close(fd);
    close(*writer);
    free(writer);
    closed++;
}

/* What an engine does for each request: a pipe of its own for each session, made by the first. */
static int request(void *args)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_get_wait_ctx(ASYNC_get_current_job());
    OSSL_ASYNC_FD reader;
    void *custom;
    char byte = 'x';

    (void)args;
    if (!ASYNC_WAIT_CTX_get_fd(ctx, &key, &reader, &custom)) {
        int pipe_fds[2], *writer = malloc(sizeof(*writer));
        CHECK(pipe(pipe_fds) == 0);
        *writer = pipe_fds[1];
        CHECK(ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, pipe_fds[0], writer, close_both) == 1);
        made++;
        reader = pipe_fds[0];
        custom = writer;
    }
    CHECK(write(*(int *)custom, &byte, 1) == 1);
    ASYNC_pause_job();
    CHECK(read(reader, &byte, 1) == 1);
    return 1;
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();

    for (int round = 0; round < 3; round++) {
        ASYNC_JOB *job = NULL;
        OSSL_ASYNC_FD fd;
        size_t count, added, removed;
        int ret = 0;

        CHECK(start(&job, ctx, &ret, request) == ASYNC_PAUSE);
        CHECK(ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, &added, NULL, &removed) == 1);
        CHECK(added == (round == 0) && removed == 0);
        CHECK(ASYNC_WAIT_CTX_get_all_fds(ctx, &fd, &count) == 1 && count == 1);
        struct pollfd wait = { fd, POLLIN, 0 };
        CHECK(poll(&wait, 1, 10000) == 1);
        CHECK(start(&job, ctx, &ret, request) == ASYNC_FINISH && ret == 1);
    }
    ASYNC_WAIT_CTX_free(ctx);
    CHECK(made == 1 && closed == 1);
    ASYNC_cleanup_thread();
    return 0;
}
