/* An application asks first how large the list of descriptors is, then for the list. */
#include "../check.h"

int main(void)
{
    static const char first, second;
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    OSSL_ASYNC_FD fds[2] = { -7, -7 }, fd = -7;
    size_t count = 99;
    void *custom = NULL;
    int data;

    CHECK(ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, &count) == 1 && count == 0);
    CHECK(ASYNC_WAIT_CTX_set_wait_fd(ctx, &first, 11, &data, NULL) == 1);
    CHECK(ASYNC_WAIT_CTX_set_wait_fd(ctx, &second, 12, NULL, NULL) == 1);
    CHECK(ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, &count) == 1 && count == 2);
    CHECK(ASYNC_WAIT_CTX_get_all_fds(ctx, fds, &count) == 1 && count == 2);
    CHECK(fds[0] == 12 && fds[1] == 11);
    /* A descriptor is found by its key, with the engine's data. */
    CHECK(ASYNC_WAIT_CTX_get_fd(ctx, &first, &fd, &custom) == 1 && fd == 11 && custom == &data);
    CHECK(ASYNC_WAIT_CTX_get_fd(ctx, &second, &fd, &custom) == 1 && fd == 12 && custom == NULL);
    CHECK(ASYNC_WAIT_CTX_get_fd(ctx, ctx, &fd, &custom) == 0 && fd == 12);
    CHECK(ASYNC_WAIT_CTX_clear_fd(ctx, &first) == 1);
    CHECK(ASYNC_WAIT_CTX_clear_fd(ctx, &first) == 0);
    CHECK(ASYNC_WAIT_CTX_get_all_fds(ctx, fds, &count) == 1 && count == 1 && fds[0] == 12);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_WAIT_CTX_free(NULL);
    return 0;
}
