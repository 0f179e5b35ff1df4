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

enum { MOST_THREADS = 1024 }; /* an OpenMP runtime that cannot start a thread ends the process */

/* ---------------------------------------------------------------- fork */

static atomic_int forked; /* 1 in a child of a process that had this library loaded */

#if HAVE_POSIX && defined(_OPENMP)
static void mark_child(void) { atomic_store(&forked, 1); }
__attribute__((constructor)) static void watch_fork(void) { pthread_atfork(NULL, NULL, mark_child); }
#endif

/* ---------------------------------------------------------------- tasks */

int64_t rc_counter_next(rc_counter *counter)
{
    return atomic_fetch_add_explicit(&counter->next, 1, memory_order_relaxed);
}

typedef struct {
    rc_task *task;
    void *context;
    int64_t n_tasks;
    rc_counter next;
} job;

static void work(job *j, int thread)
{
    for (;;) {
        const int64_t i = rc_counter_next(&j->next);
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
    if (n > 0) return n < MOST_THREADS ? n : MOST_THREADS;
#if defined(_OPENMP)
    return omp_get_max_threads();
#elif HAVE_POSIX
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
#else
    return 1;
#endif
}

/* ---------------------------------------------------------------- joints, counters and flags */

static void pause_a_little(int *spins)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_ia32_pause();
#endif
#if HAVE_POSIX
    if (++*spins > 1000) sched_yield(); /* whoever holds what we want may be off its core */
#else
    ++*spins;
#endif
}

/* The lock is held for a few instructions only, never while a result is joined. */
static void lock(rc_joint *joint)
{
    int spins = 0;
    while (atomic_flag_test_and_set_explicit(&joint->lock, memory_order_acquire)) pause_a_little(&spins);
}
static void unlock(rc_joint *joint) { atomic_flag_clear_explicit(&joint->lock, memory_order_release); }

size_t rc_joint_bytes(int n_buffers) { return 2 * (size_t)n_buffers * sizeof(int); }

void rc_joint_init(rc_joint *joint, int n_buffers, void *memory)
{
    *joint = (rc_joint){.n_buffers = n_buffers, .n_free = n_buffers, .free = memory, .left = (int *)memory + n_buffers};
    atomic_flag_clear(&joint->lock);
    for (int i = 0; i < n_buffers; i++) {
        joint->free[i] = n_buffers - 1 - i;
        joint->left[i] = -1;
    }
}

int rc_joint_take(rc_joint *joint, int64_t task)
{
    int spins = 0;
    for (;;) {
        lock(joint);
        /* later tasks must leave a buffer for the one that all wait for: its thread may have been stopped before it
         * came here */
        const int buffer = task < joint->next + joint->n_buffers ? joint->free[--joint->n_free] : -1;
        unlock(joint);
        if (buffer >= 0) return buffer;
        pause_a_little(&spins);
    }
}

void rc_joint_leave(rc_joint *joint, int64_t task, int buffer, void (*join)(void *context, int buffer), void *context)
{
    lock(joint);
    joint->left[task % joint->n_buffers] = buffer;
    if (!joint->joining) {
        joint->joining = 1;
        for (int *left; *(left = &joint->left[joint->next % joint->n_buffers]) >= 0; joint->next++) {
            const int ready = *left;
            *left = -1;
            unlock(joint);
            join(context, ready);
            lock(joint);
            joint->free[joint->n_free++] = ready;
        }
        joint->joining = 0;
    }
    unlock(joint);
}

void rc_flag_raise(rc_flag *flag) { atomic_store_explicit(&flag->raised, 1, memory_order_relaxed); }
int rc_flag_raised(rc_flag *flag) { return atomic_load_explicit(&flag->raised, memory_order_relaxed); }
int rc_flag_claim(rc_flag *flag) { return !atomic_exchange_explicit(&flag->raised, 1, memory_order_acquire); }
void rc_flag_lower(rc_flag *flag) { atomic_store_explicit(&flag->raised, 0, memory_order_release); }
