/*
 * A program closes a module, into which the archive is linked, before a thread ends that has run jobs in it. Compiled twice:
 * with MODULE it is the module.
 */
#ifdef MODULE

#include "layby_async.h"

static int pause_once(void *args)
{
    (void)args;
    ASYNC_pause_job();
    return 42;
}

int work(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = 0;
    int ret = 0;

    if (ASYNC_start_job(&job, ctx, &ret, pause_once, 0, 0) != ASYNC_PAUSE)
        return 0;
    if (ASYNC_start_job(&job, ctx, &ret, pause_once, 0, 0) != ASYNC_FINISH)
        return 0;
    ASYNC_WAIT_CTX_free(ctx);
    return ret;
}

#else

#include "../check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>

static int (*work)(void);
static sem_t worked, closed;

static void *run(void *arg)
{
    CHECK(work() == 42);
    CHECK(sem_post(&worked) == 0 && sem_wait(&closed) == 0);
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    void *module = dlopen(argv[argc - 1], RTLD_NOW | RTLD_LOCAL);

    CHECK(module != NULL);
    work = (int (*)(void))dlsym(module, "work");
    CHECK(work != NULL && sem_init(&worked, 0, 0) == 0 && sem_init(&closed, 0, 0) == 0);
    CHECK(pthread_create(&thread, NULL, run, NULL) == 0 && sem_wait(&worked) == 0);
    CHECK(dlclose(module) == 0);
    CHECK(sem_post(&closed) == 0 && pthread_join(thread, NULL) == 0);
    return 0;
}

#endif
