/* A job runs with a copy of its arguments, and its value arrives when it has finished. */
#include "../check.h"

struct sum {
    int left, right;
};

static int add(void *args)
{
    struct sum *sum = args;

    ASYNC_pause_job();
    sum->left += sum->right;
    return sum->left;
}

static int is_null(void *args)
{
    return args == NULL;
}

static int last_of_many(void *args)
{
    ASYNC_pause_job();
    return ((int *)args)[4095];
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL;
    struct sum sum = { 40, 2 };
    int many[4096] = { 0 };
    int ret = -1;

    CHECK(ASYNC_start_job(&job, ctx, &ret, add, &sum, sizeof(sum)) == ASYNC_PAUSE);
    CHECK(ret == -1 && job != NULL);
    sum.left = 0;
    /* Function and arguments of a resume are ignored. */
    CHECK(ASYNC_start_job(&job, ctx, &ret, is_null, &sum, sizeof(sum)) == ASYNC_FINISH);
    CHECK(ret == 42 && job == NULL && sum.left == 0);

    CHECK(ASYNC_start_job(&job, ctx, &ret, is_null, NULL, 0) == ASYNC_FINISH && ret == 1);
    CHECK(ASYNC_start_job(&job, ctx, &ret, is_null, NULL, 8) == ASYNC_FINISH && ret == 1);
    CHECK(ASYNC_start_job(&job, ctx, &ret, is_null, &sum, 0) == ASYNC_FINISH && ret == 1);

    many[4095] = 7;
    CHECK(ASYNC_start_job(&job, ctx, &ret, last_of_many, many, sizeof(many)) == ASYNC_PAUSE);
    many[4095] = 8;
    CHECK(ASYNC_start_job(&job, ctx, &ret, NULL, NULL, 0) == ASYNC_FINISH && ret == 7);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_cleanup_thread();
    return 0;
}
