/* The CPU levels: which tables were built, which this machine can run, which is active.  No other file knows. */
#include <string.h>

#include "kernels.h"

#if defined(__x86_64__) && defined(REGCORE_X86_LEVELS)
#include <cpuid.h>
#endif

#define LEVEL(level)                                                                                                   \
    extern const rc_kernels rc_kernels_f32_##level;                                                                    \
    extern const rc_kernels rc_kernels_f64_##level;
#define TABLES(level) &rc_kernels_f32_##level, &rc_kernels_f64_##level

#if defined(__x86_64__) && defined(REGCORE_X86_LEVELS)
LEVEL(x86_64_v4)
LEVEL(x86_64_v3)
LEVEL(x86_64_v2)
#endif
#if defined(__aarch64__) && defined(REGCORE_NEON_LEVEL)
LEVEL(neon)
#endif
LEVEL(plain)

typedef struct {
    const char *name;
    const rc_kernels *f32, *f64;
    int (*runs_here)(void);
} level;

static int always(void) { return 1; }
#if defined(__x86_64__) && defined(REGCORE_X86_LEVELS)
static int has_v2(void) { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
/* The builtin of older Clang does not know the name. */
static int has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
static int has_v3(void)
{
    return has_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2") && has_f16c();
}
static int has_v4(void)
{
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

static const level levels[] = {
#if defined(__x86_64__) && defined(REGCORE_X86_LEVELS)
    {"x86-64-v4", TABLES(x86_64_v4), has_v4}, {"x86-64-v3", TABLES(x86_64_v3), has_v3},
    {"x86-64-v2", TABLES(x86_64_v2), has_v2},
#endif
#if defined(__aarch64__) && defined(REGCORE_NEON_LEVEL)
    {"neon", TABLES(neon), always},
#endif
    {"plain", TABLES(plain), always},
};
enum { N_LEVELS = sizeof levels / sizeof levels[0] };

static const level *active;

rc_status rc_isa_select(const char *name)
{
    for (int i = 0; i < N_LEVELS; i++)
        if (levels[i].runs_here() && (!name || !strcmp(name, levels[i].name))) {
            active = &levels[i];
            return RC_OK;
        }
    return RC_ERROR_ARGUMENT;
}

const char *rc_isa_active(void)
{
    if (!active) rc_isa_select(NULL);
    return active->name;
}

int rc_isa_available(const char *names[], int capacity)
{
    int n = 0;
    for (int i = 0; i < N_LEVELS; i++)
        if (levels[i].runs_here()) {
            if (n < capacity) names[n] = levels[i].name;
            n++;
        }
    return n;
}

const rc_kernels *rc_kernels_for(rc_dtype real)
{
    if (!active) rc_isa_select(NULL);
    return real == RC_FLOAT32 ? active->f32 : active->f64;
}
