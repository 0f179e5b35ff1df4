/*
 * Dual coordinate ascent for the hinges: the loop over the samples of an epoch.
 *
 * The dual of  sum_i weight_i loss_i(W x_i + b) + R(W)  in the slopes g_i of the samples' losses is
 *
 *     max  sum_i weight_i sum_{j != y_i} u_ij - R*(-V),    V = sum_i weight_i g_i x_i^T,    sum_i weight_i g_i = 0
 *
 * the last because the intercept is free.  What is ascended is its proximal form, around a centre (W_c, b_c):
 *
 *     R(W) + ||W - W_c||^2 / (2 step) + ||b - b_c||^2 / (2 intercept_step)
 *
 * whose dual has neither constraint: with A = W_c / step - V the weights are curvature * prox(A), where curvature =
 * 1 / (2 l2 + 1 / step) and prox takes the threshold of l1 or group, and b = b_c - intercept_step sum_i weight_i g_i.
 * Moving the centre to where the ascent has led is the proximal point method, or the method of multipliers on the dual
 * (Rockafellar, "Augmented Lagrangians and applications of the proximal point algorithm in convex programming",
 * Mathematics of Operations Research 1, 1976).  Without an L2 part, ||W - W_c||^2 may have a diagonal metric: the step
 * of feature d is then step * metric_d.  No step (1 / step = 0) is needed where l2 > 0.  The ascent itself is that of
 * Shalev-Shwartz and Zhang, "Accelerated proximal stochastic dual coordinate ascent", Mathematical Programming 155
 * (2016): R* is smooth, and a sample's slopes take the exact step of its quadratic bound; see dual.h.
 *
 * The order is a new permutation in each epoch.  A sample whose slopes did not change sleeps for 1, 3, 7, ... 31
 * epochs; that is all the shrinking there is, and since a certificate sums over all samples, no proof depends on it.
 */
#include "huge_pages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "kernels.h"
#include "poll.h"
#include "random.h"
#include "threads.h"

enum {
    WORK_PER_POLL = 1 << 18, /* multiply-adds between two looks at the clock */
    LEAST_WORK = 1 << 18,    /* multiply-adds in an epoch for blocks of samples to pay */
    LEAST_PER_COLUMN = 8,    /* nonzeros, as joining blocks visits all columns */
    LOAD_BYTES = 4096,       /* dense rows packed at once: few, so that they do not displace the weights */
    MOST_LOADED = 16,
    SPARSE_ROWS = 64, /* a call */
    N_BLOCKS = 2,     /* of samples, each with weights of its own; fixed, as the bits depend on it */
    JOINS = 4,        /* of the blocks' weights in an epoch */
    SMOOTH_JOINS = 2, /* the same of a smooth loss, whose steps are shorter */
    TILE = 16,
    PREFETCHED = 2, /* loads ahead */
    SAMPLES_PER_POLL = 1 << 16
};

#define SPREAD_MARGIN 1.2 /* over what the last join would have needed */

struct rc_dual {
    rc_problem problem;
    rc_dual_options options;
    const rc_kernels *k;
    int64_t N, D, C, load, run; /* run: neighbours in memory that stay together in an epoch's order */
    int sparse;
    int64_t epoch, n_active;
    rc_dual_work work;
    int64_t n_blocks;
    rc_dual_work blocks[N_BLOCKS]; /* where there are several */
    int64_t joins;                 /* of them in an epoch */
    int are_split;                 /* whether their A is that of the whole */
    int is_averaged;               /* whether the centres of a run are summed: a smooth loss has no use for it */
    rc_csr csr;

    char *memory;
    int64_t *active, *order; /* samples of positive weight; those of an epoch */
    void *centre;            /* W_c / step, shaped like A; NULL: there is none */
    double *centre_b, inverse_step;
    void *sum; /* of the centres of a run */
    double *sum_b;
    int64_t n_summed;
    double *totals[N_BLOCKS]; /* sums over samples, shaped like A without its padded classes */
    double *factors, *factor; /* of a load of rows; 1 / scale */
    const char **sources;
    void **row_pointers;
    void *rows, *metric_rows, *metric; /* packed; metric: (ldw,), or NULL */
};

/* Where weight (c, d) stands in A */
static int64_t place(const rc_dual *s, int64_t c, int64_t d)
{
    return s->sparse ? d * s->work.ldw + c : c * s->work.ldw + d;
}

static int64_t length_of_A(const rc_dual *s) { return (s->sparse ? s->D : s->C) * s->work.ldw; }

/* ---------------------------------------------------------------- random order, anew in every epoch */

/* The samples that are awake, in a random order of runs of neighbours; returns how many */
static int64_t make_order(rc_dual *s)
{
    uint64_t random = mix64(mix64(s->options.seed) + (uint64_t)s->epoch);
    int64_t n = 0, *order = s->order, run = s->run;
    for (int64_t a = 0; a < s->n_active; a++) {
        const int64_t i = s->active[a];
        if (s->work.wait[i])
            s->work.wait[i]--;
        else
            order[n++] = i;
    }
    const int64_t n_runs = n / run; /* what is left over comes last */
    for (int64_t i = 0; i < n_runs - 1; i++) {
        const int64_t j = i + random_below(&random, n_runs - i);
        for (int64_t k = 0; k < run && j != i; k++) {
            const int64_t other = order[j * run + k];
            order[j * run + k] = order[i * run + k];
            order[i * run + k] = other;
        }
    }
    return n;
}

