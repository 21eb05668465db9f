/* A cleanup looks at its context and clears other descriptors of it, whose cleanups do not run then. */
#include "../check.h"

static const char key[3];
static int runs[3], count;

static void cleanup(ASYNC_WAIT_CTX *ctx, const void *of, OSSL_ASYNC_FD fd, void *custom)
{
    OSSL_ASYNC_FD found = -1;
    void *data = NULL;

    (void)of;
    runs[count++] = fd;
    if (fd == 2) {
        CHECK(ASYNC_WAIT_CTX_get_fd(ctx, &key[0], &found, &data) == 1 && found == 0 && data == custom);
        CHECK(ASYNC_WAIT_CTX_clear_fd(ctx, &key[1]) == 1);
        CHECK(ASYNC_WAIT_CTX_clear_fd(ctx, &key[1]) == 0);
        ASYNC_WAIT_CTX_free(ctx);
    }
}

int main(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();

    for (int i = 0; i < 3; i++)
        CHECK(ASYNC_WAIT_CTX_set_wait_fd(ctx, &key[i], i, &count, cleanup) == 1);
    ASYNC_WAIT_CTX_free(ctx);
    CHECK(count == 2 && runs[0] == 2 && runs[1] == 0);
    return 0;
}
