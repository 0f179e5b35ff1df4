/*
 * Column means and standard deviations in one pass: per chunk, the sums of x - shift and of its square with the chunk's
 * first row as the shift (so that nearly constant columns do not cancel), then the chunks merged in order by the update
 * of Chan, Golub and LeVeque (1983).  CSR: the shift is 0, as are the numbers that it does not hold, but in a column
 * that all rows of the chunk hold it is the first one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "kernels.h"
#include "poll.h"
#include "threads.h"

enum { CHUNK = 1024, BLOCK = 16 };

typedef struct {
    const rc_problem *problem;
    const rc_kernels *k; /* float64 */
    int64_t D;
    double *scratch; /* a buffer: shift, sum, square (D), BLOCK rows of D, and the weight */
    int64_t stride;
    double weight, *mean, *square;
    rc_joint joint;
    rc_flag not_finite, stop;
    const rc_control *control;
    struct timespec polled;
} statistics;

static double weight_at(const rc_problem *p, int64_t i)
{
    const rc_vector one_row = p->weights;
    if (!one_row.data) return 1;
    const char *at = (const char *)one_row.data + i * one_row.stride;
    return one_row.dtype == RC_FLOAT32 ? *(const float *)(const void *)at : *(const double *)(const void *)at;
}

/* Sums over rows [first, end) of the CSR matrix; x: a number, held: of D, 0 */
static void sparse_sums(statistics *s, int64_t first, int64_t end, double *x, double *held, double *shift, double *sum,
                        double *square, double *weight)
{
    const rc_matrix *X = &s->problem->X;
    for (int64_t i = first; i < end; i++) {
        const double w = weight_at(s->problem, i);
        const int64_t stop = row_start(X, i + 1);
        *weight += w;
        for (int64_t k = row_start(X, i); k < stop; k++) {
            const int64_t d = column_of(X, k);
            const char *at = (const char *)X->data + k * rc_item_size(X->dtype);
            s->k->pack_rows(&at, X->dtype, rc_item_size(X->dtype), 1, 1, x, 1);
            if (held[d] == 0) shift[d] = *x;
            const double above = *x - shift[d];
            held[d] += w;
            sum[d] += w * above;
            square[d] += w * above * above;
        }
    }
    for (int64_t d = 0; d < s->D; d++) {
        if (held[d] == *weight) continue;
        square[d] += shift[d] * (2 * sum[d] + held[d] * shift[d]);
        sum[d] += held[d] * shift[d];
        shift[d] = 0;
    }
}

static void dense_sums(statistics *s, int64_t first, int64_t end, double *x, double *shift, double *sum, double *square,
                       double *weight)
{
    const rc_matrix *X = &s->problem->X;
    const int64_t D = s->D;
    for (int64_t block = first; block < end; block += BLOCK) {
        const char *rows[BLOCK];
        const int64_t n = end - block < BLOCK ? end - block : BLOCK;
        for (int64_t r = 0; r < n; r++) rows[r] = (const char *)X->data + (block + r) * X->row_stride;
        s->k->pack_rows(rows, X->dtype, X->column_stride, n, D, x, D);
        if (block == first) memcpy(shift, x, (size_t)D * sizeof *x);
        for (int64_t r = 0; r < n; r++) {
            const double w = weight_at(s->problem, block + r);
            *weight += w;
            s->k->add_moments(x + r * D, shift, w, D, sum, square);
        }
    }
}

static void join_chunk(void *context, int buffer)
{
    statistics *s = context;
    const double *shift = s->scratch + buffer * s->stride, *sum = shift + s->D, *square = sum + s->D;
    const double weight = shift[s->stride - 1], total = s->weight + weight;
    for (int64_t d = 0; d < s->D && weight > 0; d++) {
        const double mean = shift[d] + sum[d] / weight, spread = square[d] - sum[d] * (sum[d] / weight);
        const double gap = mean - s->mean[d];
        s->mean[d] += gap * (weight / total);
        s->square[d] += (spread > 0 ? spread : 0) + gap * gap * (s->weight * weight / total);
    }
    s->weight = total;
}

/* The calling thread asks its host now and then whether to go on. */
static void poll_host(statistics *s, int thread)
{
    if (thread == 0 && asked_to_stop(s->control, &s->polled)) rc_flag_raise(&s->stop);
}

static void chunk_statistics(void *context, int64_t chunk, int thread)
{
    statistics *s = context;
    const int64_t D = s->D, first = chunk * CHUNK;
    const int64_t end = first + CHUNK < s->problem->X.n_rows ? first + CHUNK : s->problem->X.n_rows;
    const int buffer = rc_joint_take(&s->joint, chunk);
    double *shift = s->scratch + buffer * s->stride, *sum = shift + D, *square = sum + D, *x = square + D;
    double *held = x + D, *weight = shift + s->stride - 1, check = 0;
    poll_host(s, thread);
    memset(shift, 0, (size_t)(5 * D) * sizeof *x);
    *weight = 0;
    if (rc_flag_raised(&s->stop)) {
        /* nothing more to add up */
    } else if (s->problem->X.indices)
        sparse_sums(s, first, end, x, held, shift, sum, square, weight);
    else
        dense_sums(s, first, end, x, shift, sum, square, weight);
    for (int64_t d = 0; d < D; d++) check += square[d] * 0.0;
    if (check != 0) rc_flag_raise(&s->not_finite);
    rc_joint_leave(&s->joint, chunk, buffer, join_chunk, s);
}

rc_status rc_column_statistics(const rc_problem *problem, const rc_control *control, double *mean, double *scale,
                               rc_error *error)
{
    const int64_t D = problem->X.n_columns, n_chunks = (problem->X.n_rows + CHUNK - 1) / CHUNK;
    int n_threads = control->n_threads > 0 ? control->n_threads : rc_default_threads();
    if (n_threads > n_chunks) n_threads = (int)n_chunks;
    statistics s = {
        .problem = problem, .k = rc_kernels_for(RC_FLOAT64), .D = D, .stride = (BLOCK + 3) * D + 1, .control = control};
    const int n_buffers = 2 * n_threads;
    const size_t numbers = (size_t)(n_buffers * s.stride + 2 * D);
    s.scratch = malloc(numbers * sizeof(double) + rc_joint_bytes(n_buffers));
    if (!s.scratch) return RC_ERROR_MEMORY;
    s.mean = s.scratch + n_buffers * s.stride;
    s.square = s.mean + D;
    rc_joint_init(&s.joint, n_buffers, s.scratch + numbers);
    memset(s.mean, 0, (size_t)(2 * D) * sizeof(double));
    rc_parallel_for(n_chunks, n_threads, chunk_statistics, &s);
    rc_status status = RC_OK;
    if (rc_flag_raised(&s.stop)) {
        status = fail(error, RC_INTERRUPTED, "", "interrupted");
    } else if (rc_flag_raised(&s.not_finite)) {
        const rc_rows all = {NULL, 0, 1, problem->X.n_rows};
        status = RC_ERROR_NOT_FINITE;
        if (!rc_find_not_finite(problem, &all, error))
            status = fail(error, RC_ERROR_OVERFLOW, "X", "finite, but its variance overflows float64");
    }
    for (int64_t d = 0; d < D && status == RC_OK; d++) {
        /* what rounding leaves of a constant column is not a scale */
        const double variance = s.square[d] / s.weight, noise = 1e-14 * fabs(s.mean[d]);
        mean[d] = s.mean[d];
        scale[d] = variance > noise * noise ? sqrt(variance) : 0;
    }
    free(s.scratch);
    return status;
}