/* ---------------------------------------------------------------- an epoch */

static double work_per_row(const rc_dual *s)
{
    const double numbers = s->sparse ? (double)s->problem.X.nnz / (double)s->N : (double)s->D;
    return (numbers + 16) * (double)s->C;
}

/* Samples rows[0 .. n) as padded reals, standardised */
static void load_rows(rc_dual *s, const int64_t *rows, int64_t n)
{
    const rc_matrix *X = &s->problem.X;
    const rc_dual_options *q = &s->options;
    for (int64_t r = 0; r < n; r++) s->sources[r] = (const char *)X->data + rows[r] * X->row_stride;
    s->k->pack_rows(s->sources, X->dtype, X->column_stride, n, s->D, s->rows, s->work.ldw);
    if (q->center || s->factor) s->k->standardize_block(s->row_pointers, n, s->D, 0, q->center, s->factor);
}

/* Asks memory for the rows that come next: their order is random, and no hardware can guess it */
static void prefetch_rows(const rc_dual *s, const int64_t *rows, int64_t n)
{
#if defined(__GNUC__) || defined(__clang__)
    const rc_matrix *X = &s->problem.X;
    const int64_t bytes = X->column_stride == rc_item_size(X->dtype) ? s->D * rc_item_size(X->dtype) : 0;
    for (int64_t r = 0; r < n; r++) {
        const int64_t i = rows[r];
        const char *row = (const char *)X->data + i * X->row_stride;
        for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at, 0, 2);
        __builtin_prefetch(s->work.label + i, 0, 2);
        __builtin_prefetch(s->work.weight + i, 0, 2);
        __builtin_prefetch(s->work.square + i, 0, 2);
        __builtin_prefetch(offset(s->work.dual, i * s->C, s->k->real_size), 1, 2);
    }
#else
    (void)s, (void)rows, (void)n;
#endif
}

/* W = prox(A), where a dense problem keeps it */
static void apply_prox(rc_dual *s)
{
    if (!s->work.W) return;
    const int64_t n = length_of_A(s);
    if (s->work.group > 0)
        s->k->group_prox(s->work.A, s->C, s->work.ldw, s->work.group, s->work.W);
    else
        s->k->penalty_prox(s->work.A, n, s->work.l1, 1, s->work.W);
}

/* A control whose number of threads is known */
static rc_control resolved(const rc_control *control)
{
    rc_control known = *control;
    if (known.n_threads <= 0) known.n_threads = rc_default_threads();
    return known;
}

/* ---------------------------------------------------------------- blocks of samples */

/* A part of an epoch: each block visits its samples of the order */
typedef struct {
    rc_dual *s;
    const rc_control *control;
    struct timespec *polled;
    rc_flag stop;
    int64_t first[N_BLOCKS], end[N_BLOCKS], n_visits[N_BLOCKS];
} visit;

static void visit_block(void *context, int64_t block, int thread)
{
    visit *v = context;
    rc_dual *s = v->s;
    rc_dual_work *w = s->n_blocks > 1 ? &s->blocks[block] : &s->work;
    const double per_row = work_per_row(s);
    const int64_t end = v->end[block];
    double work = 0;
    for (int64_t first = v->first[block]; first < end && !rc_flag_raised(&v->stop); first += s->load) {
        const int64_t rows = end - first < s->load ? end - first : s->load;
        work += per_row * (double)rows;
        if (work > WORK_PER_POLL && thread == 0) {
            work = 0;
            if (asked_to_stop(v->control, v->polled)) {
                rc_flag_raise(&v->stop);
                return;
            }
        }
        if (s->sparse)
            s->k->dual_csr(w, s->order + first, rows, end - first, &s->csr, s->factor);
        else {
            const int64_t next = first + PREFETCHED * s->load, left = end - next;
            load_rows(s, s->order + first, rows);
            if (left > 0) prefetch_rows(s, s->order + next, left < s->load ? left : s->load);
            if (s->metric) s->k->multiply_rows(s->rows, s->metric, rows, s->work.ldw, s->metric_rows);
            s->k->dual_rows(w, s->order + first, rows, s->rows, s->metric ? s->metric_rows : s->rows);
        }
        v->n_visits[block] += rows;
    }
}

/* A block's part of A */
typedef struct {
    rc_dual *s;
    double product[N_BLOCKS], squares[N_BLOCKS];
} joining;

static void join_range(void *context, int64_t task, int thread)
{
    (void)thread;
    joining *j = context;
    const rc_dual *s = j->s;
    const int64_t lanes = s->k->lanes, n = (length_of_A(s) + lanes - 1) / lanes;
    const int64_t at = n * task / N_BLOCKS * lanes, end = n * (task + 1) / N_BLOCKS * lanes;
    const size_t size = s->k->real_size;
    s->k->join_blocks(offset(s->work.A, at, size), offset(s->blocks[0].A, at, size), offset(s->blocks[1].A, at, size),
                      end - at, s->work.spread, &j->product[task], &j->squares[task]);
}

/*
 * What the blocks have done comes together.  With changes d_b of A by block b the dual's quadratic term is at most what
 * the blocks took it for as long as ||sum d_b||^2 <= spread sum ||d_b||^2, which is always so for a spread of their
 * number.  Changes that hardly know of each other allow one that is not much above 1.
 */
