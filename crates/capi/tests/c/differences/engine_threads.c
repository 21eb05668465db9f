/* An engine's thread reads and writes a context while the job's thread does. */
#include "../check.h"

#include <pthread.h>
#include <stdatomic.h>

static ASYNC_WAIT_CTX *ctx;
static ASYNC_JOB *job;
static atomic_int is_done;
static const char key;

static int callback(void *arg)
{
    return arg == &ctx;
}

static void *engine(void *arg)
{
    ASYNC_callback_fn function;
    OSSL_ASYNC_FD fd;
    void *data;

    (void)arg;
    while (!atomic_load(&is_done)) {
        if (ASYNC_WAIT_CTX_get_callback(ctx, &function, &data))
            CHECK(function(data) == 1);
        if (ASYNC_WAIT_CTX_get_fd(ctx, &key, &fd, &data))
            CHECK(fd == 3 && data == &key);
        ASYNC_WAIT_CTX_set_status(ctx, ASYNC_STATUS_OK);
        CHECK(ASYNC_get_wait_ctx(job) == ctx);
    }
    return NULL;
}

static int pauses(void *args)
{
    (void)args;
    for (int i = 0; i < 20000; i++) {
        ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, 3, (void *)&key, NULL);
        ASYNC_WAIT_CTX_set_callback(ctx, i % 2 ? callback : NULL, &ctx);
        ASYNC_pause_job();
        ASYNC_WAIT_CTX_clear_fd(ctx, &key);
    }
    atomic_store(&is_done, 1);
    ASYNC_pause_job();
    return 1;
}

int main(void)
{
    pthread_t thread;
    int ret, code;

    ctx = ASYNC_WAIT_CTX_new();
    CHECK(start(&job, ctx, &ret, pauses) == ASYNC_PAUSE);
    CHECK(pthread_create(&thread, NULL, engine, NULL) == 0);
    while (!atomic_load(&is_done))
        CHECK(start(&job, ctx, &ret, pauses) == ASYNC_PAUSE);
    CHECK(pthread_join(thread, NULL) == 0);
    code = start(&job, ctx, &ret, pauses);
    CHECK(code == ASYNC_FINISH && ret == 1);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
