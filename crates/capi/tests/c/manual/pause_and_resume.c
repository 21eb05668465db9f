/* A job returns control in its middle and goes on there, beside other jobs of the thread. */
#include "../check.h"

static int steps;

static int three_steps(void *args)
{
    int *mine = args;

    for (int i = 0; i < 3; i++) {
        *mine += 1;
        steps += 1;
        CHECK(ASYNC_pause_job() == 1);
    }
    return *mine;
}

int main(void)
{
    enum { JOBS = 50 };
    ASYNC_JOB *job[JOBS] = { NULL };
    ASYNC_WAIT_CTX *ctx[JOBS];
    int ret[JOBS];

    for (int i = 0; i < JOBS; i++)
        ctx[i] = ASYNC_WAIT_CTX_new();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < JOBS; i++) {
            int from = 100 * i;
            CHECK(ASYNC_start_job(&job[i], ctx[i], &ret[i], three_steps, &from, sizeof(from))
                  == ASYNC_PAUSE);
            CHECK(ASYNC_get_current_job() == NULL);
        }
        CHECK(steps == JOBS * (round + 1));
    }
    for (int i = JOBS - 1; i >= 0; i--) {
        CHECK(start(&job[i], ctx[i], &ret[i], three_steps) == ASYNC_FINISH);
        CHECK(ret[i] == 100 * i + 3);
        ASYNC_WAIT_CTX_free(ctx[i]);
    }
    /* Outside a job a pause does nothing, and succeeds. */
    CHECK(ASYNC_pause_job() == 1);
    ASYNC_cleanup_thread();
    return 0;
}
