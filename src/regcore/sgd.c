/*
 * Mini-batch proximal stochastic gradient descent: the loop over the batches of an epoch.
 *
 * A batch is a few rows of the shuffled order; it goes through the kernels of the block driver, on one thread, and one
 * kernel then takes the step, the penalty's proximal map and the average together.  W stays in the shape that the
 * scores want (rows packed or plain, CSR transposed) from the first epoch to the last.
 *
 * CSR: a column that the batch does not touch moves by its penalty alone, so its steps can wait until a sample has it.
 * With s_t = 1 / (1 + 2 eta_t l2) and r_t = eta_t l1 (or group, and |w| the norm of the column), a step is
 * |w| <- s_t max(|w| - r_t, 0); with scale_t = prod_{i <= t} s_i and drop_t = sum_{i <= t} r_i / scale_{i-1}, after the
 * steps from + 1 .. t
 *
 *     |w_t| = scale_t max(|w_from| / scale_from - (drop_t - drop_from), 0)
 *
 * (after Langford, Li and Zhang, "Sparse online learning via truncated gradient", JMLR 10, 2009, and Lipton and Elkan,
 * "Efficient elastic net regularization for sparse linear models", 2015).  The sum over these steps, which an average
 * needs, follows from the running sums of scale_t and scale_t drop_t.  All of it is kept for a window of steps, after
 * which every column is brought up to date.
 *
 * Random numbers: SplitMix64 (Steele, Lea and Flood, 2014), started anew in every epoch from the seed and its number.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "plan.h"
#include "poll.h"
#include "random.h"

enum {
    SMALLEST_WINDOW = 256,
    LARGEST_WINDOW = 1 << 18,
    WORK_PER_POLL = 1 << 18, /* multiply-adds between two looks at the clock */
    ROWS_PER_POLL = 1 << 20, /* of the shuffle */
    POWER_STEPS = 8
};
#define SMALLEST_SCALE 1e-30

struct rc_sgd {
    rc_problem problem;
    rc_sgd_options options;
    rc_plan plan;
    rc_scratch scratch;
    char *memory;
    int64_t *order;
    double weight_sum;
    int64_t epoch, t, n_averaged;

    int changes_rows;       /* standardises or drops features: the block must be a packed copy */
    double *factor;         /* 1 / scale */
    int64_t ldw, ldg, tail; /* row lengths of W and G; what of a row stands at its end */
    void *W, *b, *G, *V;    /* V: velocity, or NULL */
    double *grad_b, *V_b;
    double *sum, *sum_b; /* of the averaged steps, shaped like W; or NULL */

    /* CSR */
    int64_t *all, *columns, n_columns; /* all columns; those of the batch */
    int64_t *up_to;                    /* (D,) the step in the window that a column is up to date with */
    uint8_t *in_batch;
    double *threshold, *shrink; /* of each entry of `columns` */
    int64_t window;
    rc_lazy lazy;
    void *values; /* dropout: the nonzeros of a block */
    int64_t *indices, *indptr, capacity;
};

/* ---------------------------------------------------------------- random order */

/* Places [first, end) of a random order of n (Fisher and Yates); `order` holds 0 .. n-1 before the first of them. */
static void shuffle(int64_t *order, int64_t n, int64_t first, int64_t end, uint64_t *state)
{
    for (int64_t i = first; i < end && i < n - 1; i++) {
        const int64_t j = i + random_below(state, n - i), other = order[j];
        order[j] = order[i];
        order[i] = other;
    }
}

/* ---------------------------------------------------------------- a batch */

/* Rows [first, first + n) of the order, as rows at, at + 1, ... of the block */
static void load_rows(rc_sgd *s, int64_t first, int64_t at, int64_t n)
{
    const rc_plan *p = &s->plan;
    const rc_sgd_options *q = &s->options;
    const int by_columns = p->gradient_view == BY_COLUMNS;
    rc_load_rows(p, &s->scratch, first, at, n);
    if (!s->changes_rows) return;
    const void **x = by_columns ? s->scratch.x_columns : s->scratch.x_rows + at;
    if (q->center || s->factor) p->k->standardize_block((void *const *)x, n, p->D, by_columns, q->center, s->factor);
    if (q->dropout == 0) return;
    const uint32_t threshold = (uint32_t)(q->dropout * 4294967296.0);
    for (int64_t r = 0; r < n; r++) {
        const uint64_t key = mix64(mix64(q->seed + (uint64_t)s->epoch) + (uint64_t)rc_row_at(&p->rows, first + r));
        void *values = by_columns ? offset(s->scratch.packed_columns, r, p->k->real_size) : (void *)(uintptr_t)x[r];
        p->k->drop_features(values, NULL, p->D, by_columns ? p->column_ld : 1, (uint32_t)key, threshold,
                            1 / (1 - q->dropout));
    }
}

