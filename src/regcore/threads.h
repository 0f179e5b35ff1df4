/*
 * The one place that knows threads: tasks handed out in ascending order, and their results joined in that order.
 *
 * OpenMP where the compiler has it; else POSIX threads made for the call; else the calling thread alone.  A forked
 * child of a process that has used threads runs on one: a thread pool does not survive fork, and waiting for it would
 * hang.
 */
#ifndef REGCORE_THREADS_H
#define REGCORE_THREADS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef void rc_task(void *context, int64_t task, int thread);

/* Runs task(context, i, thread) for i in [0, n_tasks) on at most n_threads threads, 0 <= thread < n_threads. The tasks
 * start in ascending order. Thread 0 is the caller's. */
void rc_parallel_for(int64_t n_tasks, int n_threads, rc_task *task, void *context);

/*
 * Results of tasks, joined in the order of the tasks by whoever comes by: a thread that ends a task leaves its buffer
 * and goes on with another one, so that nobody waits for a thread that the system has stopped.  At most n_buffers tasks
 * are under way or left to be joined; join(context, buffer) is called by one thread at a time.
 */
typedef struct {
    atomic_flag lock;
    int joining, n_buffers, n_free;
    int64_t next; /* the task to be joined next */
    int *free;    /* (n_buffers,) a stack */
    int *left;    /* (n_buffers,) left[task % n_buffers]: the buffer of a task that has ended, or -1 */
} rc_joint;
size_t rc_joint_bytes(int n_buffers);
void rc_joint_init(rc_joint *joint, int n_buffers, void *memory);
/* A buffer for the task that the thread is about to do; every task that takes one must leave it. */
int rc_joint_take(rc_joint *joint, int64_t task);
void rc_joint_leave(rc_joint *joint, int64_t task, int buffer, void (*join)(void *context, int buffer), void *context);

/* Hands out 0, 1, 2, ... to whoever asks. Starts as {0}. */
typedef struct {
    atomic_llong next;
} rc_counter;
int64_t rc_counter_next(rc_counter *counter);

/* A flag that any thread raises and others read. Starts as {0}. */
typedef struct {
    atomic_int raised;
} rc_flag;
void rc_flag_raise(rc_flag *flag);
int rc_flag_raised(rc_flag *flag);
int rc_flag_claim(rc_flag *flag); /* raises it; 1: it was lowered before, and is the caller's to lower */
void rc_flag_lower(rc_flag *flag);

#endif
