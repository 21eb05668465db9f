/* A session is closed on another thread than its job's, and its engine wakes it from a third. */
#include "../check.h"

#include <pthread.h>

static ASYNC_WAIT_CTX *ctx;
static ASYNC_JOB *job;

static int pause_once(void *args)
{
    (void)args;
    ASYNC_pause_job();
    return 1;
}

static void *close_session(void *arg)
{
    (void)arg;
    ASYNC_WAIT_CTX_free(ctx);
    return NULL;
}

static void *wake(void *arg)
{
    (void)arg;
    CHECK(ASYNC_get_wait_ctx(job) == NULL);
    return NULL;
}

static void run(void *(*function)(void *))
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, function, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

int main(void)
{
    CHECK(ASYNC_init_thread(1, 0) == 1);
    for (int round = 0; round < 100; round++) {
        ASYNC_JOB *other = NULL;
        int ret;

        job = NULL;
        ctx = ASYNC_WAIT_CTX_new();
        CHECK(start(&job, ctx, &ret, pause_once) == ASYNC_PAUSE);
        run(close_session);
        CHECK(start(&other, NULL, &ret, pause_once) == ASYNC_NO_JOBS);
        run(wake);
        CHECK(start(&other, NULL, &ret, pause_once) == ASYNC_PAUSE);
        CHECK(start(&other, NULL, &ret, pause_once) == ASYNC_FINISH);
    }
    ASYNC_cleanup_thread();
    return 0;
}