/* The nonzeros of a block, some of them dropped, as a matrix of their own; its rows are 0 .. n-1. */
static rc_status drop_block(rc_sgd *s, int64_t n, rc_csr *csr)
{
    const rc_matrix *X = &s->problem.X;
    const rc_plan *p = &s->plan;
    const rc_sgd_options *q = &s->options;
    int64_t nnz = 0;
    for (int64_t r = 0; r < n; r++)
        nnz += row_start(X, s->scratch.row_ids[r] + 1) - row_start(X, s->scratch.row_ids[r]);
    if (nnz > s->capacity) {
        s->capacity = 0;
        free(s->values);
        free(s->indices);
        s->values = malloc((size_t)nnz * p->k->real_size);
        s->indices = malloc((size_t)nnz * sizeof(int64_t));
        if (!s->values || !s->indices) return RC_ERROR_MEMORY;
        s->capacity = nnz;
    }
    const uint32_t threshold = (uint32_t)(q->dropout * 4294967296.0);
    int64_t at = 0;
    for (int64_t r = 0; r < n; r++) {
        const int64_t row = s->scratch.row_ids[r], first = row_start(X, row), length = row_start(X, row + 1) - first;
        const char *source = (const char *)X->data + first * rc_item_size(X->dtype);
        void *values = offset(s->values, at, p->k->real_size);
        s->indptr[r] = at;
        for (int64_t k = 0; k < length; k++) s->indices[at + k] = column_of(X, first + k);
        if (length) p->k->pack_rows(&source, X->dtype, rc_item_size(X->dtype), 1, length, values, length);
        const uint64_t key = mix64(mix64(q->seed + (uint64_t)s->epoch) + (uint64_t)row);
        p->k->drop_features(values, s->indices + at, length, 1, (uint32_t)key, threshold, 1 / (1 - q->dropout));
        at += length;
        s->scratch.row_ids[r] = r;
    }
    s->indptr[n] = at;
    *csr = (rc_csr){s->values, s->indices, s->indptr, s->options.real, RC_INT64, nnz, NULL};
    return RC_OK;
}

/* Adds the gradient over rows [first, first + n) to G and grad_b, and their loss to *loss. */
static rc_status add_block(rc_sgd *s, int64_t first, int64_t n, double *loss)
{
    static const double one = 1;
    const rc_plan *p = &s->plan;
    const rc_problem *problem = &s->problem;
    const rc_matrix *X = &problem->X;
    rc_scratch *scratch = &s->scratch;
    const int64_t padded = round_up(n, p->k->lanes);
    rc_csr csr = {X->data, X->indices, X->indptr, X->dtype, X->index_dtype, X->nnz, NULL};
    rc_ahead ahead = {X->data, X->data, 0};

    for (int64_t at = 0, rows; at < n; at += rows) {
        rows = n - at < p->load ? n - at : p->load;
        const void *const *x = scratch->x_rows + at;
        void *S = offset(scratch->S, at, p->k->real_size);
        load_rows(s, first + at, at, rows);
        if (p->sparse) {
            if (s->options.dropout > 0 && drop_block(s, n, &csr) != RC_OK) return RC_ERROR_MEMORY;
            p->k->scores_csr(&csr, scratch->row_ids, n, &(rc_table){s->W, 1, s->ldw}, s->b, p->C, S, p->ld);
        } else if (p->scores_view == BY_ROWS)
            p->k->scores_rows(s->W, s->b, p->C, x, p->stored, rows, &p->shape, &ahead, S, p->ld);
        else if (p->scores_view == BY_COLUMNS)
            p->k->scores_columns(s->W, s->b, p->C, p->D, scratch->x_columns, padded, &ahead, S, p->ld);
        else
            p->k->scores_transposed(s->W, s->b, p->C, p->D, x, round_up(rows, p->k->lanes), &ahead, scratch->piece, S,
                                    p->ld);
    }

    const rc_vector w = problem->weights.data ? problem->weights : (rc_vector){&one, RC_FLOAT64, 0};
    double check = 0;
    rc_load_labels(p, scratch, first, n);
    p->k->load_vector(&w, &p->rows, first, n, padded, scratch->w);
    *loss += rc_block_loss(p, scratch, scratch->S, n, &check);
    if (check != 0) return RC_ERROR_OVERFLOW; /* NaN */

    if (s->options.intercept_rate > 0) p->k->row_sums(scratch->S, p->ld, p->C, padded, s->grad_b);
    if (p->sparse)
        p->k->gradient_csr(&csr, scratch->row_ids, n, scratch->S, p->ld, p->C, &(rc_table){s->G, 1, s->ldw});
    else if (p->gradient_view == BY_ROWS)
        p->k->gradient_rows(scratch->S, p->ld, p->C, scratch->x_rows, p->stored, n, &p->shape, &ahead, s->G);
    else
        p->k->gradient_columns(scratch->S, p->ld, p->C, p->D, scratch->x_columns, padded, &ahead, s->G);
    return RC_OK;
}