static void join(rc_dual *s, int n_threads)
{
    rc_dual_work *w = &s->work;
    joining j = {.s = s};
    double product = 0, squares = 0;
    rc_parallel_for(N_BLOCKS, n_threads, join_range, &j);
    w->gap = 0;
    for (int b = 0; b < N_BLOCKS; b++) {
        w->gap += s->blocks[b].gap;
        product += w->curvature * j.product[b];
        squares += w->curvature * j.squares[b];
    }
    for (int64_t c = 0; c < s->C; c++) {
        const double d = s->blocks[0].residual[c] - w->residual[c], e = s->blocks[1].residual[c] - w->residual[c];
        product += w->intercept * w->spread * w->spread * d * e;
        squares += w->intercept * w->spread * w->spread * (d * d + e * e);
        w->residual[c] += d + e;
        w->b[c] = s->centre_b[c] - w->intercept * w->residual[c];
    }
    if (squares > 0 && !s->metric) {
        const double needed = SPREAD_MARGIN * (1 + 2 * product / squares);
        w->spread = needed < 1 ? 1 : needed < N_BLOCKS ? needed : N_BLOCKS;
    }
    for (int b = 0; b < N_BLOCKS; b++) {
        memcpy(s->blocks[b].b, w->b, (size_t)s->C * sizeof(double));
        memcpy(s->blocks[b].residual, w->residual, (size_t)s->C * sizeof(double));
        s->blocks[b].spread = w->spread;
    }
}

static void copy_to_block(void *context, int64_t block, int thread)
{
    (void)thread;
    const rc_dual *s = context;
    memcpy(s->blocks[block].A, s->work.A, (size_t)length_of_A(s) * s->k->real_size);
}

/* The blocks begin where the whole is */
static void split(rc_dual *s, int n_threads)
{
    for (int b = 0; b < N_BLOCKS; b++) {
        rc_dual_work *w = &s->blocks[b];
        void *A = w->A, *scratch = w->scratch;
        double *intercept = w->b, *residual = w->residual;
        *w = s->work;
        w->A = A, w->scratch = scratch, w->b = intercept, w->residual = residual;
        memcpy(w->b, s->work.b, (size_t)s->C * sizeof(double));
        memcpy(w->residual, s->work.residual, (size_t)s->C * sizeof(double));
        w->gap = 0;
    }
    if (!s->are_split) rc_parallel_for(N_BLOCKS, n_threads, copy_to_block, s);
    s->are_split = 1; /* each join leaves them so */
}

/* A part of the features */
typedef struct {
    rc_dual *s;
    void *centre; /* NULL: it stays */
} moving;

static void move_range(void *context, int64_t task, int thread)
{
    (void)thread;
    const moving *m = context;
    rc_dual *s = m->s;
    rc_dual_work w = s->work;
    if (s->n_blocks > 1) w.scratch = s->blocks[task].scratch;
    s->k->recentre(&w, s->D * task / s->n_blocks, s->D * (task + 1) / s->n_blocks, s->sparse,
                   w.curvature * s->inverse_step, m->centre, s->sum);
}

/* Adds the weights and the intercept to the sums of the run */
static void add_to_sums(rc_dual *s, int n_threads, void *centre)
{
    if (!s->is_averaged && !centre) return;
    rc_parallel_for(s->n_blocks, n_threads, move_range, &(moving){s, centre});
    for (int64_t c = 0; c < s->C; c++) s->sum_b[c] += s->work.b[c];
    s->n_summed++;
}

/* ... and moves the centre there */
static void recentre(rc_dual *s, int n_threads)
{
    add_to_sums(s, n_threads, s->centre);
    if (s->centre) {
        s->are_split = 0;
        apply_prox(s);
    }
    for (int64_t c = 0; c < s->C; c++) {
        s->centre_b[c] = s->work.b[c];
        s->work.b[c] -= s->work.intercept * s->work.residual[c];
    }
}

static rc_status one_epoch(rc_dual *s, const rc_control *control, struct timespec *polled, int64_t *n_visits,
                           rc_error *error)
{
    const int64_t n = make_order(s), parts = s->n_blocks > 1 ? s->joins * s->n_blocks : 1;
    visit v = {.s = s, .control = control, .polled = polled};
    s->epoch++;
    s->work.gap = 0;
    if (s->n_blocks > 1) split(s, control->n_threads);
    for (int64_t part = 0; part < parts && !rc_flag_raised(&v.stop); part += s->n_blocks) {
        for (int64_t b = 0; b < s->n_blocks; b++) {
            v.first[b] = n * (part + b) / parts;
            v.end[b] = n * (part + b + 1) / parts;
        }
        rc_parallel_for(s->n_blocks, control->n_threads, visit_block, &v);
        if (s->n_blocks > 1) join(s, control->n_threads);
        if (part + s->n_blocks < parts) add_to_sums(s, control->n_threads, NULL);
    }
    for (int64_t b = 0; b < s->n_blocks; b++) *n_visits += v.n_visits[b];
    if (rc_flag_raised(&v.stop)) return fail(error, RC_INTERRUPTED, "", "interrupted");
    if (!isfinite(s->work.gap))
        return fail(error, RC_ERROR_OVERFLOW, "X", "finite, but the scores overflow the compute type");
    return RC_OK;
}

