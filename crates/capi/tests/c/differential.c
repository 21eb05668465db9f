/*
 * Random sequences of calls, the same for every library: prints a line for each sequence, with a hash of all results.
 *
 *   differential FIRST COUNT    the sequences of COUNT seeds, beginning with FIRST
 *   differential SEED           all results of one sequence
 *
 * Left out is what OpenSSL's own functions crash on or leave undefined: differences/ has a program for each.
 */
#include "check.h"

#include <stdint.h>

enum { JOBS = 6, CONTEXTS = 4, KEYS = 3, SCRIPT = 24, LIBRARIES = 2, CALLS = 60 };

/* What a job does: bytes, each an action with an operand. Its arguments, copied when it starts. */
struct script {
    uint8_t length, job, has_context;
    uint8_t actions[SCRIPT];
    uint8_t filler[700];
};

static uint64_t random_state, hash;
static int is_verbose;
static ASYNC_JOB *job[JOBS];
static ASYNC_JOB *handle[JOBS];
static int context_of[JOBS];
static ASYNC_WAIT_CTX *context[CONTEXTS];
static OSSL_LIB_CTX *library[LIBRARIES + 1];
static const char key[KEYS];

static uint32_t draw(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % below;
}

static void note(const char *what, long value)
{
    if (is_verbose) {
        char line[80];
        int length = snprintf(line, sizeof(line), "%s %ld\n", what, value);
        CHECK(write(1, line, length) == length);
    }
    for (const char *at = what; *at; at++)
        hash = (hash ^ (uint8_t)*at) * 1099511628211u;
    hash = (hash ^ (uint64_t)value) * 1099511628211u;
}

static long index_of(const void *of, void *const *in, int count)
{
    for (int i = 0; i < count; i++)
        if (in[i] == of)
            return i;
    return of == NULL ? -1 : -2;
}

static void note_error(void)
{
    unsigned long error;

    while ((error = ERR_get_error()) != 0)
        note("error", (long)error);
}

static int callback(void *arg)
{
    note("callback", *(const char *)arg);
    return 1;
}

static void cleanup(ASYNC_WAIT_CTX *ctx, const void *of, OSSL_ASYNC_FD fd, void *custom)
{
    note("cleanup of", index_of(ctx, (void *const *)context, CONTEXTS));
    note("cleanup key", (const char *)of - key);
    note("cleanup fd", fd);
    note("cleanup custom", custom != NULL);
}

/* A call about a wait context, inside a job or outside. */
static void call_context(ASYNC_WAIT_CTX *ctx, unsigned what, unsigned operand)
{
    static const char custom;
    const void *of = &key[operand % KEYS];
    OSSL_ASYNC_FD fds[128], removed[128], fd = -9;
    ASYNC_callback_fn function = NULL;
    size_t count = 0, removed_count = 0;
    void *arg = NULL;

    switch (what) {
    case 0:
    case 1:
        count = 0;
        ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, &count);
        if (count < 100)
            note("set", ASYNC_WAIT_CTX_set_wait_fd(ctx, of, operand % 7 - 1, operand & 8 ? (void *)&custom : NULL,
                                                   operand & 16 ? cleanup : NULL));
        break;
    case 2:
        note("clear", ASYNC_WAIT_CTX_clear_fd(ctx, of));
        break;
    case 3:
        note("get", ASYNC_WAIT_CTX_get_fd(ctx, of, &fd, &arg));
        note("fd", fd);
        note("custom", arg == &custom);
        break;
    case 4:
        note("all", ASYNC_WAIT_CTX_get_all_fds(ctx, fds, &count));
        note("count", count);
        for (size_t i = 0; i < count; i++)
            note("fd", fds[i]);
        break;
    case 5:
        note("changed", ASYNC_WAIT_CTX_get_changed_fds(ctx, fds, &count, removed, &removed_count));
        note("added", count);
        note("removed", removed_count);
        for (size_t i = 0; i < count; i++)
            note("fd", fds[i]);
        for (size_t i = 0; i < removed_count; i++)
            note("fd", removed[i]);
        break;
    case 6:
        note("set callback", ASYNC_WAIT_CTX_set_callback(ctx, operand & 1 ? callback : NULL, (void *)of));
        break;
    case 7:
        note("get callback", ASYNC_WAIT_CTX_get_callback(ctx, &function, &arg));
        note("function", function == callback);
        if (function == callback)
            note("returns", function(arg));
        break;
    case 8:
        note("set status", ASYNC_WAIT_CTX_set_status(ctx, (int)operand * 37 - 500));
        break;
    case 9:
        note("status", ASYNC_WAIT_CTX_get_status(ctx));
        break;
    }
}

