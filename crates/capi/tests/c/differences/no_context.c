/* A job without a wait context pauses and goes on. */
#include "../check.h"

static int pause_once(void *args)
{
    (void)args;
    CHECK(ASYNC_get_wait_ctx(ASYNC_get_current_job()) == NULL);
    ASYNC_pause_job();
    return 1;
}

int main(void)
{
    ASYNC_JOB *job = NULL;
    int ret = 0;

    CHECK(start(&job, NULL, &ret, pause_once) == ASYNC_PAUSE);
    CHECK(start(&job, NULL, &ret, pause_once) == ASYNC_FINISH && ret == 1);
    ASYNC_cleanup_thread();
    return 0;
}