rc_status rc_dual_run(rc_dual *s, const rc_control *given, int64_t n_centres, int64_t n_epochs, double *gap,
                      int64_t *n_visits, rc_error *error)
{
    struct timespec polled = {0, 0};
    const rc_control known = resolved(given), *control = &known;
    rc_status status = RC_OK;
    if (s->is_averaged || s->centre) memset(s->sum, 0, (size_t)length_of_A(s) * s->k->real_size);
    memset(s->sum_b, 0, (size_t)s->C * sizeof(double));
    s->n_summed = 0;
    *n_visits = 0;
    for (int64_t c = 0; c < n_centres && status == RC_OK; c++) {
        for (int64_t e = 0; e < n_epochs && status == RC_OK; e++)
            status = one_epoch(s, control, &polled, n_visits, error);
        if (status == RC_OK) recentre(s, control->n_threads);
    }
    *gap = s->work.gap;
    return status;
}

/* ---------------------------------------------------------------- sums over all samples */

/* What the rows of the samples are multiplied with in their sum: weight * slopes, or `by_class` the weight at the
 * label. 0: with nothing */
static int sample_factors(const rc_dual *s, int64_t i, int by_class, int64_t n_rows, double *factors)
{
    int some = 0;
    for (int64_t c = 0; c < n_rows; c++) {
        const double slope = by_class ? c == s->work.label[i] : number(s->work.dual, i * s->C + c, s->options.real);
        factors[c] = s->work.weight[i] * slope;
        some |= slope != 0;
    }
    return some;
}

typedef struct {
    rc_dual *s;
    const rc_control *control;
    struct timespec polled;
    rc_flag stop;
    int by_class;
    int64_t n_rows;
} summing;

/* The samples of a block, of a CSR matrix */
static void sum_block(void *context, int64_t block, int thread)
{
    summing *sum = context;
    rc_dual *s = sum->s;
    double *factors = s->factors + block * sum->n_rows, *total = s->totals[block];
    memset(total, 0, (size_t)(s->D * sum->n_rows) * sizeof(double));
    const int64_t end = s->n_active * (block + 1) / s->n_blocks;
    for (int64_t a = s->n_active * block / s->n_blocks; a < end && !rc_flag_raised(&sum->stop); a++) {
        if ((a & (SAMPLES_PER_POLL - 1)) == 0 && thread == 0 && asked_to_stop(sum->control, &sum->polled))
            rc_flag_raise(&sum->stop);
        if (sample_factors(s, s->active[a], sum->by_class, sum->n_rows, factors))
            s->k->sum_csr(factors, s->active[a], sum->n_rows, &s->csr, s->factor, total);
    }
}

static void add_totals(void *context, int64_t part, int thread)
{
    (void)thread;
    const summing *sum = context;
    const rc_dual *s = sum->s;
    const int64_t n = s->D * sum->n_rows, end = n * (part + 1) / s->n_blocks;
    for (int64_t i = n * part / s->n_blocks; i < end; i++) s->totals[0][i] += s->totals[1][i];
}

/* totals[0] = sum of factors of the sample times its row, of n_rows classes */
static rc_status sum_samples(rc_dual *s, const rc_control *given, int by_class, int64_t n_rows, rc_error *error)
{
    const rc_control known = resolved(given), *control = &known;
    summing sum = {.s = s, .control = control, .by_class = by_class, .n_rows = n_rows};
    const int64_t ld = s->work.ldw;
    s->are_split = 0; /* sums lie where their weights are */
    if (s->sparse) {
        rc_parallel_for(s->n_blocks, control->n_threads, sum_block, &sum);
        if (s->n_blocks > 1) rc_parallel_for(s->n_blocks, control->n_threads, add_totals, &sum);
        return rc_flag_raised(&sum.stop) ? fail(error, RC_INTERRUPTED, "", "interrupted") : RC_OK;
    }
    memset(s->totals[0], 0, (size_t)(n_rows * ld) * sizeof(double));
    for (int64_t first = 0, at = 0, n; first < s->n_active; first = at) {
        for (n = 0; n < s->load && at < s->n_active; at++)
            if (sample_factors(s, s->active[at], by_class, n_rows, s->factors + n * n_rows))
                s->order[n++] = s->active[at];
        if ((first & (SAMPLES_PER_POLL - 1)) < s->load * 2 && asked_to_stop(control, &sum.polled))
            return fail(error, RC_INTERRUPTED, "", "interrupted");
        if (!n) continue;
        load_rows(s, s->order, n);
        s->k->sum_rows(s->factors, n, n_rows, s->rows, ld, s->totals[0]);
    }
    return RC_OK;
}

/* out (n_rows, D) = the totals of the features from `begin` to `end` */
static void copy_total(const rc_dual *s, int64_t n_rows, int64_t begin, int64_t end, double *out)
{
    for (int64_t first = begin; first < end; first += TILE)
        for (int64_t c = 0; c < n_rows; c++)
            for (int64_t d = first; d < end && d < first + TILE; d++)
                out[c * s->D + d] = s->totals[0][s->sparse ? d * n_rows + c : c * s->work.ldw + d];
}

/* n numbers of A from `at` on: centre - total */
static void set_row(const rc_dual *s, int64_t at, const double *total, int64_t n)
{
    if (s->options.real == RC_FLOAT32) {
        float *A = (float *)s->work.A + at;
        const float *centre = s->centre ? (const float *)s->centre + at : NULL;
        for (int64_t i = 0; i < n; i++) A[i] = (float)((centre ? centre[i] : 0) - total[i]);
    } else {
        double *A = (double *)s->work.A + at;
        const double *centre = s->centre ? (const double *)s->centre + at : NULL;
        for (int64_t i = 0; i < n; i++) A[i] = (centre ? centre[i] : 0) - total[i];
    }
}

