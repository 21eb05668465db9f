/* A thread gives its jobs back, as often as it likes, and may start others after that. */
#include "../check.h"

static int answer(void *args)
{
    (void)args;
    return 42;
}

int main(void)
{
    for (int round = 0; round < 3; round++) {
        ASYNC_JOB *job = NULL;
        int ret = 0;

        CHECK(ASYNC_init_thread(4, 4) == 1);
        CHECK(start(&job, NULL, &ret, answer) == ASYNC_FINISH && ret == 42);
        ASYNC_cleanup_thread();
        ASYNC_cleanup_thread();
    }
    /* Without a pool of its own making, a thread gets one without a limit. */
    ASYNC_JOB *job = NULL;
    int ret = 0;
    CHECK(start(&job, NULL, &ret, answer) == ASYNC_FINISH && ret == 42);
    ASYNC_cleanup_thread();
    return 0;
}
