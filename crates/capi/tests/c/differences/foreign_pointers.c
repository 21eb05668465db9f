/* Pointers that the library has not made, and OpenSSL's own objects, are refused and reported. */
#include "../check.h"

#include <dlfcn.h>

static int answer(void *args)
{
    (void)args;
    return 42;
}

int main(void)
{
    char memory[4096] = { 0 };
    void *libcrypto = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_NOLOAD);
    ASYNC_WAIT_CTX *(*stock_new)(void) = dlsym(libcrypto, "ASYNC_WAIT_CTX_new");
    void (*stock_free)(ASYNC_WAIT_CTX *) = dlsym(libcrypto, "ASYNC_WAIT_CTX_free");
    int (*stock_set)(ASYNC_WAIT_CTX *, const void *, int, void *, void *)
        = dlsym(libcrypto, "ASYNC_WAIT_CTX_set_wait_fd");
    ASYNC_WAIT_CTX *stock = stock_new(), *ours = ASYNC_WAIT_CTX_new();
    void *foreign[] = { (void *)1, (void *)-64, (void *)0x7ffff0000000, memory, memory + 64, stock,
                        (void *)(1UL << 63), (char *)ours + 8, (char *)ours + 64 };
    size_t count;
    int ret;

    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        ASYNC_JOB *job = NULL;

        CHECK(ASYNC_WAIT_CTX_set_status(foreign[i], 1) == 0);
        CHECK(ASYNC_WAIT_CTX_get_all_fds(foreign[i], NULL, &count) == 0);
        CHECK(start(&job, foreign[i], &ret, answer) == ASYNC_ERR && job == NULL);
        ASYNC_WAIT_CTX_free(foreign[i]);
        job = foreign[i];
        CHECK(ASYNC_get_wait_ctx(job) == NULL);
        CHECK(start(&job, ours, &ret, answer) == ASYNC_ERR && job == NULL);
    }
    /* OpenSSL's own functions find an empty context in ours. */
    CHECK(stock_set(ours, memory, 5, NULL, NULL) == 1);
    CHECK(ASYNC_WAIT_CTX_get_all_fds(ours, NULL, &count) == 1 && count == 0);
    stock_free(stock);
    return 0;
}
