/* Threads come and go, some with jobs that were woken and not resumed, and the process stays as large as it was. */
#include "../check.h"

#include <pthread.h>
#include <sys/eventfd.h>

#include "resident.h"

/* An engine that is done at once. */
static int ready;

static int pause_twice(void *args)
{
    int number = *(int *)args;
    ASYNC_WAIT_CTX *ctx = ASYNC_get_wait_ctx(ASYNC_get_current_job());

    CHECK(ASYNC_WAIT_CTX_set_wait_fd(ctx, &ready, ready, NULL, NULL) == 1);

    ASYNC_pause_job();
    ASYNC_pause_job();
    return number;
}

static void *work(void *arg)
{
    enum { JOBS = 20 };
    int leaves = *(int *)arg % 2, ret;
    ASYNC_WAIT_CTX *ctx[JOBS];
    ASYNC_JOB *job[JOBS] = { NULL };

    CHECK(ASYNC_init_thread(JOBS, 5) == 1);
    for (int i = 0; i < JOBS; i++) {
        ctx[i] = ASYNC_WAIT_CTX_new();
        CHECK(ASYNC_start_job(&job[i], ctx[i], &ret, pause_twice, &i, sizeof(i)) == ASYNC_PAUSE);
    }
    for (int i = 0; i < JOBS; i++) {
        CHECK(start(&job[i], ctx[i], &ret, pause_twice) == ASYNC_PAUSE);
        if (!leaves || i % 2)
            CHECK(start(&job[i], ctx[i], &ret, pause_twice) == ASYNC_FINISH && ret == i);
        if (!leaves || i % 3)
            ASYNC_WAIT_CTX_free(ctx[i]);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 300;
    long before = 0;

    ready = eventfd(1, EFD_NONBLOCK);
    CHECK(ready != -1);
    for (int round = 0; round < rounds; round++) {
        pthread_t thread[4];
        int number[4];

        for (int i = 0; i < 4; i++) {
            number[i] = i;
            CHECK(pthread_create(&thread[i], NULL, work, &number[i]) == 0);
        }
        for (int i = 0; i < 4; i++)
            CHECK(pthread_join(thread[i], NULL) == 0);
        if (round == rounds / 3)
            before = resident();
    }
    /* Of the contexts that two of four threads leave behind, some records stay. */
    CHECK(resident() <= before + 2048 + rounds * 4);
    return 0;
}
