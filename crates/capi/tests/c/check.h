/* What every test program begins with. ASYNC_HEADER is the header under test. */
#ifndef CHECK_H
#define CHECK_H

#include ASYNC_HEADER

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Ends the program with the line that does not hold. */
#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

/* A job's function without arguments. */
static inline int start(ASYNC_JOB **job, ASYNC_WAIT_CTX *ctx, int *ret, int (*func)(void *))
{
    return ASYNC_start_job(job, ctx, ret, func, NULL, 0);
}

#endif
