/* A second pool takes the place of the first; what is paused in that one goes on, and memory stays. */
#include "../check.h"

static int pause_once(void *args)
{
    (void)args;
    ASYNC_pause_job();
    return 1;
}

static long resident(void)
{
    long pages = 0, all;
    FILE *statm = fopen("/proc/self/statm", "r");

    CHECK(statm != NULL && fscanf(statm, "%ld %ld", &all, &pages) == 2);
    fclose(statm);
    return pages;
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *old = NULL, *job = NULL;
    int ret = 0;
    long before = 0;

    for (int round = 0; round < 2000; round++) {
        CHECK(ASYNC_init_thread(4, 4) == 1);
        CHECK(start(&old, ctx, &ret, pause_once) == ASYNC_PAUSE);
        CHECK(ASYNC_init_thread(1, 1) == 1);
        CHECK(start(&job, NULL, &ret, pause_once) == ASYNC_PAUSE);
        CHECK(start(&old, ctx, &ret, pause_once) == ASYNC_FINISH && ret == 1);
        CHECK(start(&job, NULL, &ret, pause_once) == ASYNC_FINISH && ret == 1);
        if (round == 100)
            before = resident();
    }
    CHECK(resident() < before + 256);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
