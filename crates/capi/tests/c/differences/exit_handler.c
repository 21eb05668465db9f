/* A handler of atexit finishes the jobs that are left. When it runs, the thread's variables in Rust are gone. */
#include "../check.h"

static ASYNC_JOB *job;
static ASYNC_WAIT_CTX *ctx;

static int pause_twice(void *args)
{
    (void)args;
    ASYNC_pause_job();
    ASYNC_pause_job();
    return 42;
}

static void finish(void)
{
    int ret = 0, code;

    for (int round = 0; (code = start(&job, ctx, &ret, pause_twice)) == ASYNC_PAUSE; round++)
        if (round == 5000)
            _exit(2);
    if (code != ASYNC_FINISH || ret != 42 || job != NULL)
        _exit(3);
    /* A job that begins only now can pause, too. */
    if (start(&job, ctx, &ret, pause_twice) != ASYNC_PAUSE || start(&job, ctx, &ret, pause_twice) != ASYNC_PAUSE)
        _exit(4);
    if (start(&job, ctx, &ret, pause_twice) != ASYNC_FINISH)
        _exit(5);
}

int main(void)
{
    int ret;

    ctx = ASYNC_WAIT_CTX_new();
    CHECK(start(&job, ctx, &ret, pause_twice) == ASYNC_PAUSE);
    /* After OpenSSL has registered its own, which has to run later. */
    CHECK(atexit(finish) == 0);
    return 0;
}