/* ---------------------------------------------------------------- CSR: what has waited */

static void bring_up_to_date(rc_sgd *s, const int64_t *columns, int64_t n)
{
    const rc_lazy *z = &s->lazy;
    const int group = s->options.penalty.group != 0;
    if (z->now == 0) return;
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = s->up_to[columns[i]];
        s->threshold[i] = z->scale[from] * (z->drop[z->now] - z->drop[from]);
        s->shrink[i] = z->scale[z->now] / z->scale[from];
    }
    if (s->sum) s->plan.k->average_columns(columns, n, s->up_to, z, group, s->W, s->ldw, s->sum);
    s->plan.k->prox_columns(columns, n, s->threshold, s->shrink, group, s->W, s->ldw);
    for (int64_t i = 0; i < n; i++) s->up_to[columns[i]] = z->now;
}

static void end_window(rc_sgd *s)
{
    bring_up_to_date(s, s->all, s->plan.D);
    memset(s->up_to, 0, (size_t)s->plan.D * sizeof *s->up_to);
    s->lazy.now = 0;
    s->lazy.scale[0] = 1;
    s->lazy.drop[0] = s->lazy.scale_sum[0] = s->lazy.product_sum[0] = 0;
}

/* The columns of rows [first, first + n), each once, up to date */
static void gather_columns(rc_sgd *s, int64_t first, int64_t n)
{
    const rc_matrix *X = &s->problem.X;
    s->n_columns = 0;
    for (int64_t r = first; r < first + n; r++) {
        const int64_t end = row_start(X, s->order[r] + 1);
        for (int64_t k = row_start(X, s->order[r]); k < end; k++) {
            const int64_t d = column_of(X, k);
            s->columns[s->n_columns] = d;
            s->n_columns += !s->in_batch[d];
            s->in_batch[d] = 1;
        }
    }
    for (int64_t i = 0; i < s->n_columns; i++) s->in_batch[s->columns[i]] = 0;
    bring_up_to_date(s, s->columns, s->n_columns);
}

/* ---------------------------------------------------------------- a step */