static int run(void *args)
{
    struct script *script = args;

    if (script == NULL)
        return -5;
    for (int i = 0; i < script->length; i++) {
        unsigned action = script->actions[i] % 18, operand = script->actions[i] / 3;
        ASYNC_JOB *me = ASYNC_get_current_job();
        ASYNC_WAIT_CTX *ctx = ASYNC_get_wait_ctx(me);

        handle[script->job] = me;
        note("action", action);
        note("context", index_of(ctx, (void *const *)context, CONTEXTS));
        note("filler", script->filler[operand]);
        switch (action) {
        case 10:
        case 11:
        case 12:
            if (script->has_context)
                note("paused", ASYNC_pause_job());
            note("same job", ASYNC_get_current_job() == me);
            break;
        case 13:
            ASYNC_block_pause();
            break;
        case 14:
        case 15:
            ASYNC_unblock_pause();
            break;
        case 16:
            note("library", index_of(OSSL_LIB_CTX_set0_default(library[operand % (LIBRARIES + 1)]),
                                     (void *const *)library, LIBRARIES + 1));
            break;
        case 17:
            ERR_raise(ERR_LIB_USER, 100 + operand);
            break;
        default:
            if (ctx != NULL)
                call_context(ctx, action, operand);
        }
    }
    return script->actions[0] * 1000 + script->length;
}

static int is_used(int ctx)
{
    for (int i = 0; i < JOBS; i++)
        if (job[i] != NULL && context_of[i] == ctx)
            return 1;
    return 0;
}

static int is_live(void)
{
    for (int i = 0; i < JOBS; i++)
        if (job[i] != NULL)
            return 1;
    return 0;
}

static void start_or_resume(int which)
{
    struct script script;
    int ret = -77, code;
    size_t size = draw(20) == 0 ? 0 : sizeof(script) - draw(300);

    memset(&script, 0, sizeof(script));
    script.length = draw(SCRIPT);
    script.job = which;
    for (int i = 0; i < SCRIPT; i++)
        script.actions[i] = draw(256);
    for (int i = 0; i < 100; i++)
        script.filler[i] = draw(256);
    if (job[which] == NULL)
        context_of[which] = (int)draw(CONTEXTS + 1) - 1;
    script.has_context = context_of[which] >= 0;
    /* The context of a resume is ignored. */
    int given = job[which] == NULL ? context_of[which] : (int)draw(CONTEXTS);
    code = ASYNC_start_job(&job[which], given < 0 ? NULL : context[given], &ret, run, size ? &script : NULL, size);
    memset(&script, 0xee, sizeof(script));
    note("start", code);
    note("ret", ret);
    note("handle", job[which] == NULL ? 0 : job[which] == handle[which] ? 1 : 2);
    if (job[which] != NULL)
        note("wait context", index_of(ASYNC_get_wait_ctx(job[which]), (void *const *)context, CONTEXTS));
}

static void call(void)
{
    int which = draw(JOBS), ctx = draw(CONTEXTS);
    size_t max, at_once;

    switch (draw(12)) {
    case 0:
        max = draw(5);
        at_once = draw(5);
        if (!is_live())
            note("init", ASYNC_init_thread(max, at_once));
        break;
    case 1:
        if (!is_live())
            ASYNC_cleanup_thread();
        break;
    case 2:
        if (!is_used(ctx)) {
            ASYNC_WAIT_CTX_free(context[ctx]);
            context[ctx] = ASYNC_WAIT_CTX_new();
        }
        break;
    case 3:
        note("pause outside", ASYNC_pause_job());
        ASYNC_block_pause();
        note("job outside", ASYNC_get_current_job() != NULL);
        break;
    case 4:
        note("library outside", index_of(OSSL_LIB_CTX_set0_default(library[draw(LIBRARIES + 1)]),
                                         (void *const *)library, LIBRARIES + 1));
        break;
    case 5:
    case 6:
    case 7:
        call_context(context[ctx], draw(10), draw(85));
        break;
    default:
        start_or_resume(which);
    }
    note_error();
}

static void sequence(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
    hash = 14695981039346656037u;
    for (int i = 0; i < CONTEXTS; i++)
        context[i] = ASYNC_WAIT_CTX_new();
    for (int i = 0; i < CALLS; i++)
        call();
    for (int i = 0; i < JOBS; i++)
        for (int left = 200; job[i] != NULL && left > 0; left--)
            start_or_resume(i);
    for (int i = 0; i < CONTEXTS; i++)
        ASYNC_WAIT_CTX_free(context[i]);
    note_error();
    ASYNC_cleanup_thread();
    OSSL_LIB_CTX_set0_default(library[0]);
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;

    library[0] = OSSL_LIB_CTX_set0_default(NULL);
    for (int i = 1; i <= LIBRARIES; i++)
        library[i] = OSSL_LIB_CTX_new();
    is_verbose = argc == 2;
    for (uint64_t seed = first; seed < first + count; seed++) {
        sequence(seed);
        printf("%llu %016llx\n", (unsigned long long)seed, (unsigned long long)hash);
    }
    return 0;
}