typedef struct {
    const rc_dual *s;
    double *V;
} renewal;

/* A, and V if it is wanted, of a part of the features */
static void renew_range(void *context, int64_t part, int thread)
{
    (void)thread;
    const renewal *r = context;
    const rc_dual *s = r->s;
    const int64_t first = s->D * part / s->n_blocks, end = s->D * (part + 1) / s->n_blocks, ld = s->work.ldw;
    if (s->sparse)
        for (int64_t d = first; d < end; d++) set_row(s, d * ld, s->totals[0] + d * s->C, s->C);
    else
        for (int64_t c = 0; c < s->C; c++) set_row(s, c * ld + first, s->totals[0] + c * ld + first, end - first);
    if (r->V) copy_total(s, s->C, first, end, r->V);
}

rc_status rc_dual_refresh(rc_dual *s, const rc_control *control, double *V, double *residual, double *linear_out,
                          double *largest_out, rc_error *error)
{
    const rc_dtype real = s->options.real;
    const rc_status status = sum_samples(s, control, 0, s->C, error);
    if (status != RC_OK) return status;
    double linear = 0, largest = 0;
    memset(s->work.residual, 0, (size_t)s->C * sizeof(double));
    for (int64_t a = 0; a < s->n_active; a++) {
        const int64_t i = s->active[a];
        double sum = 0;
        for (int64_t c = 0; c < s->C; c++) {
            const double g = number(s->work.dual, i * s->C + c, real);
            s->work.residual[c] += s->work.weight[i] * g;
            sum += s->C == 1 ? fabs(g) : c == s->work.label[i] ? 0 : g;
        }
        linear += s->work.weight[i] * sum;
        largest = sum > largest ? sum : largest;
    }
    rc_parallel_for(s->n_blocks, resolved(control).n_threads, renew_range, &(renewal){s, V});
    for (int64_t c = 0; c < s->C; c++) s->work.b[c] = s->centre_b[c] - s->work.intercept * s->work.residual[c];
    apply_prox(s);
    memcpy(residual, s->work.residual, (size_t)s->C * sizeof(double));
    *linear_out = linear;
    *largest_out = largest;
    return RC_OK;
}

rc_status rc_dual_class_sums(rc_dual *s, const rc_control *control, double *shares, double *out, rc_error *error)
{
    const int64_t n_rows = s->C == 1 ? 2 : s->C;
    const rc_status status = sum_samples(s, control, 1, n_rows, error);
    if (status != RC_OK) return status;
    for (int64_t c = 0; c < n_rows; c++) shares[c] = 0;
    for (int64_t a = 0; a < s->n_active; a++) shares[s->work.label[s->active[a]]] += s->work.weight[s->active[a]];
    copy_total(s, n_rows, 0, s->D, out);
    return RC_OK;
}

/* ---------------------------------------------------------------- parameters in and out */

static double metric_of(const rc_dual *s, int64_t d) { return s->metric ? s->options.metric[d] : 1; }

void rc_dual_set_centre(rc_dual *s, const void *W, const double *b, double step, double intercept_step)
{
    const rc_dtype real = s->options.real;
    const double inverse = step > 0 && s->centre ? 1 / step : 0;
    s->are_split = 0;
    for (int64_t d = 0; d < s->D && s->centre; d++)
        for (int64_t c = 0; c < s->C; c++) {
            const int64_t at = place(s, c, d);
            const double before = number(s->centre, at, real);
            put(s->centre, at, real, inverse > 0 ? inverse / metric_of(s, d) * number(W, c * s->D + d, real) : 0);
            put(s->work.A, at, real, number(s->work.A, at, real) - before + number(s->centre, at, real));
        }
    s->inverse_step = inverse;
    s->work.curvature = 1 / (2 * s->options.penalty.l2 + inverse);
    s->work.intercept = intercept_step;
    for (int64_t c = 0; c < s->C; c++) {
        s->centre_b[c] = b ? b[c] : 0;
        s->work.b[c] = s->centre_b[c] - intercept_step * s->work.residual[c];
    }
    apply_prox(s);
}

void rc_dual_parameters(const rc_dual *s, int averaged, void *W, double *b)
{
    const rc_dtype real = s->options.real;
    if (averaged && s->n_summed) {
        const double share = 1 / (double)s->n_summed;
        for (int64_t first = 0; first < s->D; first += TILE)
            for (int64_t c = 0; c < s->C; c++)
                for (int64_t d = first; d < s->D && d < first + TILE; d++)
                    put(W, c * s->D + d, real, share * number(s->sum, place(s, c, d), real));
        for (int64_t c = 0; c < s->C; c++) b[c] = share * s->sum_b[c];
        return;
    }
    const void *from = s->work.W ? s->work.W : s->work.A;
    const double l1 = s->work.l1, group = s->work.group;
    for (int64_t d = 0; d < s->D; d++) {
        double factor = s->work.curvature * metric_of(s, d);
        if (s->sparse && group > 0) {
            double square = 0;
            for (int64_t c = 0; c < s->C; c++) {
                const double a = number(from, place(s, c, d), real);
                square += a * a;
            }
            factor *= sqrt(square) > group ? 1 - group / sqrt(square) : 0;
        }
        for (int64_t c = 0; c < s->C; c++) {
            double a = number(from, place(s, c, d), real);
            if (s->sparse && l1 > 0) a = a > l1 ? a - l1 : a < -l1 ? a + l1 : 0;
            put(W, c * s->D + d, real, factor * a);
        }
    }
    memcpy(b, s->work.b, (size_t)s->C * sizeof(double));
}

