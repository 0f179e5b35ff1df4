/*
 * The one place that knows threads: tasks handed out in ascending order, and turns taken in that order.
 *
 * OpenMP where the compiler has it; else POSIX threads made for the call; else the calling thread alone.  A forked child
 * of a process that has used threads runs on one: a thread pool does not survive fork, and waiting for it would hang.
 */
#ifndef REGCORE_THREADS_H
#define REGCORE_THREADS_H

#include <stdatomic.h>
#include <stdint.h>

typedef void rc_task(void *context, int64_t task, int thread);

/* Runs task(context, i, thread) for i in [0, n_tasks) on at most n_threads threads, 0 <= thread < n_threads. The tasks
 * start in ascending order. Thread 0 is the caller's. */
void rc_parallel_for(int64_t n_tasks, int n_threads, rc_task *task, void *context);

/* A turnstile lets tasks through in ascending order: task i waits until all before it have passed. Starts as {0}. */
typedef struct {
    atomic_llong next;
} rc_turnstile;
void rc_turnstile_wait(rc_turnstile *turnstile, int64_t task);
void rc_turnstile_pass(rc_turnstile *turnstile, int64_t task);

/* A flag that any thread raises and others read. Starts as {0}. */
typedef struct {
    atomic_int raised;
} rc_flag;
void rc_flag_raise(rc_flag *flag);
int rc_flag_raised(rc_flag *flag);

#endif