static void take_step(rc_sgd *s, int64_t n)
{
    const rc_plan *p = &s->plan;
    const rc_sgd_options *q = &s->options;
    const double share = (double)n / (double)q->batch_size;
    const double pace = 1 + q->rate * (double)s->t;
    const double eta = q->eta0 / (q->power == 0 ? 1 : q->power == 1 ? pace : pow(pace, q->power));
    /* G is a sum, with weights of any mean */
    const double mean = (double)p->rows.n / (s->weight_sum * (double)q->batch_size);
    const double shrink = 1 / (1 + 2 * eta * share * q->penalty.l2);
    const int group = q->penalty.group != 0, averages = s->sum && s->t >= q->average_from;
    const double threshold = eta * share * (group ? q->penalty.group : q->penalty.l1);
    const rc_step step = {eta * mean, q->momentum, threshold, shrink, group};

    if (p->sparse) {
        rc_lazy *z = &s->lazy;
        const int64_t now = z->now;
        p->k->step_columns(s->columns, s->n_columns, s->W, s->G, s->V, averages ? s->sum : NULL, s->ldw, &step);
        z->drop[now + 1] = z->drop[now] + threshold / z->scale[now];
        z->scale[now + 1] = z->scale[now] * shrink;
        z->scale_sum[now + 1] = z->scale_sum[now] + (averages ? z->scale[now + 1] : 0);
        z->product_sum[now + 1] = z->product_sum[now] + (averages ? z->scale[now + 1] * z->drop[now + 1] : 0);
        z->now = now + 1;
        for (int64_t i = 0; i < s->n_columns; i++) s->up_to[s->columns[i]] = z->now;
    } else if (group) {
        const rc_step plain = {step.step, step.momentum, 0, shrink, 0}, nothing = {0, 0, 0, 1, 0};
        p->k->sgd_step(s->W, s->ldw, s->G, s->ldg, s->V, NULL, p->C, p->D, s->tail, &plain);
        p->k->group_prox(s->W, p->C, s->ldw, threshold * shrink, s->W);
        if (averages) p->k->sgd_step(s->W, s->ldw, s->G, s->ldg, NULL, s->sum, p->C, p->D, s->tail, &nothing);
    } else
        p->k->sgd_step(s->W, s->ldw, s->G, s->ldg, s->V, averages ? s->sum : NULL, p->C, p->D, s->tail, &step);

    if (q->intercept_rate > 0)
        for (int64_t c = 0; c < p->C; c++) {
            s->V_b[c] = q->momentum * s->V_b[c] + s->grad_b[c];
            put(s->b, c, q->real, number(s->b, c, q->real) - step.step * q->intercept_rate * s->V_b[c]);
            s->grad_b[c] = 0;
        }
    if (averages) {
        for (int64_t c = 0; c < p->C; c++) s->sum_b[c] += number(s->b, c, q->real);
        s->n_averaged++;
    }
    s->t++;
    if (p->sparse && (s->lazy.now == s->window || s->lazy.scale[s->lazy.now] < SMALLEST_SCALE)) end_window(s);
}

/* R(W), all columns being up to date */
static double penalty_value(const rc_sgd *s)
{
    const rc_plan *p = &s->plan;
    const rc_penalty *r = &s->options.penalty;
    const int64_t n_rows = p->sparse ? p->D : p->C;
    double value = p->k->penalty_value(s->W, n_rows * s->ldw, r->l1, r->l2), norms = 0;
    if (r->group == 0) return value;
    if (!p->sparse) return value + r->group * p->k->group_value(s->W, p->C, s->ldw);
    for (int64_t d = 0; d < p->D; d++) {
        double square = 0;
        for (int64_t c = 0; c < p->C; c++) {
            const double w = number(s->W, d * s->ldw + c, s->options.real);
            square += w * w;
        }
        norms += sqrt(square);
    }
    return value + r->group * norms;
}

/* A score was not finite: X itself, or W has grown beyond all bounds */
static rc_status blame(const rc_sgd *s, const rc_control *control, rc_error *error)
{
    const rc_plan *p = &s->plan;
    const rc_rows all = {NULL, 0, 1, s->problem.X.n_rows};
    double value;
    void *zeros = calloc((size_t)(p->C * p->D), p->k->real_size);
    if (!zeros) return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    const rc_parameters parameters = {.real = s->options.real, .W = zeros};
    rc_gradient out = {.value = &value};
    rc_status status = rc_evaluate(&s->problem, &all, &parameters, control, &out, error);
    free(zeros);
    if (status == RC_OK)
        status = fail(error, RC_ERROR_OVERFLOW, "eta0", "too large for these features: the weights grow without end");
    return status;
}