void rc_dual_get_state(const rc_dual *s, rc_dual_state *state)
{
    const rc_dtype real = s->options.real;
    memcpy(state->slopes, s->work.dual, (size_t)(s->N * s->C) * s->k->real_size);
    for (int64_t d = 0; d < s->D; d++)
        for (int64_t c = 0; c < s->C; c++)
            put(state->centre, c * s->D + d, real, s->centre ? number(s->centre, place(s, c, d), real) : 0);
    for (int64_t first = 0; first < s->D; first += TILE)
        for (int64_t c = 0; c < s->C; c++)
            for (int64_t d = first; d < s->D && d < first + TILE; d++)
                put(state->A, c * s->D + d, real, number(s->work.A, place(s, c, d), real));
    memcpy(state->residual, s->work.residual, (size_t)s->C * sizeof(double));
    memcpy(state->centre_b, s->centre_b, (size_t)s->C * sizeof(double));
    memcpy(state->wait, s->work.wait, (size_t)s->N);
    memcpy(state->patience, s->work.patience, (size_t)s->N);
    state->curvature = s->work.curvature;
    state->inverse_step = s->inverse_step;
    state->intercept = s->work.intercept;
    state->spread = s->work.spread;
    state->epoch = s->epoch;
}

void rc_dual_set_state(rc_dual *s, const rc_dual_state *state)
{
    const rc_dtype real = s->options.real;
    memcpy(s->work.dual, state->slopes, (size_t)(s->N * s->C) * s->k->real_size);
    for (int64_t d = 0; d < s->D && s->centre; d++)
        for (int64_t c = 0; c < s->C; c++)
            put(s->centre, place(s, c, d), real, number(state->centre, c * s->D + d, real));
    memcpy(s->centre_b, state->centre_b, (size_t)s->C * sizeof(double));
    memcpy(s->work.wait, state->wait, (size_t)s->N);
    memcpy(s->work.patience, state->patience, (size_t)s->N);
    s->work.curvature = state->curvature;
    s->inverse_step = state->inverse_step;
    s->work.intercept = state->intercept;
    s->work.spread = state->spread;
    s->epoch = state->epoch;
    for (int64_t d = 0; d < s->D; d++)
        for (int64_t c = 0; c < s->C; c++) put(s->work.A, place(s, c, d), real, number(state->A, c * s->D + d, real));
    for (int64_t c = 0; c < s->C; c++) {
        s->work.residual[c] = state->residual[c];
        s->work.b[c] = s->centre_b[c] - s->work.intercept * s->work.residual[c];
    }
    s->are_split = 0;
    apply_prox(s);
}

void rc_dual_slopes(const rc_dual *s, void *slopes)
{
    memcpy(slopes, s->work.dual, (size_t)(s->N * s->C) * s->k->real_size);
}

/* ---------------------------------------------------------------- beginning and end */

static void *carve(char *memory, size_t *used, int64_t n, size_t size)
{
    void *p = memory ? memory + *used : NULL;
    *used += ((size_t)n * size + 127) / 64 * 64;
    return p;
}

/* Bytes of all buffers, and pointers to them */
static size_t layout(rc_dual *s, char *memory)
{
    const size_t size = s->k->real_size;
    rc_dual_work *w = &s->work;
    const int64_t C = s->C, sums = C > 1 ? C : 2, n_A = length_of_A(s) + s->k->lanes;
    const int thresholds = s->options.penalty.l1 > 0 || s->options.penalty.group > 0;
    size_t used = 0;
    w->A = carve(memory, &used, n_A, size);
    w->W = carve(memory, &used, thresholds && !s->sparse ? n_A : 0, size);
    s->totals[0] = carve(memory, &used, s->sparse ? s->D * sums : sums * w->ldw, sizeof(double));
    if (s->n_blocks > 1) {
        /* the sums of the second block lie where the blocks' weights are, which are made anew in every epoch */
        const size_t weights = ((size_t)n_A * size + 63) / 64 * 64, total = (size_t)(s->D * sums) * sizeof(double);
        char *shared = carve(memory, &used, (int64_t)(2 * weights > total ? 2 * weights : total), 1);
        for (int b = 0; b < N_BLOCKS && shared; b++) s->blocks[b].A = shared + (size_t)b * weights;
        s->totals[1] = (double *)(void *)shared;
    }
    for (int b = 0; b < N_BLOCKS && s->n_blocks > 1; b++) {
        s->blocks[b].b = carve(memory, &used, C, sizeof(double));
        s->blocks[b].residual = carve(memory, &used, C, sizeof(double));
        s->blocks[b].scratch = carve(memory, &used, DUAL_SCRATCH(C), sizeof(double));
    }
    s->centre = carve(memory, &used, s->options.proximal ? n_A : 0, size);
    w->dual = carve(memory, &used, s->N * C, size);
    w->weight = carve(memory, &used, s->N, sizeof(double));
    w->square = carve(memory, &used, s->N, sizeof(double));
    w->label = carve(memory, &used, s->N, sizeof *w->label);
    w->wait = carve(memory, &used, s->N, 1);
    w->patience = carve(memory, &used, s->N, 1);
    s->active = carve(memory, &used, s->N, sizeof *s->active);
    s->order = carve(memory, &used, s->N + SPARSE_ROWS, sizeof *s->order);
    w->b = carve(memory, &used, C, sizeof(double));
    w->residual = carve(memory, &used, C, sizeof(double));
    s->centre_b = carve(memory, &used, C, sizeof(double));
    s->sum = carve(memory, &used, n_A, size);
    s->sum_b = carve(memory, &used, C, sizeof(double));
    w->scratch = carve(memory, &used, DUAL_SCRATCH(C), sizeof(double));
    s->factors = carve(memory, &used, (s->sparse ? N_BLOCKS : s->load) * sums, sizeof(double));
    s->factor = carve(memory, &used, s->options.scale ? s->D : 0, sizeof(double));
    s->sources = carve(memory, &used, s->load, sizeof *s->sources);
    s->row_pointers = carve(memory, &used, s->load, sizeof *s->row_pointers);
    s->rows = carve(memory, &used, s->sparse ? 0 : s->load * w->ldw + s->k->lanes, size);
    s->metric = carve(memory, &used, s->options.metric ? s->D + s->k->lanes * 2 : 0, size);
    s->metric_rows = carve(memory, &used, s->options.metric && !s->sparse ? s->load * w->ldw + s->k->lanes : 0, size);
    if (!s->options.metric) s->metric = NULL;
    if (!(thresholds && !s->sparse)) w->W = NULL;
    if (!s->options.proximal) s->centre = NULL;
    if (!s->options.scale) s->factor = NULL;
    return used;
}

