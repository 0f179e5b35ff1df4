/*
 * Column means and standard deviations in one pass: per chunk, the sums of x - shift and of its square with the chunk's
 * first row as the shift (so that nearly constant columns do not cancel), then the chunks merged in order by the update
 * of Chan, Golub and LeVeque (1983).  CSR: the shift is 0, as are the numbers that it does not hold, but in a column
 * that all rows of the chunk hold it is the first one.  The threads share the chunks, or, of a dense X with more
 * features than samples, the features.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "kernels.h"
#include "poll.h"
#include "threads.h"

enum { CHUNK = 1024, BLOCK = 16, STRIP = 128, WORK_PER_THREAD = 1 << 20 };

typedef struct {
    const rc_problem *problem;
    const rc_kernels *k; /* float64 */
    int64_t D;
    double *scratch; /* a buffer: shift, sum, square (width), BLOCK rows of as many, and the weight */
    int64_t stride, width;
    const rc_kernels *native; /* X's own type, if its columns are read in place */
    double *row_weight;       /* (n_rows + a vector,): then */
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

/* Sums of features [d, d + n) over rows [first, end) */
static void dense_sums(statistics *s, int64_t first, int64_t end, int64_t d, int64_t n, double *x, double *shift,
                       double *sum, double *square, double *weight)
{
    const rc_matrix *X = &s->problem->X;
    for (int64_t block = first; block < end; block += BLOCK) {
        const char *rows[BLOCK];
        const int64_t n_rows = end - block < BLOCK ? end - block : BLOCK;
        for (int64_t r = 0; r < n_rows; r++)
            rows[r] = (const char *)X->data + (block + r) * X->row_stride + d * X->column_stride;
        s->k->pack_rows(rows, X->dtype, X->column_stride, n_rows, n, x, n);
        if (block == first) memcpy(shift, x, (size_t)n * sizeof *x);
        for (int64_t r = 0; r < n_rows; r++) {
            const double w = weight_at(s->problem, block + r);
            *weight += w;
            s->k->add_moments(x + r * n, shift, w, n, sum, square);
        }
    }
}

/* The same of columns that are read in place, up to a whole vector: what lies behind the rows has a weight of 0, and is
 * the next column, or not read. */
static void column_sums(statistics *s, int64_t first, int64_t end, int64_t d, int64_t n, double *spare, double *shift,
                        double *sum, double *square, double *weight)
{
    const rc_matrix *X = &s->problem->X;
    const int64_t size = rc_item_size(X->dtype), lanes = s->native->lanes, n_rows = end - first;
    const int64_t padded = (n_rows + lanes - 1) / lanes * lanes;
    const double *w = s->row_weight + first; /* a chunk is whole vectors, but for the last one */
    const char *memory_end = (const char *)X->data + (s->D - 1) * X->column_stride + X->n_rows * size;
    for (int64_t i = first; i < end; i++) *weight += weight_at(s->problem, i);
    for (int64_t j = 0; j < n; j++) {
        const char *x = (const char *)X->data + first * size + (d + j) * X->column_stride;
        if (padded > n_rows && (X->column_stride > X->n_rows * size || padded * size > memory_end - x)) {
            memset(spare, 0, (size_t)(padded * size));
            x = memcpy(spare, x, (size_t)(n_rows * size));
        }
        shift[j] = size == 4 ? *(const float *)(const void *)x : *(const double *)(const void *)x;
        sum[j] = s->native->column_spread(x, w, padded, shift[j], &square[j]);
    }
}

/* Merges the sums of a chunk of n features into those of all rows before, which weigh `before`. */
static void merge(const double *shift, const double *sum, const double *square, double weight, double before, int64_t n,
                  double *mean, double *total)
{
    const double both = before + weight;
    for (int64_t d = 0; d < n && weight > 0; d++) {
        const double center = shift[d] + sum[d] / weight, spread = square[d] - sum[d] * (sum[d] / weight);
        const double gap = center - mean[d];
        mean[d] += gap * (weight / both);
        total[d] += (spread > 0 ? spread : 0) + gap * gap * (before * weight / both);
    }
}

