/*
 * A thread ends while its job is paused. A device writes to the job's stack after that, and must still find it.
 *
 * The thread calls exit. Or the first argument says what it does: "return", with its session open; "close", it closes the
 * session first; "cleanup", it calls ASYNC_cleanup_thread first.
 */
#include <pthread.h>
#include <semaphore.h>

#include "../check.h"
#include ASYNC_HEADER

static sem_t go, done;
static volatile unsigned char *buffer;
static const char *way = "exit";

static int job(void *args)
{
    unsigned char on_the_stack[4096];
    (void)args;
    buffer = on_the_stack;
    ASYNC_pause_job();
    return 1;
}

static void *device(void *args)
{
    (void)args;
    sem_wait(&go);
    for (int at = 0; at < 4096; at++)
        buffer[at] = 1;
    sem_post(&done);
    return NULL;
}

/* When exit calls this, it has called the destructors of the thread's variables. */
static void let_it_write(void)
{
    sem_post(&go);
    sem_wait(&done);
}

static void *worker(void *args)
{
    ASYNC_JOB *paused = NULL;
    int ret;
    CHECK(ASYNC_start_job(&paused, args, &ret, job, NULL, 0) == ASYNC_PAUSE);
    if (strcmp(way, "exit") == 0)
        exit(0);
    if (strcmp(way, "close") == 0)
        ASYNC_WAIT_CTX_free(args);
    if (strcmp(way, "cleanup") == 0)
        ASYNC_cleanup_thread();
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[2];
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    if (argc > 1)
        way = argv[1];
    CHECK(sem_init(&go, 0, 0) == 0 && sem_init(&done, 0, 0) == 0);
    CHECK(atexit(let_it_write) == 0);
    CHECK(pthread_create(&threads[0], NULL, device, NULL) == 0);
    CHECK(pthread_create(&threads[1], NULL, worker, ctx) == 0);
    pthread_join(threads[1], NULL);
    return strcmp(way, "exit") == 0;
}