static rc_status check_options(const rc_problem *problem, const rc_dual_options *q, rc_error *error)
{
    if (q->real != RC_FLOAT32 && q->real != RC_FLOAT64)
        return fail(error, RC_ERROR_ARGUMENT, "W", "must be float32 or float64");
    if (problem->loss == RC_SQUARED_HINGE)
        return fail(error, RC_ERROR_ARGUMENT, "loss", "must be hinge, crammer_singer or cross_entropy");
    if (!problem->y.data) return fail(error, RC_ERROR_ARGUMENT, "y", "is missing");
    if (problem->n_models != 1) return fail(error, RC_ERROR_ARGUMENT, "W", "must be one model");
    if (problem->n_classes == 1 && problem->loss == RC_CRAMMER_SINGER)
        return fail(error, RC_ERROR_ARGUMENT, "loss", "crammer_singer has no binary form");
    if (problem->X.indices && q->center)
        return fail(error, RC_ERROR_ARGUMENT, "standardize", "must not move the features of a CSR matrix");
    if (q->penalty.l1 != 0 && q->penalty.group != 0)
        return fail(error, RC_ERROR_ARGUMENT, "penalty", "must not have an L1 and a group part at once");
    if (q->metric && (!q->proximal || q->penalty.l2 > 0))
        return fail(error, RC_ERROR_ARGUMENT, "metric", "is for a centre, and a penalty without an L2 part");
    if (!q->proximal && !(q->penalty.l2 > 0))
        return fail(error, RC_ERROR_ARGUMENT, "penalty", "must have an L2 part where no proximal step is taken");
    return RC_OK;
}

/* ||x||^2 of a CSR row whose columns may repeat; `scratch` (D,) is and stays zero. */
static double sparse_square(const rc_dual *s, int64_t row, void *values, double *scratch)
{
    const rc_matrix *X = &s->problem.X;
    const int64_t first = row_start(X, row), n = row_start(X, row + 1) - first;
    const char *source = (const char *)X->data + first * rc_item_size(X->dtype);
    double square = 0;
    if (n) s->k->pack_rows(&source, X->dtype, rc_item_size(X->dtype), 1, n, values, n);
    for (int64_t k = 0; k < n; k++) {
        const int64_t d = column_of(X, first + k);
        scratch[d] += number(values, k, s->options.real) * (s->factor ? s->factor[d] : 1);
    }
    for (int64_t k = 0; k < n; k++) {
        double *at = scratch + column_of(X, first + k);
        square += *at * *at * (s->metric ? s->options.metric[column_of(X, first + k)] : 1);
        *at = 0;
    }
    return square;
}

/* sum of metric x^2 of row r of those loaded */
static double dense_square(const rc_dual *s, int64_t r)
{
    const void *x = offset(s->rows, r * s->work.ldw, s->k->real_size);
    double square = 0;
    if (!s->metric) return s->k->penalty_value(x, s->work.ldw, 0, 1);
    for (int64_t d = 0; d < s->D; d++) {
        const double value = number(x, d, s->options.real);
        square += s->options.metric[d] * value * value;
    }
    return square;
}

