/*
 * Asynchronous jobs and wait contexts, as in OpenSSL's <openssl/async.h>, by liblayby_async.
 *
 * A program that is written for <openssl/async.h> compiles with this header in its place, and needs no header of OpenSSL.
 * Both may be included, in any order. The functions do what the manual pages ASYNC_start_job(3) and
 * ASYNC_WAIT_CTX_new(3) say; where they differ from OpenSSL's own, a comment says so.
 */
#ifndef LAYBY_ASYNC_H
#define LAYBY_ASYNC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef OPENSSL_ASYNC_H
#define OPENSSL_ASYNC_H

#define OSSL_ASYNC_FD int
#define OSSL_BAD_ASYNC_FD -1

typedef struct async_job_st ASYNC_JOB;
typedef struct async_wait_ctx_st ASYNC_WAIT_CTX;
typedef int (*ASYNC_callback_fn)(void *arg);

/* What ASYNC_start_job returns. */
#define ASYNC_ERR 0
#define ASYNC_NO_JOBS 1
#define ASYNC_PAUSE 2
#define ASYNC_FINISH 3

/* What an engine says about its last request. */
#define ASYNC_STATUS_UNSUPPORTED 0
#define ASYNC_STATUS_ERR 1
#define ASYNC_STATUS_OK 2
#define ASYNC_STATUS_EAGAIN 3

/* 1 where jobs work: not in a process with user-mode shadow stacks. */
int ASYNC_is_capable(void);

/*
 * The thread's limit on jobs (0: none) and how many stacks to make in advance. 1, or 0 with an error if init_size is
 * larger than max_size. A second call replaces the pool; jobs of the old one go on, and nothing leaks.
 */
int ASYNC_init_thread(size_t max_size, size_t init_size);

/*
 * Frees the thread's stacks. Paused jobs cannot be resumed any more; the stack of one that no engine has woken leaks, since a
 * device may still write to it. Ignored inside a job.
 */
void ASYNC_cleanup_thread(void);

/*
 * Starts func as a job if *job is NULL, with a copy of the size bytes at args; else resumes the job. ASYNC_PAUSE: *job is
 * set. ASYNC_FINISH: *ret is what func has returned, and *job is NULL. A job may start and resume other jobs. A handle of a
 * job that has finished, of another thread's, or of none at all is ASYNC_ERR.
 */
int ASYNC_start_job(ASYNC_JOB **job, ASYNC_WAIT_CTX *ctx, int *ret,
                    int (*func)(void *), void *args, size_t size);

/* Pauses the running job until it is resumed. Returns 1, at once outside a job and where pausing is blocked. */
int ASYNC_pause_job(void);

ASYNC_JOB *ASYNC_get_current_job(void);
ASYNC_WAIT_CTX *ASYNC_get_wait_ctx(ASYNC_JOB *job);
void ASYNC_block_pause(void);
void ASYNC_unblock_pause(void);

/* All functions below return 0 for a context that is NULL, freed, or not of this library. */
ASYNC_WAIT_CTX *ASYNC_WAIT_CTX_new(void);

/* Calls the cleanups. A paused job of the context cannot be resumed any more; its stack is reclaimed once it was woken. */
void ASYNC_WAIT_CTX_free(ASYNC_WAIT_CTX *ctx);
int ASYNC_WAIT_CTX_set_wait_fd(ASYNC_WAIT_CTX *ctx, const void *key,
                               OSSL_ASYNC_FD fd, void *custom_data,
                               void (*cleanup)(ASYNC_WAIT_CTX *, const void *,
                                               OSSL_ASYNC_FD, void *));
int ASYNC_WAIT_CTX_get_fd(ASYNC_WAIT_CTX *ctx, const void *key,
                          OSSL_ASYNC_FD *fd, void **custom_data);
int ASYNC_WAIT_CTX_get_all_fds(ASYNC_WAIT_CTX *ctx, OSSL_ASYNC_FD *fd,
                               size_t *numfds);
int ASYNC_WAIT_CTX_get_changed_fds(ASYNC_WAIT_CTX *ctx, OSSL_ASYNC_FD *addfd,
                                   size_t *numaddfds, OSSL_ASYNC_FD *delfd,
                                   size_t *numdelfds);
int ASYNC_WAIT_CTX_clear_fd(ASYNC_WAIT_CTX *ctx, const void *key);
int ASYNC_WAIT_CTX_set_callback(ASYNC_WAIT_CTX *ctx,
                                ASYNC_callback_fn callback,
                                void *callback_arg);
int ASYNC_WAIT_CTX_get_callback(ASYNC_WAIT_CTX *ctx,
                                ASYNC_callback_fn *callback,
                                void **callback_arg);
int ASYNC_WAIT_CTX_set_status(ASYNC_WAIT_CTX *ctx, int status);
int ASYNC_WAIT_CTX_get_status(ASYNC_WAIT_CTX *ctx);

#endif /* OPENSSL_ASYNC_H */

#ifndef OPENSSL_ASYNCERR_H
#define ASYNC_R_FAILED_TO_SET_POOL 101
#define ASYNC_R_FAILED_TO_SWAP_CONTEXT 102
#define ASYNC_R_INIT_FAILED 105
#define ASYNC_R_INVALID_POOL_SIZE 103
int ERR_load_ASYNC_strings(void);
#endif

/* Of OpenSSL 3.2 and later. Stacks are guarded memory of this library: setting an allocator is refused, with 0. */
typedef void *(*ASYNC_stack_alloc_fn)(size_t *num);
typedef void (*ASYNC_stack_free_fn)(void *addr);
int ASYNC_set_mem_functions(ASYNC_stack_alloc_fn alloc_fn, ASYNC_stack_free_fn free_fn);
void ASYNC_get_mem_functions(ASYNC_stack_alloc_fn *alloc_fn, ASYNC_stack_free_fn *free_fn);

#ifdef __cplusplus
}
#endif

#endif /* LAYBY_ASYNC_H */