static void join_chunk(void *context, int buffer)
{
    statistics *s = context;
    const double *shift = s->scratch + buffer * s->stride, *sum = shift + s->D, *square = sum + s->D;
    const double weight = shift[s->stride - 1];
    merge(shift, sum, square, weight, s->weight, s->D, s->mean, s->square);
    s->weight += weight;
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
        dense_sums(s, first, end, 0, D, x, shift, sum, square, weight);
    for (int64_t d = 0; d < D; d++) check += square[d] * 0.0;
    if (check != 0) rc_flag_raise(&s->not_finite);
    rc_joint_leave(&s->joint, chunk, buffer, join_chunk, s);
}

static void strip_statistics(void *context, int64_t strip, int thread)
{
    statistics *s = context;
    const int64_t N = s->problem->X.n_rows, d = strip * STRIP, n = s->D - d < STRIP ? s->D - d : STRIP;
    double *shift = s->scratch + thread * s->stride, *sum = shift + n, *square = sum + n, *x = square + n;
    double before = 0, check = 0;
    for (int64_t first = 0; first < N; first += CHUNK) {
        const int64_t end = first + CHUNK < N ? first + CHUNK : N;
        double weight = 0;
        poll_host(s, thread);
        if (rc_flag_raised(&s->stop)) return;
        memset(sum, 0, (size_t)(2 * n) * sizeof *sum);
        (s->native ? column_sums : dense_sums)(s, first, end, d, n, x, shift, sum, square, &weight);
        for (int64_t j = 0; j < n; j++) check += square[j] * 0.0;
        merge(shift, sum, square, weight, before, n, s->mean + d, s->square + d);
        before += weight;
    }
    if (check != 0) rc_flag_raise(&s->not_finite);
    if (strip == 0) s->weight = before;
}

/* Columns that can be read in place, one after the other */
static int has_native_columns(const rc_matrix *X)
{
    const int64_t size = rc_item_size(X->dtype);
    return (X->dtype == RC_FLOAT32 || X->dtype == RC_FLOAT64) && X->row_stride == size &&
           X->column_stride >= X->n_rows * size && X->column_stride % size == 0 &&
           (uintptr_t)X->data % (uintptr_t)size == 0;
}

rc_status rc_column_statistics(const rc_problem *problem, const rc_control *control, double *mean, double *scale,
                               rc_error *error)
{
    enum { VECTOR = 64 };
    const int64_t N = problem->X.n_rows, D = problem->X.n_columns;
    const int by_features = !problem->X.indices && D >= N;
    const int64_t n_tasks = by_features ? (D + STRIP - 1) / STRIP : (N + CHUNK - 1) / CHUNK;
    int n_threads = control->n_threads > 0 ? control->n_threads : rc_default_threads();
    if (n_threads > n_tasks) n_threads = (int)n_tasks;
    if (by_features && (double)N * (double)D < 2.0 * WORK_PER_THREAD) n_threads = 1;
    const int64_t width = by_features ? STRIP : D;
    statistics s = {.problem = problem,
                    .k = rc_kernels_for(RC_FLOAT64),
                    .D = D,
                    .width = width,
                    .stride = (BLOCK + 3) * width + 1,
                    .control = control};
    if (by_features && has_native_columns(&problem->X)) s.native = rc_kernels_for(problem->X.dtype);
    const int n_buffers = by_features ? n_threads : 2 * n_threads;
    const size_t numbers = (size_t)(n_buffers * s.stride + 2 * D + (s.native ? N + VECTOR : 0));
    s.scratch = malloc(numbers * sizeof(double) + rc_joint_bytes(n_buffers));
    if (!s.scratch) return RC_ERROR_MEMORY;
    s.mean = s.scratch + n_buffers * s.stride;
    s.square = s.mean + D;
    memset(s.mean, 0, (size_t)(2 * D) * sizeof(double));
    if (s.native) {
        s.row_weight = s.square + D;
        for (int64_t i = 0; i < N; i++) s.row_weight[i] = weight_at(problem, i);
        memset(s.row_weight + N, 0, VECTOR * sizeof(double));
    }
    rc_joint_init(&s.joint, n_buffers, s.scratch + numbers);
    rc_parallel_for(n_tasks, n_threads, by_features ? strip_statistics : chunk_statistics, &s);
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