/* Labels, shares of the weights, squared norms; every number of X is seen here. */
static rc_status read_samples(rc_dual *s, const rc_control *control, rc_error *error)
{
    const rc_problem *problem = &s->problem;
    const rc_matrix *X = &problem->X;
    const rc_rows all = {NULL, 0, 1, s->N};
    const rc_kernels *wide = rc_kernels_for(RC_FLOAT64);
    struct timespec polled = {0, 0};
    rc_dual_work *w = &s->work;
    double sum = 0, longest = 0;
    void *values = NULL;

    /* labels pass through `square`, which holds them exactly */
    wide->load_vector(&problem->y, &all, 0, s->N, s->N, w->square);
    for (int64_t i = 0; i < s->N; i++) {
        w->label[i] = (int32_t)w->square[i];
        w->weight[i] = 1;
    }
    if (problem->weights.data) wide->load_vector(&problem->weights, &all, 0, s->N, s->N, w->weight);
    for (int64_t i = 0; i < s->N; i++) sum += w->weight[i];
    for (int64_t i = 0; i < s->N; i++) {
        w->weight[i] /= sum;
        if (w->weight[i] > 0) s->active[s->n_active++] = i;
    }
    if (s->sparse) {
        for (int64_t i = 0; i < s->N; i++) {
            const double length = (double)(row_start(X, i + 1) - row_start(X, i));
            longest = length > longest ? length : longest;
        }
        values = malloc(((size_t)longest + 1) * s->k->real_size);
        if (!values) return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    }
    double check = 0;
    rc_status status = RC_OK;
    for (int64_t a = 0, n; a < s->n_active && status == RC_OK; a += n) {
        n = s->n_active - a < s->load ? s->n_active - a : s->load;
        if (!s->sparse) load_rows(s, s->active + a, n);
        for (int64_t r = 0; r < n; r++) {
            const int64_t i = s->active[a + r];
            w->square[i] = s->sparse ? sparse_square(s, i, values, s->totals[0]) : dense_square(s, r);
            check += w->square[i] * 0;
        }
        if (a % 1024 < n && asked_to_stop(control, &polled)) status = fail(error, RC_INTERRUPTED, "", "interrupted");
    }
    free(values);
    if (status != RC_OK || check == 0) return status;
    const rc_rows seen = {s->active, 0, 1, s->n_active};
    if (rc_find_not_finite(problem, &seen, error)) return RC_ERROR_NOT_FINITE;
    return fail(error, RC_ERROR_OVERFLOW, "X", "finite, but too large for the compute type");
}

rc_status rc_dual_create(const rc_problem *problem, const rc_dual_options *options, const rc_control *control,
                         rc_dual **dual, rc_error *error)
{
    rc_status status = check_options(problem, options, error);
    if (status != RC_OK) return status;
    rc_dual *s = calloc(1, sizeof *s);
    if (!s) return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    const rc_matrix *X = &problem->X;
    s->problem = *problem;
    s->options = *options;
    s->k = rc_kernels_for(options->real);
    s->N = X->n_rows;
    s->D = X->n_columns;
    s->C = problem->n_classes;
    s->sparse = X->indices != NULL;
    s->csr = (rc_csr){X->data, X->indices, X->indptr, X->dtype, X->index_dtype, X->nnz, NULL};
    rc_dual_work *w = &s->work;
    const int64_t lanes = s->k->lanes, size = (int64_t)s->k->real_size;
    w->loss = problem->loss;
    w->C = s->C;
    s->is_averaged = problem->loss != RC_CROSS_ENTROPY;
    s->joins = problem->loss == RC_CROSS_ENTROPY ? SMOOTH_JOINS : JOINS;
    s->n_blocks = 1;
    if (s->sparse) {
        for (int64_t c = 0; c < s->C;) {
            const int64_t panel = s->k->csr_panel(s->C - c);
            w->ldw += panel;
            c += panel;
        }
        s->load = SPARSE_ROWS;
        s->run = 1;
        if ((double)X->nnz * (double)s->C >= LEAST_WORK && X->nnz >= LEAST_PER_COLUMN * s->D) s->n_blocks = N_BLOCKS;
    } else {
        w->n_vectors = (s->D + lanes - 1) / lanes;
        w->ldw = w->n_vectors * lanes;
        if (w->ldw * size % 1024 == 0) w->ldw += lanes; /* the classes of a column must not share a cache set */
        const int by_columns = X->column_stride != rc_item_size(X->dtype) && X->row_stride == rc_item_size(X->dtype);
        const int64_t fitting = LOAD_BYTES / (s->D * size);
        s->load = by_columns || fitting > MOST_LOADED ? MOST_LOADED : fitting > 1 ? fitting : 1;
        /* where features are contiguous, a cache line has several samples: they are visited together */
        s->run = by_columns ? MOST_LOADED : 1;
    }
    const size_t bytes = (layout(s, NULL) + 127) / 64 * 64;
    const size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
    s->memory = calloc(bytes + alignment, 1); /* whoever needs a page first pays for it */
    if (!s->memory) {
        free(s);
        return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    }
    char *start = s->memory + (alignment - (uintptr_t)s->memory % alignment);
    ask_for_huge_pages(start, bytes);
    layout(s, start);
    for (int64_t d = 0; d < s->D && s->factor; d++) s->factor[d] = 1 / options->scale[d];
    for (int64_t r = 0; r < s->load && !s->sparse; r++)
        s->row_pointers[r] = offset(s->rows, r * w->ldw, s->k->real_size);
    for (int64_t d = 0; d < s->D && s->metric; d++) put(s->metric, d, options->real, options->metric[d]);
    w->metric = s->metric;
    w->l1 = options->penalty.l1;
    w->group = options->penalty.group;
    w->curvature = options->penalty.l2 > 0 ? 1 / (2 * options->penalty.l2) : 0;
    w->spread = (double)s->n_blocks;
    status = read_samples(s, control, error);
    if (status != RC_OK) {
        rc_dual_free(s);
        return status;
    }
    *dual = s;
    return RC_OK;
}

void rc_dual_free(rc_dual *s)
{
    if (!s) return;
    free(s->memory);
    free(s);
}
