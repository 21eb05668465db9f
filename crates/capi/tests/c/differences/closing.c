/* While a session is being closed on another thread, its engine wakes the job, or a cleanup looks for the context. */
#include "../check.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/eventfd.h>

static const char key;
static ASYNC_WAIT_CTX *ctx;
static ASYNC_JOB *job;
static sem_t cleaning, go_on;

static void clean(ASYNC_WAIT_CTX *of, const void *with, OSSL_ASYNC_FD fd, void *custom)
{
    ASYNC_WAIT_CTX *inner;
    ASYNC_callback_fn function;
    void *arg;

    (void)with;
    /* None of this says that the engine is done. */
    CHECK(ASYNC_get_wait_ctx(job) == of);
    CHECK(ASYNC_WAIT_CTX_get_status(of) == ASYNC_STATUS_OK);
    ASYNC_WAIT_CTX_get_callback(of, &function, &arg);
    if (custom != NULL) {
        /* A cleanup frees another context, whose cleanup looks for the outer one. */
        inner = custom;
        ASYNC_WAIT_CTX_free(inner);
    }
    CHECK(sem_post(&cleaning) == 0 && sem_wait(&go_on) == 0);
    close(fd);
}

static void clean_inner(ASYNC_WAIT_CTX *of, const void *with, OSSL_ASYNC_FD fd, void *custom)
{
    (void)of;
    (void)with;
    (void)custom;
    CHECK(ASYNC_get_wait_ctx(job) == ctx);
    CHECK(ASYNC_WAIT_CTX_get_status(ctx) == ASYNC_STATUS_OK);
    close(fd);
}

static int request(void *args)
{
    ASYNC_WAIT_CTX *inner = ASYNC_WAIT_CTX_new();

    (void)args;
    CHECK(ASYNC_WAIT_CTX_set_wait_fd(inner, &key, eventfd(0, 0), NULL, clean_inner) == 1);
    CHECK(ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, eventfd(0, 0), inner, clean) == 1);
    CHECK(ASYNC_WAIT_CTX_set_status(ctx, ASYNC_STATUS_OK) == 1);
    ASYNC_pause_job();
    return 1;
}

static void *close_session(void *arg)
{
    ASYNC_WAIT_CTX_free(ctx);
    return arg;
}

static void *look_by_job(void *arg)
{
    CHECK(ASYNC_get_wait_ctx(job) == NULL);
    return arg;
}

static void *look_by_context(void *arg)
{
    ASYNC_callback_fn function;
    void *with;

    CHECK(ASYNC_WAIT_CTX_get_callback(ctx, &function, &with) == 0);
    return arg;
}

static pthread_t begin(void *(*function)(void *))
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, function, NULL) == 0);
    return thread;
}

int main(void)
{
    void *(*engines[])(void *) = { NULL, look_by_job, look_by_context };
    ASYNC_WAIT_CTX *next;
    ASYNC_JOB *other;
    pthread_t closer;
    int ret = 0;

    CHECK(sem_init(&cleaning, 0, 0) == 0 && sem_init(&go_on, 0, 0) == 0);
    for (int round = 0; round < 30; round++) {
        void *(*engine)(void *) = engines[round % 3];

        CHECK(ASYNC_init_thread(1, 0) == 1);
        job = other = NULL;
        ctx = ASYNC_WAIT_CTX_new();
        CHECK(start(&job, ctx, &ret, request) == ASYNC_PAUSE);
        closer = begin(close_session);
        CHECK(sem_wait(&cleaning) == 0);
        if (engine != NULL)
            CHECK(pthread_join(begin(engine), NULL) == 0);
        CHECK(sem_post(&go_on) == 0 && pthread_join(closer, NULL) == 0);
        /* The stack is free again only if the engine was there. */
        next = ctx;
        ctx = ASYNC_WAIT_CTX_new();
        CHECK(start(&other, ctx, &ret, request) == (engine ? ASYNC_PAUSE : ASYNC_NO_JOBS));
        if (engine != NULL)
            CHECK(start(&other, ctx, &ret, request) == ASYNC_FINISH);
        job = NULL;
        ctx = next;
        ASYNC_cleanup_thread();
    }

    /* A job that ends while its context is being closed leaves nothing behind: a later context has its place. */
    job = NULL;
    ctx = ASYNC_WAIT_CTX_new();
    CHECK(start(&job, ctx, &ret, request) == ASYNC_PAUSE);
    closer = begin(close_session);
    CHECK(sem_wait(&cleaning) == 0);
    CHECK(start(&job, ctx, &ret, request) == ASYNC_FINISH);
    CHECK(sem_post(&go_on) == 0 && pthread_join(closer, NULL) == 0);
    /* The thread that has closed it has left the inner one, too. */
    next = ASYNC_WAIT_CTX_new();
    CHECK(next == ctx || ASYNC_WAIT_CTX_new() == ctx);
    return 0;
}
