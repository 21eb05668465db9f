/* A million jobs, each with a session, a descriptor and a pause, and the process stays as large as it was. */
#include "../check.h"

#include "resident.h"

static const char key;
static long cleanups;

static void cleanup(ASYNC_WAIT_CTX *ctx, const void *of, OSSL_ASYNC_FD fd, void *custom)
{
    (void)ctx;
    (void)of;
    CHECK(fd == -1 && custom == &cleanups);
    cleanups++;
}

static int request(void *args)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_get_wait_ctx(ASYNC_get_current_job());

    CHECK(ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, -1, &cleanups, cleanup) == 1);
    ASYNC_pause_job();
    return *(int *)args;
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 1000000, before = 0;
    enum { AT_ONCE = 100 };
    ASYNC_WAIT_CTX *ctx[AT_ONCE] = { NULL };
    ASYNC_JOB *job[AT_ONCE] = { NULL };
    int ret;

    for (long i = 0; i < count; i++) {
        int slot = i % AT_ONCE, number = (int)i;

        if (job[slot] != NULL) {
            CHECK(start(&job[slot], ctx[slot], &ret, request) == ASYNC_FINISH && ret == i - AT_ONCE);
            ASYNC_WAIT_CTX_free(ctx[slot]);
        }
        ctx[slot] = ASYNC_WAIT_CTX_new();
        CHECK(ASYNC_start_job(&job[slot], ctx[slot], &ret, request, &number, sizeof(number)) == ASYNC_PAUSE);
        if (i == count / 10)
            before = resident();
    }
    /* A few jobs do not fill what is reserved for all. */
    if (count >= 100000)
        CHECK(resident() <= before + 256);
    for (int slot = 0; slot < AT_ONCE; slot++) {
        if (job[slot] != NULL)
            CHECK(start(&job[slot], ctx[slot], &ret, request) == ASYNC_FINISH);
        ASYNC_WAIT_CTX_free(ctx[slot]);
    }
    CHECK(cleanups == count);
    ASYNC_cleanup_thread();
    return 0;
}
