#include "threads.h"

#include <stdlib.h>

#include "include/regcore.h"

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#define HAVE_POSIX 1
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
#endif

/* ---------------------------------------------------------------- fork */

static atomic_int forked; /* 1 in a child of a process that had this library loaded */

#if HAVE_POSIX && defined(_OPENMP)
static void mark_child(void) { atomic_store(&forked, 1); }
__attribute__((constructor)) static void watch_fork(void) { pthread_atfork(NULL, NULL, mark_child); }
#endif

/* ---------------------------------------------------------------- tasks */

typedef struct {
    rc_task *task;
    void *context;
    int64_t n_tasks;
    atomic_llong next;
} job;

static void work(job *j, int thread)
{
    for (;;) {
        const int64_t i = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed);
        if (i >= j->n_tasks) return;
        j->task(j->context, i, thread);
    }
}

#if HAVE_POSIX && !defined(_OPENMP)
typedef struct {
    job *j;
    int thread;
} worker;
static void *start_worker(void *w)
{
    work(((worker *)w)->j, ((worker *)w)->thread);
    return NULL;
}
#endif

void rc_parallel_for(int64_t n_tasks, int n_threads, rc_task *task, void *context)
{
    job j = {.task = task, .context = context, .n_tasks = n_tasks};
    if (n_threads > n_tasks) n_threads = (int)n_tasks;
    if (atomic_load_explicit(&forked, memory_order_relaxed)) n_threads = 1;
    if (n_threads <= 1) {
        work(&j, 0);
        return;
    }
#if defined(_OPENMP)
#pragma omp parallel num_threads(n_threads)
    work(&j, omp_get_thread_num());
#elif HAVE_POSIX
    enum { MOST = 256 };
    pthread_t threads[MOST];
    worker workers[MOST];
    int n_started = 0;
    for (; n_started + 1 < n_threads && n_started < MOST; n_started++) {
        workers[n_started] = (worker){&j, n_started + 1};
        /* what cannot be started is done by the others */
        if (pthread_create(&threads[n_started], NULL, start_worker, &workers[n_started])) break;
    }
    work(&j, 0);
    while (n_started) pthread_join(threads[--n_started], NULL);
#else
    work(&j, 0);
#endif
}

int rc_has_openmp(void)
{
#if defined(_OPENMP)
    return 1;
#else
    return 0;
#endif
}

const char *rc_threading(void)
{
#if defined(_OPENMP)
    return "openmp";
#elif HAVE_POSIX
    return "pthreads";
#else
    return "none";
#endif
}

int rc_default_threads(void)
{
    const char *wanted = getenv("REGCORE_NUM_THREADS");
    const int n = wanted ? atoi(wanted) : 0;
    if (atomic_load(&forked)) return 1;
    if (n > 0) return n;
#if defined(_OPENMP)
    return omp_get_max_threads();
#elif HAVE_POSIX
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
#else
    return 1;
#endif
}

/* ---------------------------------------------------------------- turns and flags */

void rc_turnstile_wait(rc_turnstile *turnstile, int64_t task)
{
    /* Mostly no wait at all: tasks are of a size. After a while the core is given away, to whoever is ahead of us. */
    for (int spins = 0; atomic_load_explicit(&turnstile->next, memory_order_acquire) != task; spins++) {
#if HAVE_POSIX
        if (spins > 1000) sched_yield();
#endif
#if defined(__x86_64__) && defined(__GNUC__)
        __builtin_ia32_pause();
#endif
    }
}

void rc_turnstile_pass(rc_turnstile *turnstile, int64_t task)
{
    atomic_store_explicit(&turnstile->next, task + 1, memory_order_release);
}

void rc_flag_raise(rc_flag *flag) { atomic_store_explicit(&flag->raised, 1, memory_order_relaxed); }
int rc_flag_raised(rc_flag *flag) { return atomic_load_explicit(&flag->raised, memory_order_relaxed); }
