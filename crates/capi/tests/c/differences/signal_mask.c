/* A signal that is blocked after the jobs were made stays blocked in a job and after it. */
#include "../check.h"

#include <signal.h>

static int is_blocked(void *args)
{
    sigset_t now;

    (void)args;
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
    return sigismember(&now, SIGUSR1);
}

int main(void)
{
    ASYNC_JOB *job = NULL;
    sigset_t usr1;
    int ret = 0;

    CHECK(ASYNC_init_thread(4, 4) == 1);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &usr1, NULL) == 0);
    CHECK(start(&job, NULL, &ret, is_blocked) == ASYNC_FINISH && ret == 1);
    CHECK(is_blocked(NULL) == 1);
    ASYNC_cleanup_thread();
    return 0;
}
