/* The destructor of a key finishes the thread's jobs. When it runs, the thread's variables in Rust are gone. */
#include "../check.h"

#include <pthread.h>

enum { JOBS = 10 };

static pthread_key_t key;
static ASYNC_JOB *jobs[JOBS];
static ASYNC_WAIT_CTX *ctx[JOBS];
static int finished;

static int pause_twice(void *args)
{
    (void)args;
    ASYNC_pause_job();
    ASYNC_pause_job();
    return 42;
}

static void finish(void *stored)
{
    (void)stored;
    for (int i = 0; i < JOBS; i++) {
        int ret = 0;

        CHECK(start(&jobs[i], ctx[i], &ret, pause_twice) == ASYNC_PAUSE);
        CHECK(start(&jobs[i], ctx[i], &ret, pause_twice) == ASYNC_FINISH && ret == 42);
        ASYNC_WAIT_CTX_free(ctx[i]);
        finished++;
    }
}

static void *work(void *arg)
{
    int ret;

    for (int i = 0; i < JOBS; i++) {
        ctx[i] = ASYNC_WAIT_CTX_new();
        CHECK(start(&jobs[i], ctx[i], &ret, pause_twice) == ASYNC_PAUSE);
    }
    CHECK(pthread_setspecific(key, jobs) == 0);
    return arg;
}

int main(void)
{
    pthread_t thread;

    /* Before any of OpenSSL's keys: destructors run in the order of the keys. */
    CHECK(pthread_key_create(&key, finish) == 0);
    CHECK(pthread_create(&thread, NULL, work, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(finished == JOBS);
    return 0;
}
