/* A process forks while jobs are paused: they go on in both, and either starts new ones. */
#include "../check.h"

#include <pthread.h>
#include <sys/wait.h>

static int pause_twice(void *args)
{
    int number = *(int *)args;

    ASYNC_pause_job();
    ASYNC_pause_job();
    return number;
}

static void *idle(void *arg)
{
    ASYNC_JOB *job = NULL;
    int ret, number = 3;

    (void)arg;
    CHECK(ASYNC_start_job(&job, NULL, &ret, pause_twice, &number, sizeof(number)) == ASYNC_PAUSE);
    pause();
    return NULL;
}

static void go_on(ASYNC_JOB **job, ASYNC_WAIT_CTX **ctx, int count)
{
    int ret;

    for (int i = 0; i < count; i++) {
        CHECK(start(&job[i], ctx[i], &ret, pause_twice) == ASYNC_PAUSE);
        CHECK(start(&job[i], ctx[i], &ret, pause_twice) == ASYNC_FINISH && ret == i);
        CHECK(ASYNC_start_job(&job[i], ctx[i], &ret, pause_twice, &i, sizeof(i)) == ASYNC_PAUSE);
    }
    for (int i = 0; i < count; i++)
        ASYNC_WAIT_CTX_free(ctx[i]);
    ASYNC_cleanup_thread();
}

static int fork_inside(void *args)
{
    int status;
    pid_t child = fork();

    (void)args;
    ASYNC_pause_job();
    if (child == 0)
        return 7;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return 8;
}

int main(void)
{
    enum { JOBS = 20 };
    ASYNC_WAIT_CTX *ctx[JOBS];
    ASYNC_JOB *job[JOBS] = { NULL }, *inside = NULL;
    pthread_t thread;
    int ret, status;
    pid_t child, main_process = getpid();

    CHECK(pthread_create(&thread, NULL, idle, NULL) == 0);
    for (int i = 0; i < JOBS; i++) {
        ctx[i] = ASYNC_WAIT_CTX_new();
        CHECK(ASYNC_start_job(&job[i], ctx[i], &ret, pause_twice, &i, sizeof(i)) == ASYNC_PAUSE);
    }
    child = fork();
    if (child == 0) {
        go_on(job, ctx, JOBS);
        exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(start(&inside, NULL, &ret, fork_inside) == ASYNC_PAUSE);
    CHECK(start(&inside, NULL, &ret, fork_inside) == ASYNC_FINISH);
    CHECK(ret == (getpid() == main_process ? 8 : 7));
    go_on(job, ctx, JOBS);
    return 0;
}
