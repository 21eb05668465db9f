/* A job is resumed by the thread that started it, and by no other. */
#include "../check.h"

#include <pthread.h>

static ASYNC_WAIT_CTX *ctx;
static ASYNC_JOB *job;
static int ret;

static int pause_once(void *args)
{
    (void)args;
    ASYNC_pause_job();
    return 1;
}

static void *resume(void *arg)
{
    ASYNC_JOB *before = job;

    (void)arg;
    CHECK(start(&job, ctx, &ret, pause_once) == ASYNC_ERR && job == before);
    /* To look is allowed. */
    CHECK(ASYNC_get_wait_ctx(job) == ctx);
    return NULL;
}

int main(void)
{
    pthread_t thread;

    ctx = ASYNC_WAIT_CTX_new();
    CHECK(start(&job, ctx, &ret, pause_once) == ASYNC_PAUSE);
    CHECK(pthread_create(&thread, NULL, resume, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(start(&job, ctx, &ret, pause_once) == ASYNC_FINISH && ret == 1);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
