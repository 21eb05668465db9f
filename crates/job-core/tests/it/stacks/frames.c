/* Functions with large frames, as compiled C has them: without stack probes. */
#include <stddef.h>

/* Of the frame only the lowest 64 bytes are written, as a function does that fills a buffer partly. */
#define FRAME(name, kib)                                                                           \
    __attribute__((noinline)) static void name(void) {                                             \
        volatile unsigned char buffer[(kib) * 1024];                                               \
        for (size_t i = 0; i < 64; i++)                                                            \
            buffer[i] = 0x41;                                                                      \
        __asm__ volatile("" ::"r"(buffer) : "memory");                                             \
    }

FRAME(frame_16, 16)
FRAME(frame_48, 48)
FRAME(frame_100, 100)

/* Goes down in small frames until `limit` is less than a kilobyte away, then calls the frame of that
   size. */
__attribute__((noinline)) void descend(unsigned long limit, int kib) {
    volatile unsigned char here[64];
    here[0] = 1;
    if ((unsigned long)here - limit > 1024)
        descend(limit, kib);
    else if (kib == 16)
        frame_16();
    else if (kib == 48)
        frame_48();
    else
        frame_100();
    __asm__ volatile("" ::"r"(here) : "memory");
}

/* Leaves a secret of 64 bytes at the lower end of a frame that it does not touch otherwise, and says
   where. */
__attribute__((noinline)) unsigned long leave_secret(void) {
    volatile unsigned char buffer[100 * 1024];
    for (size_t i = 0; i < 64; i++)
        buffer[i] = 0x5A;
    __asm__ volatile("" ::"r"(buffer) : "memory");
    return (unsigned long)buffer;
}
