/* The memory that the process has now, in KiB. */
#ifndef RESIDENT_H
#define RESIDENT_H

static long resident(void)
{
    long pages = 0, all;
    FILE *statm = fopen("/proc/self/statm", "r");

    CHECK(statm != NULL && fscanf(statm, "%ld %ld", &all, &pages) == 2);
    fclose(statm);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

#endif
