/* After OPENSSL_cleanup no job starts. OpenSSL does the same. */
#include "../check.h"

static int answer(void *args)
{
    (void)args;
    return 42;
}

int main(void)
{
    ASYNC_JOB *job = NULL;
    int ret = 0;

    CHECK(start(&job, NULL, &ret, answer) == ASYNC_FINISH && ret == 42);
    OPENSSL_cleanup();
    CHECK(start(&job, NULL, &ret, answer) == ASYNC_ERR);
    CHECK(ASYNC_init_thread(1, 1) == 0);
    CHECK(ASYNC_get_current_job() == NULL);
    ASYNC_cleanup_thread();
    return 0;
}
