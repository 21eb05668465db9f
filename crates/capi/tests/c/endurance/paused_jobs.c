/* Many jobs paused at once: says how many there were and what memory each took, then lets each finish. */
#include "../check.h"

#include "resident.h"

static int job(void *args)
{
    int number = *(int *)args;

    ASYNC_pause_job();
    return number;
}

int main(int argc, char **argv)
{
    int wanted = argc > 1 ? atoi(argv[1]) : 1000, paused = 0, ret;
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB **jobs = calloc(wanted, sizeof(*jobs));
    long before = resident();

    CHECK(ctx != NULL && jobs != NULL);
    while (paused < wanted
           && ASYNC_start_job(&jobs[paused], ctx, &ret, job, &paused, sizeof(paused)) == ASYNC_PAUSE)
        paused++;
    printf("%d jobs, %ld bytes each\n", paused, paused ? (resident() - before) * 1024 / paused : 0);
    for (int nth = 0; nth < paused; nth++) {
        CHECK(start(&jobs[nth], ctx, &ret, job) == ASYNC_FINISH && ret == nth);
        CHECK(jobs[nth] == NULL);
    }
    return 0;
}
