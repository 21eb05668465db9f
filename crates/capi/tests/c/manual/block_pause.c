/* Between block and unblock a pause does nothing. Blocks nest. */
#include "../check.h"

static int pauses_once(void *args)
{
    (void)args;
    ASYNC_block_pause();
    ASYNC_block_pause();
    ASYNC_pause_job();
    ASYNC_unblock_pause();
    ASYNC_pause_job();
    ASYNC_unblock_pause();
    ASYNC_unblock_pause();
    ASYNC_pause_job();
    return 1;
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL;
    int ret = 0;

    /* Outside a job neither has an effect. */
    ASYNC_block_pause();
    CHECK(start(&job, ctx, &ret, pauses_once) == ASYNC_PAUSE);
    CHECK(start(&job, ctx, &ret, pauses_once) == ASYNC_FINISH && ret == 1);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
