/*
 * A key that takes 5 ms to sign, for any program that signs through libssl: preload it. In a job it pauses until a timer's
 * descriptor is readable, as an engine does whose device takes that long; elsewhere it blocks.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <openssl/async.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { MICROSECONDS = 5000 };

static const char key;

static void close_timer(ASYNC_WAIT_CTX *ctx, const void *of, OSSL_ASYNC_FD fd, void *custom)
{
    (void)ctx;
    (void)of;
    (void)custom;
    close(fd);
}

static void wait_for_device(void)
{
    const struct itimerspec once = { .it_value = { 0, MICROSECONDS * 1000L } };
    ASYNC_JOB *job = ASYNC_get_current_job();
    ASYNC_WAIT_CTX *ctx = job == NULL ? NULL : ASYNC_get_wait_ctx(job);
    uint64_t expirations;
    OSSL_ASYNC_FD fd;
    void *custom;

    if (ctx == NULL) {
        usleep(MICROSECONDS);
        return;
    }
    if (!ASYNC_WAIT_CTX_get_fd(ctx, &key, &fd, &custom)) {
        fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (fd < 0 || !ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, fd, NULL, close_timer))
            return;
    }
    timerfd_settime(fd, 0, &once, NULL);
    do
        ASYNC_pause_job();
    while (read(fd, &expirations, sizeof(expirations)) != sizeof(expirations));
}

int EVP_DigestSign(EVP_MD_CTX *ctx, unsigned char *sig, size_t *siglen, const unsigned char *tbs, size_t tbslen)
{
    static int (*sign)(EVP_MD_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);

    if (sign == NULL)
        sign = dlsym(RTLD_NEXT, "EVP_DigestSign");
    /* Without room for the signature only its size is asked for. */
    if (sig != NULL)
        wait_for_device();
    return sign(ctx, sig, siglen, tbs, tbslen);
}