rc_status rc_sgd_epoch(rc_sgd *s, const rc_control *control, double *value, rc_error *error)
{
    const rc_plan *p = &s->plan;
    const rc_sgd_options *q = &s->options;
    const int64_t N = p->rows.n;
    const double numbers_per_row = p->sparse ? (double)s->problem.X.nnz / (double)s->problem.X.n_rows : (double)p->D;
    struct timespec polled = {0, 0};
    double loss = 0, work = 0;
    rc_status status = RC_OK;

    uint64_t random = mix64(mix64(q->seed) + (uint64_t)s->epoch);
    for (int64_t i = 0; i < N; i++) s->order[i] = i;
    for (int64_t first = 0; first < N && status == RC_OK; first += ROWS_PER_POLL) {
        shuffle(s->order, N, first, first + ROWS_PER_POLL, &random);
        if (asked_to_stop(control, &polled)) status = fail(error, RC_INTERRUPTED, "", "interrupted");
    }
    for (int64_t first = 0; first < N && status == RC_OK; first += q->batch_size) {
        const int64_t n = N - first < q->batch_size ? N - first : q->batch_size;
        if (p->sparse && !s->V) gather_columns(s, first, n);
        if (p->sparse && s->V) work += (double)(p->D * s->ldw);
        for (int64_t done = 0; done < n && status == RC_OK; done += p->block) {
            const int64_t rows = n - done < p->block ? n - done : p->block;
            work += (double)rows * numbers_per_row * (double)p->C;
            if (work > WORK_PER_POLL) {
                work = 0;
                if (asked_to_stop(control, &polled)) status = fail(error, RC_INTERRUPTED, "", "interrupted");
            }
            if (status == RC_OK) status = add_block(s, first + done, rows, &loss);
        }
        if (status == RC_OK) take_step(s, n);
    }
    s->epoch++;
    if (p->sparse) end_window(s);
    if (status == RC_OK) {
        *value = loss / s->weight_sum + penalty_value(s);
        return RC_OK;
    }
    /* what a batch left behind */
    memset(s->G, 0, (size_t)(p->sparse ? p->D * s->ldw : p->C * s->ldg) * p->k->real_size);
    memset(s->grad_b, 0, (size_t)p->C * sizeof(double));
    if (status == RC_ERROR_OVERFLOW) return blame(s, control, error);
    return status == RC_ERROR_MEMORY ? fail(error, status, "", "out of memory") : status;
}

/* ---------------------------------------------------------------- parameters in and out */

/* Where W[c][d] is in the shape that the loop keeps */
static int64_t place(const rc_sgd *s, int64_t c, int64_t d)
{
    const rc_plan *p = &s->plan;
    if (p->sparse) return d * s->ldw + c;
    return c * s->ldw + (d < p->D - s->tail ? d : s->ldw - p->D + d);
}

void rc_sgd_parameters(rc_sgd *s, int averaged, void *W, void *b)
{
    const rc_plan *p = &s->plan;
    const rc_dtype real = s->options.real;
    averaged = averaged && s->n_averaged > 0;
    const double share = averaged ? 1 / (double)s->n_averaged : 1;
    for (int64_t c = 0; c < p->C; c++) {
        for (int64_t d = 0; d < p->D; d++) {
            const int64_t i = place(s, c, d);
            put(W, c * p->D + d, real, averaged ? share * s->sum[i] : number(s->W, i, real));
        }
        if (b) put(b, c, real, averaged ? share * s->sum_b[c] : number(s->b, c, real));
    }
}

void rc_sgd_set_eta0(rc_sgd *s, double eta0) { s->options.eta0 = eta0; }

/* Between two epochs nothing waits (CSR: end_window), and the order of the rows is made anew. */
void rc_sgd_get_state(const rc_sgd *s, rc_sgd_state *state)
{
    const rc_plan *p = &s->plan;
    const rc_dtype real = s->options.real;
    for (int64_t c = 0; c < p->C; c++) {
        for (int64_t d = 0; d < p->D; d++) {
            const int64_t from = place(s, c, d), to = c * p->D + d;
            put(state->W, to, real, number(s->W, from, real));
            if (s->V) put(state->V, to, real, number(s->V, from, real));
            if (s->sum) state->sum[to] = s->sum[from];
        }
        put(state->b, c, real, number(s->b, c, real));
        state->V_b[c] = s->V_b[c];
        state->sum_b[c] = s->sum_b[c];
    }
    state->epoch = s->epoch;
    state->t = s->t;
    state->n_averaged = s->n_averaged;
}

void rc_sgd_set_state(rc_sgd *s, const rc_sgd_state *state)
{
    const rc_plan *p = &s->plan;
    const rc_dtype real = s->options.real;
    for (int64_t c = 0; c < p->C; c++) {
        for (int64_t d = 0; d < p->D; d++) {
            const int64_t to = place(s, c, d), from = c * p->D + d;
            put(s->W, to, real, number(state->W, from, real));
            if (s->V) put(s->V, to, real, number(state->V, from, real));
            if (s->sum) s->sum[to] = state->sum[from];
        }
        put(s->b, c, real, number(state->b, c, real));
        s->V_b[c] = state->V_b[c];
        s->sum_b[c] = state->sum_b[c];
    }
    s->epoch = state->epoch;
    s->t = state->t;
    s->n_averaged = state->n_averaged;
}

