/* A thread's pool: its limit, stacks made in advance, and sizes that do not fit together. */
#include "../check.h"

static int pause_once(void *args)
{
    (void)args;
    ASYNC_pause_job();
    return 1;
}

int main(void)
{
    ASYNC_JOB *job[3] = { NULL, NULL, NULL };
    ASYNC_WAIT_CTX *ctx[3];
    int ret[3] = { 0, 0, 0 };

    CHECK(ASYNC_is_capable() == 1);
    CHECK(ASYNC_init_thread(1, 2) == 0);
    CHECK(ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_ASYNC);
    CHECK(ERR_GET_REASON(ERR_peek_error()) == ASYNC_R_INVALID_POOL_SIZE);
    CHECK(strcmp(ERR_reason_error_string(ERR_get_error()), "invalid pool size") == 0);
    CHECK(ASYNC_init_thread(0, 1) == 0);
    ERR_clear_error();

    CHECK(ASYNC_init_thread(2, 0) == 1);
    for (int i = 0; i < 3; i++)
        CHECK((ctx[i] = ASYNC_WAIT_CTX_new()) != NULL);
    CHECK(start(&job[0], ctx[0], &ret[0], pause_once) == ASYNC_PAUSE);
    CHECK(start(&job[1], ctx[1], &ret[1], pause_once) == ASYNC_PAUSE);
    CHECK(start(&job[2], ctx[2], &ret[2], pause_once) == ASYNC_NO_JOBS);
    CHECK(job[2] == NULL && ret[2] == 0 && ERR_peek_error() == 0);
    CHECK(start(&job[0], ctx[0], &ret[0], pause_once) == ASYNC_FINISH);
    CHECK(start(&job[2], ctx[2], &ret[2], pause_once) == ASYNC_PAUSE);
    CHECK(start(&job[1], ctx[1], &ret[1], pause_once) == ASYNC_FINISH);
    CHECK(start(&job[2], ctx[2], &ret[2], pause_once) == ASYNC_FINISH);
    CHECK(ret[0] == 1 && ret[1] == 1 && ret[2] == 1);
    for (int i = 0; i < 3; i++)
        ASYNC_WAIT_CTX_free(ctx[i]);
    ASYNC_cleanup_thread();
    return 0;
}
