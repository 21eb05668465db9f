/* The allocators of OpenSSL 3.2 are refused. */

#include "../check.h"

#include "layby_async.h"

static void *no_stack(size_t *num)
{
    (void)num;
    return NULL;
}

int main(void)
{
    ASYNC_stack_alloc_fn alloc = no_stack;
    ASYNC_stack_free_fn release = free;

    CHECK(ASYNC_set_mem_functions(no_stack, free) == 0);
    ASYNC_get_mem_functions(&alloc, &release);
    CHECK(alloc == NULL && release == NULL);
    ASYNC_get_mem_functions(NULL, NULL);
    return 0;
}