/* ---------------------------------------------------------------- beginning and end */

static void *carve(char *memory, size_t *used, int64_t n, size_t size)
{
    void *p = memory ? memory + *used : NULL;
    *used += ((size_t)n * size + 127) / 64 * 64;
    return p;
}

/* Bytes of all buffers, and pointers to them */
static size_t layout(rc_sgd *s, char *memory)
{
    const rc_plan *p = &s->plan;
    const rc_sgd_options *q = &s->options;
    const size_t size = p->k->real_size;
    const int64_t rows = p->sparse ? p->D : p->C, n_W = rows * s->ldw + p->k->lanes;
    const int64_t n_G = (p->sparse ? rows * s->ldw : rows * s->ldg) + p->k->lanes;
    const int64_t n_lazy = p->sparse ? s->window + 1 : 0, n_columns = p->sparse ? p->D : 0;
    const int averages = q->average_from >= 0, moves = q->momentum > 0;
    rc_scratch probe;
    size_t used = 0;
    s->order = carve(memory, &used, p->rows.n, sizeof *s->order);
    s->factor = carve(memory, &used, q->scale ? p->D : 0, sizeof *s->factor);
    s->W = carve(memory, &used, n_W, size);
    s->G = carve(memory, &used, n_G, size);
    s->V = carve(memory, &used, moves ? n_W : 0, size);
    s->b = carve(memory, &used, p->C, size);
    s->sum = carve(memory, &used, averages ? n_W : 0, sizeof *s->sum);
    s->grad_b = carve(memory, &used, p->C, sizeof *s->grad_b);
    s->V_b = carve(memory, &used, p->C, sizeof *s->V_b);
    s->sum_b = carve(memory, &used, p->C, sizeof *s->sum_b);
    s->all = carve(memory, &used, n_columns, sizeof *s->all);
    s->columns = carve(memory, &used, n_columns + 1, sizeof *s->columns);
    s->up_to = carve(memory, &used, n_columns, sizeof *s->up_to);
    s->in_batch = carve(memory, &used, n_columns, sizeof *s->in_batch);
    s->threshold = carve(memory, &used, n_columns, sizeof *s->threshold);
    s->shrink = carve(memory, &used, n_columns, sizeof *s->shrink);
    s->lazy.scale = carve(memory, &used, n_lazy, sizeof(double));
    s->lazy.drop = carve(memory, &used, n_lazy, sizeof(double));
    s->lazy.scale_sum = carve(memory, &used, n_lazy, sizeof(double));
    s->lazy.product_sum = carve(memory, &used, n_lazy, sizeof(double));
    s->indptr = carve(memory, &used, p->sparse ? p->block + 1 : 0, sizeof *s->indptr);
    if (!averages) s->sum = NULL;
    if (!moves) s->V = NULL;
    if (!q->scale) s->factor = NULL;
    used += rc_layout_scratch(p, memory ? memory + used : NULL, memory ? &s->scratch : &probe);
    return used;
}

static rc_status check_options(const rc_problem *problem, const rc_sgd_options *q, rc_error *error)
{
    if (q->real != RC_FLOAT32 && q->real != RC_FLOAT64)
        return fail(error, RC_ERROR_ARGUMENT, "W", "must be float32 or float64");
    if (!problem->y.data && !problem->targets.data) return fail(error, RC_ERROR_ARGUMENT, "y", "is missing");
    if (problem->n_models != 1) return fail(error, RC_ERROR_ARGUMENT, "W", "must be one model");
    if (problem->n_classes == 1 && problem->loss == RC_CRAMMER_SINGER)
        return fail(error, RC_ERROR_ARGUMENT, "loss", "crammer_singer has no binary form");
    if (problem->X.indices && (q->center || q->scale))
        return fail(error, RC_ERROR_ARGUMENT, "standardize", "is not for stochastic steps on a CSR matrix");
    if (q->batch_size < 1) return fail(error, RC_ERROR_ARGUMENT, "batch_size", "must be at least 1");
    if (!(q->eta0 > 0) || !isfinite(q->eta0)) return fail(error, RC_ERROR_ARGUMENT, "eta0", "must be finite and > 0");
    if (!(q->rate >= 0) || !isfinite(q->rate) || !isfinite(q->power))
        return fail(error, RC_ERROR_ARGUMENT, "learning_rate", "must decay at a finite rate >= 0");
    if (!(q->momentum >= 0 && q->momentum < 1)) return fail(error, RC_ERROR_ARGUMENT, "momentum", "must be in [0, 1)");
    if (!(q->dropout >= 0 && q->dropout < 1)) return fail(error, RC_ERROR_ARGUMENT, "dropout", "must be in [0, 1)");
    if (!(q->intercept_rate >= 0) || !isfinite(q->intercept_rate))
        return fail(error, RC_ERROR_ARGUMENT, "intercept_rate", "must be finite and >= 0");
    if (q->penalty.l1 != 0 && q->penalty.group != 0)
        return fail(error, RC_ERROR_ARGUMENT, "penalty", "must not have an L1 and a group part at once");
    return RC_OK;
}

