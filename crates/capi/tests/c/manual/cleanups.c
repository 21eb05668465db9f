/* The cleanup of a descriptor runs when its context is freed, and not when the descriptor is cleared. */
#include "../check.h"

static const char key[3];
static int order[3], runs;
static ASYNC_WAIT_CTX *ctx;

static void cleanup(ASYNC_WAIT_CTX *of, const void *of_key, OSSL_ASYNC_FD fd, void *custom)
{
    CHECK(of == ctx && *(int *)custom == fd);
    CHECK((const char *)of_key == &key[fd]);
    order[runs++] = fd;
}

static int nothing(void *args)
{
    (void)args;
    return 1;
}

int main(void)
{
    int numbers[3] = { 0, 1, 2 }, ret = 0;
    ASYNC_JOB *job = NULL;

    ctx = ASYNC_WAIT_CTX_new();
    for (int i = 0; i < 3; i++)
        CHECK(ASYNC_WAIT_CTX_set_wait_fd(ctx, &key[i], i, &numbers[i], cleanup) == 1);
    CHECK(ASYNC_WAIT_CTX_clear_fd(ctx, &key[1]) == 1);
    CHECK(start(&job, ctx, &ret, nothing) == ASYNC_FINISH);
    CHECK(runs == 0);
    ASYNC_WAIT_CTX_free(ctx);
    CHECK(runs == 2 && order[0] == 2 && order[1] == 0);
    ASYNC_cleanup_thread();
    return 0;
}
