/* Measures what this machine can do at best, on the given number of threads. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels.h"
#include "threads.h"

typedef struct {
    const rc_kernels *k;
    char *memory;
    size_t bytes;
    int n_threads;
    int64_t rounds, per_round[64];
    double sums[64];
} probe;

static double seconds(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void fill(void *context, int64_t task, int thread)
{
    probe *p = context;
    (void)thread;
    memset(p->memory + task * (int64_t)(p->bytes / (size_t)p->n_threads), 1, p->bytes / (size_t)p->n_threads);
}

static void read_part(void *context, int64_t task, int thread)
{
    probe *p = context;
    const int64_t bytes = (int64_t)(p->bytes / (size_t)p->n_threads) / 4096 * 4096;
    (void)thread;
    p->sums[task] = p->k->read_all(p->memory + task * bytes, bytes / (int64_t)p->k->real_size);
}

static void compute_part(void *context, int64_t task, int thread)
{
    probe *p = context;
    (void)thread;
    p->sums[task] = p->k->multiply_add(p->rounds, &p->per_round[task]);
}

static double best_time(probe *p, rc_task *task, int repeats)
{
    double best = 1e300;
    for (int i = 0; i < repeats; i++) {
        const double start = seconds();
        rc_parallel_for(p->n_threads, p->n_threads, task, p);
        const double elapsed = seconds() - start;
        best = elapsed < best ? elapsed : best;
    }
    return best;
}

rc_status rc_measure_limits(rc_dtype real, int n_threads, double *bytes_per_second, double *flops_per_second)
{
    enum { REPEATS = 7 };
    probe p = {.k = rc_kernels_for(real), .bytes = (size_t)256 << 20, .rounds = 4000000};
    p.n_threads = n_threads < 1 ? 1 : n_threads > 64 ? 64 : n_threads;
    p.memory = malloc(p.bytes);
    if (!p.memory) return RC_ERROR_MEMORY;
    rc_parallel_for(p.n_threads, p.n_threads, fill, &p);
    *bytes_per_second = (double)p.bytes / best_time(&p, read_part, REPEATS);
    free(p.memory);
    const double elapsed = best_time(&p, compute_part, REPEATS);
    *flops_per_second = 2.0 * (double)p.rounds * (double)p.per_round[0] * p.n_threads / elapsed;
    return RC_OK;
}