static double sum_of_weights(const rc_problem *problem)
{
    const rc_vector *w = &problem->weights;
    double sum = 0;
    if (!w->data) return (double)problem->X.n_rows;
    for (int64_t i = 0; i < problem->X.n_rows; i++) {
        const char *at = (const char *)w->data + i * w->stride;
        sum += w->dtype == RC_FLOAT32 ? *(const float *)(const void *)at : *(const double *)(const void *)at;
    }
    return sum;
}

/* How the loop walks: the plan of a call over shuffled rows, that never shares its gradient */
static void make_plan(rc_sgd *s)
{
    rc_plan *p = &s->plan;
    const rc_sgd_options *q = &s->options;
    const int64_t N = s->problem.X.n_rows;
    static const int64_t anything = 0;
    const rc_rows shuffled = {&anything, 0, 1, N};
    rc_make_plan(p, &s->problem, &shuffled, q->real, 0, NULL);
    p->shape.packed = p->shape.n_vectors * p->k->lanes; /* the last vector ends a row of W and of G */
    s->changes_rows = !p->sparse && (q->center || q->scale || q->dropout > 0);
    if (s->changes_rows && p->row_source == DIRECT) {
        p->row_source = PACKED;
        p->stored = q->real;
    }
    if (p->sparse) {
        const double per_batch = (double)s->problem.X.nnz / (double)N * (double)q->batch_size + 1;
        const double window = 8 * (double)p->D / per_batch;
        s->ldw = p->ldw;
        s->window = window < SMALLEST_WINDOW  ? SMALLEST_WINDOW
                    : window > LARGEST_WINDOW ? LARGEST_WINDOW
                                              : (int64_t)window;
    } else {
        s->ldw = p->scores_view == BY_ROWS ? p->shape.packed : p->D;
        s->ldg = p->gradient_view == BY_ROWS ? p->shape.packed : p->D;
        s->tail = s->ldg == p->D ? 0 : p->D - (p->shape.n_vectors - 1) * p->k->lanes;
    }
}

rc_status rc_sgd_create(const rc_problem *problem, const rc_sgd_options *options, const void *W, const void *b,
                        rc_sgd **sgd, rc_error *error)
{
    const rc_status status = check_options(problem, options, error);
    if (status != RC_OK) return status;
    rc_sgd *s = calloc(1, sizeof *s);
    if (!s) return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    s->problem = *problem;
    s->options = *options;
    s->weight_sum = sum_of_weights(problem);
    make_plan(s);
    const size_t bytes = (layout(s, NULL) + 127) / 64 * 64;
    s->memory = aligned_alloc(64, bytes);
    if (!s->memory) {
        free(s);
        return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    }
    memset(s->memory, 0, bytes);
    layout(s, s->memory);
    rc_plan *p = &s->plan;
    p->rows.index = s->order;
    for (int64_t d = 0; d < p->D && s->factor; d++) s->factor[d] = 1 / options->scale[d];
    for (int64_t c = 0; c < p->C; c++) {
        for (int64_t d = 0; d < p->D; d++)
            put(s->W, place(s, c, d), options->real, number(W, c * p->D + d, options->real));
        if (b) put(s->b, c, options->real, number(b, c, options->real));
    }
    if (p->sparse) {
        for (int64_t d = 0; d < p->D; d++) s->all[d] = s->columns[d] = d;
        s->n_columns = p->D; /* with momentum every column moves in every step */
        s->lazy.scale[0] = 1;
    }
    *sgd = s;
    return RC_OK;
}

