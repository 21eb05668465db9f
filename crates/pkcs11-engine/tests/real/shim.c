/* A PKCS#11 module in front of SoftHSM that does as a file says: a page of numbers that the test writes.
 * In some of them it counts, by the others it misbehaves. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long CK_ULONG;
typedef CK_ULONG CK_RV;
typedef CK_RV (*function)();

/* CK_FUNCTION_LIST of PKCS#11 2.40: a version, then the functions in the standard's order. */
struct list { unsigned char version[2]; function functions[68]; };
enum { Initialize = 0, Finalize = 1, GetInfo = 2, GetTokenInfo = 6, OpenSession = 12, CloseSession = 13, Login = 18, Sign = 43 };

/* Words of the page; shim.rs has the same. */
enum { LOGINS, SIGNS, FINALIZES, INSIDE, BLOCK, GARBAGE, DELAY_US, SESSIONS, SESSIONS_TOLD, FAIL_SIGN, CRASH_AT_EXIT, SESSIONS_NOW, FAIL_LOGIN, BLOCK_CLOSE, CLOSING,
    INITIALIZES, BY_ANOTHER, SERVER_GONE };

static volatile CK_ULONG *page;
static struct list real, ours;

static CK_RV login(CK_ULONG session, CK_ULONG user, void *pin, CK_ULONG length) {
    __sync_fetch_and_add(&page[LOGINS], 1);
    if (page[FAIL_LOGIN]) return page[FAIL_LOGIN];
    return real.functions[Login](session, user, pin, length);
}

static CK_RV initialize(void *args) {
    __sync_fetch_and_add(&page[INITIALIZES], 1);
    if (page[SERVER_GONE]) return 0x191; /* CKR_CRYPTOKI_ALREADY_INITIALIZED */
    CK_RV rv = real.functions[Initialize](args);
    return rv == 0 && page[BY_ANOTHER] ? 0x191 : rv;
}

static CK_RV get_info(void *info) {
    return page[SERVER_GONE] ? 0x190 : real.functions[GetInfo](info); /* CKR_CRYPTOKI_NOT_INITIALIZED */
}

static CK_RV finalize(void *reserved) {
    __sync_fetch_and_add(&page[FINALIZES], 1);
    /* What most modules do when they are finalized during a call. */
    if (page[INSIDE]) abort();
    page[SESSIONS_NOW] = page[SERVER_GONE] = 0;
    return real.functions[Finalize](reserved);
}

static CK_RV open_session(CK_ULONG slot, CK_ULONG flags, void *a, void *b, CK_ULONG *session) {
    if (page[SESSIONS] && __sync_fetch_and_add(&page[SESSIONS_NOW], 1) >= page[SESSIONS]) {
        __sync_fetch_and_sub(&page[SESSIONS_NOW], 1);
        return 0xB1; /* CKR_SESSION_COUNT */
    }
    return real.functions[OpenSession](slot, flags, a, b, session);
}

static CK_RV close_session(CK_ULONG session) {
    __sync_fetch_and_add(&page[CLOSING], 1);
    while (page[BLOCK_CLOSE]) usleep(1000);
    CK_RV rv = real.functions[CloseSession](session);
    __sync_fetch_and_sub(&page[CLOSING], 1);
    if (page[SESSIONS] && rv == 0) __sync_fetch_and_sub(&page[SESSIONS_NOW], 1);
    return rv;
}

static CK_RV token_info(CK_ULONG slot, unsigned char *info) {
    CK_RV rv = real.functions[GetTokenInfo](slot, info);
    /* ulMaxSessionCount stands after four texts and the flags. */
    if (rv == 0 && page[SESSIONS_TOLD]) memcpy(info + 104, (void *)&page[SESSIONS_TOLD], sizeof(CK_ULONG));
    return rv;
}

static CK_RV sign(CK_ULONG session, void *data, CK_ULONG length, unsigned char *out, CK_ULONG *out_length) {
    if (page[SERVER_GONE]) return 0x190;
    if (!out) return real.functions[Sign](session, data, length, out, out_length);
    __sync_fetch_and_add(&page[INSIDE], 1);
    __sync_fetch_and_add(&page[SIGNS], 1);
    /* 1: all calls wait; 2: those that wait already go on waiting. */
    if (page[BLOCK] == 1) while (page[BLOCK]) usleep(1000);
    if (page[DELAY_US]) {
        struct timespec t = { 0, (long)page[DELAY_US] * 1000 };
        nanosleep(&t, 0);
    }
    CK_RV rv = real.functions[Sign](session, data, length, out, out_length);
    if (page[GARBAGE] == 1) memset(out, 0x5a, *out_length);
    if (page[GARBAGE] == 2) *out_length = 3;
    if (page[GARBAGE] == 3) out[*out_length - 1] ^= 1;
    if (page[FAIL_SIGN]) rv = page[FAIL_SIGN];
    __sync_fetch_and_sub(&page[INSIDE], 1);
    return rv;
}

__attribute__((destructor)) static void at_exit(void) {
    if (page && page[CRASH_AT_EXIT]) raise(SIGSEGV);
}

CK_RV C_GetFunctionList(struct list **list) {
    int file = open(getenv("LAYBY_SHIM"), O_RDWR);
    if (file < 0) return 5;
    page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    void *softhsm = dlopen(getenv("LAYBY_SOFTHSM"), RTLD_NOW | RTLD_LOCAL);
    if (!softhsm) return 5;
    struct list *theirs;
    CK_RV rv = ((CK_RV (*)(struct list **))dlsym(softhsm, "C_GetFunctionList"))(&theirs);
    if (rv) return rv;
    real = ours = *theirs;
    ours.functions[Initialize] = (function)initialize;
    ours.functions[GetInfo] = (function)get_info;
    ours.functions[Finalize] = (function)finalize;
    ours.functions[OpenSession] = (function)open_session;
    ours.functions[CloseSession] = (function)close_session;
    ours.functions[GetTokenInfo] = (function)token_info;
    ours.functions[Login] = (function)login;
    ours.functions[Sign] = (function)sign;
    *list = &ours;
    return 0;
}
