/* A job has its own default library context, which is the caller's when it starts. */
#include "../check.h"

static int switches(void *args)
{
    OSSL_LIB_CTX *mine = *(OSSL_LIB_CTX **)args, *caller = OSSL_LIB_CTX_set0_default(NULL);

    ASYNC_pause_job();
    CHECK(OSSL_LIB_CTX_set0_default(NULL) == caller);
    OSSL_LIB_CTX_set0_default(mine);
    ASYNC_pause_job();
    CHECK(OSSL_LIB_CTX_set0_default(NULL) == mine);
    return 1;
}

int main(void)
{
    OSSL_LIB_CTX *global = OSSL_LIB_CTX_set0_default(NULL);
    OSSL_LIB_CTX *mine = OSSL_LIB_CTX_new(), *other = OSSL_LIB_CTX_new();
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL;
    int ret = 0;

    CHECK(ASYNC_start_job(&job, ctx, &ret, switches, &mine, sizeof(mine)) == ASYNC_PAUSE);
    CHECK(OSSL_LIB_CTX_set0_default(NULL) == global);
    OSSL_LIB_CTX_set0_default(other);
    CHECK(start(&job, ctx, &ret, switches) == ASYNC_PAUSE);
    CHECK(OSSL_LIB_CTX_set0_default(NULL) == other);
    OSSL_LIB_CTX_set0_default(global);
    CHECK(start(&job, ctx, &ret, switches) == ASYNC_FINISH && ret == 1);
    CHECK(OSSL_LIB_CTX_set0_default(NULL) == global);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    OSSL_LIB_CTX_free(mine);
    OSSL_LIB_CTX_free(other);
    return 0;
}
