/* Preloaded into a replica: its wall clock goes SLUICE_CLOCK_SKEW seconds wrong, its monotonic clock stays. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    static long skew;
    if (!real) {
        const char *text = getenv("SLUICE_CLOCK_SKEW");
        skew = text ? atol(text) : 0;
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int failed = real(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        at->tv_sec += skew;
    return failed;
}
