/*
 * A provider whose SHA-256 pauses the job in which a digest is finished, once for each digest, as an engine does that asks
 * a device. The digest itself is that of the default provider, in a library context of this one's own.
 */
#include <openssl/async.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct provider {
    OSSL_LIB_CTX *library;
    EVP_MD *md;
};

struct digest {
    struct provider *provider;
    EVP_MD_CTX *ctx;
};

static const char key;

static void close_event(ASYNC_WAIT_CTX *ctx, const void *of, OSSL_ASYNC_FD fd, void *custom)
{
    (void)ctx;
    (void)of;
    (void)custom;
    close(fd);
}

static void ask_device(void)
{
    ASYNC_JOB *job = ASYNC_get_current_job();
    ASYNC_WAIT_CTX *ctx = job == NULL ? NULL : ASYNC_get_wait_ctx(job);
    uint64_t one = 1;
    OSSL_ASYNC_FD fd;
    void *custom;

    if (ctx == NULL)
        return;
    if (!ASYNC_WAIT_CTX_get_fd(ctx, &key, &fd, &custom)) {
        fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (!ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, fd, NULL, close_event))
            return;
    }
    if (write(fd, &one, sizeof(one)) != sizeof(one))
        abort();
    ASYNC_pause_job();
    if (read(fd, &one, sizeof(one)) != sizeof(one))
        abort();
}

static void *digest_new(void *provider)
{
    struct digest *digest = calloc(1, sizeof(*digest));

    digest->provider = provider;
    digest->ctx = EVP_MD_CTX_new();
    return digest;
}

static void digest_free(void *of)
{
    struct digest *digest = of;

    EVP_MD_CTX_free(digest->ctx);
    free(digest);
}

static void *digest_copy(void *of)
{
    struct digest *from = of, *to = digest_new(from->provider);

    if (!EVP_MD_CTX_copy_ex(to->ctx, from->ctx)) {
        digest_free(to);
        return NULL;
    }
    return to;
}

static int digest_init(void *of, const OSSL_PARAM params[])
{
    struct digest *digest = of;

    (void)params;
    return EVP_DigestInit_ex2(digest->ctx, digest->provider->md, NULL);
}

static int digest_update(void *of, const unsigned char *in, size_t length)
{
    return EVP_DigestUpdate(((struct digest *)of)->ctx, in, length);
}

static int digest_final(void *of, unsigned char *out, size_t *length, size_t room)
{
    unsigned int written = 0;

    if (room < 32)
        return 0;
    ask_device();
    if (!EVP_DigestFinal_ex(((struct digest *)of)->ctx, out, &written))
        return 0;
    *length = written;
    return 1;
}

static int digest_params(OSSL_PARAM params[])
{
    OSSL_PARAM *p;

    if ((p = OSSL_PARAM_locate(params, OSSL_DIGEST_PARAM_BLOCK_SIZE)) && !OSSL_PARAM_set_size_t(p, 64))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_DIGEST_PARAM_SIZE)) && !OSSL_PARAM_set_size_t(p, 32))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_DIGEST_PARAM_XOF)) && !OSSL_PARAM_set_int(p, 0))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_DIGEST_PARAM_ALGID_ABSENT)) && !OSSL_PARAM_set_int(p, 1))
        return 0;
    return 1;
}

static const OSSL_DISPATCH digest_functions[] = {
    { OSSL_FUNC_DIGEST_NEWCTX, (void (*)(void))digest_new },
    { OSSL_FUNC_DIGEST_FREECTX, (void (*)(void))digest_free },
    { OSSL_FUNC_DIGEST_DUPCTX, (void (*)(void))digest_copy },
    { OSSL_FUNC_DIGEST_INIT, (void (*)(void))digest_init },
    { OSSL_FUNC_DIGEST_UPDATE, (void (*)(void))digest_update },
    { OSSL_FUNC_DIGEST_FINAL, (void (*)(void))digest_final },
    { OSSL_FUNC_DIGEST_GET_PARAMS, (void (*)(void))digest_params },
    { 0, NULL },
};

static const OSSL_ALGORITHM digests[] = {
    { "SHA2-256:SHA-256:SHA256:2.16.840.1.101.3.4.2.1", "provider=pausing", digest_functions, NULL },
    { NULL, NULL, NULL, NULL },
};

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
    (void)provider;
    *no_cache = 0;
    return operation == OSSL_OP_DIGEST ? digests : NULL;
}

static void teardown(void *of)
{
    struct provider *provider = of;

    EVP_MD_free(provider->md);
    OSSL_LIB_CTX_free(provider->library);
    free(provider);
}

static const OSSL_DISPATCH provider_functions[] = {
    { OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query },
    { OSSL_FUNC_PROVIDER_TEARDOWN, (void (*)(void))teardown },
    { 0, NULL },
};

int OSSL_provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **context)
{
    struct provider *provider = calloc(1, sizeof(*provider));

    (void)core;
    (void)in;
    provider->library = OSSL_LIB_CTX_new();
    provider->md = EVP_MD_fetch(provider->library, "SHA2-256", NULL);
    if (provider->md == NULL)
        return 0;
    *out = provider_functions;
    *context = provider;
    return 1;
}