void rc_sgd_free(rc_sgd *s)
{
    if (!s) return;
    free(s->values);
    free(s->indices);
    free(s->memory);
    free(s);
}

/* ---------------------------------------------------------------- curvature */

/* A row as n doubles; CSR: its nonzeros */
static int64_t read_row(const rc_matrix *X, int64_t row, double *x)
{
    const rc_kernels *k = rc_kernels_for(RC_FLOAT64);
    const int64_t item = rc_item_size(X->dtype), first = X->indices ? row_start(X, row) : 0;
    const int64_t n = X->indices ? row_start(X, row + 1) - first : X->n_columns;
    const char *source = (const char *)X->data + (X->indices ? first * item : row * X->row_stride);
    if (n) k->pack_rows(&source, X->dtype, X->indices ? item : X->column_stride, 1, n, x, n);
    return n;
}

rc_status rc_sgd_curvature(const rc_problem *problem, const double *center, const double *scale, uint64_t seed,
                           int64_t n_rows, double curvature[3], rc_error *error)
{
    const rc_matrix *X = &problem->X;
    const int64_t N = X->n_rows, D = X->n_columns;
    if (n_rows < 1) return fail(error, RC_ERROR_ARGUMENT, "n_rows", "must be at least 1");
    if (n_rows > N) n_rows = N;
    int64_t longest = D;
    for (int64_t i = 0; X->indices && i < N; i++) {
        const int64_t length = row_start(X, i + 1) - row_start(X, i);
        longest = length > longest ? length : longest;
    }
    const double weight_sum = sum_of_weights(problem);
    int64_t *order = malloc((size_t)N * sizeof *order);
    double *x = malloc((size_t)longest * sizeof *x), *v = malloc((size_t)(2 * D) * sizeof *v), *next = v + D;
    if (!order || !x || !v) {
        free(order), free(x), free(v);
        return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    }
    uint64_t random = mix64(mix64(seed) - 1);
    for (int64_t i = 0; i < N; i++) order[i] = i;
    shuffle(order, N, 0, n_rows, &random);
    for (int64_t d = 0; d < D; d++) v[d] = 0;
    double eigenvalue = 0, mean = 0, largest = 0;
    /* the first vector is the mean of the rows with random factors: near the first axis of positive data, and not 0 for
     * centred data */
    for (int step = 0; step <= POWER_STEPS; step++) {
        double square = 0;
        for (int64_t d = 0; d < D; d++) next[d] = 0;
        for (int64_t i = 0; i < n_rows; i++) {
            const int64_t row = order[i], first = X->indices ? row_start(X, row) : 0, n = read_row(X, row, x);
            const char *w = (const char *)problem->weights.data + row * problem->weights.stride;
            double weight = !problem->weights.data                 ? 1
                            : problem->weights.dtype == RC_FLOAT32 ? *(const float *)(const void *)w
                                                                   : *(const double *)(const void *)w;
            weight *= (double)N / weight_sum;
            if (!X->indices && center)
                for (int64_t d = 0; d < D; d++) x[d] -= center[d];
            if (!X->indices && scale)
                for (int64_t d = 0; d < D; d++) x[d] /= scale[d];
            double score = 0, norm = 0;
            if (X->indices)
                for (int64_t k = 0; k < n; k++) score += x[k] * v[column_of(X, first + k)];
            else
                for (int64_t d = 0; d < D; d++) score += x[d] * v[d];
            if (step == 0) {
                for (int64_t k = 0; k < n; k++) norm += x[k] * x[k];
                mean += weight * norm / (double)n_rows;
                largest = weight * norm > largest ? weight * norm : largest;
                score = next_random(&random) >> 63 ? 1.5 : 0.5;
            }
            if (X->indices)
                for (int64_t k = 0; k < n; k++) next[column_of(X, first + k)] += weight * score * x[k];
            else
                for (int64_t d = 0; d < D; d++) next[d] += weight * score * x[d];
        }
        for (int64_t d = 0; d < D; d++) square += next[d] * next[d];
        if (!(square > 0)) break;
        eigenvalue = step ? sqrt(square) / (double)n_rows : 0;
        for (int64_t d = 0; d < D; d++) v[d] = next[d] / sqrt(square);
    }
    curvature[0] = eigenvalue;
    curvature[1] = mean;
    curvature[2] = largest;
    free(order), free(x), free(v);
    return RC_OK;
}
