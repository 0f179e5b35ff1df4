/*
 * The block driver: one pass over X for a call.
 *
 * The rows are cut into chunks, a chunk into blocks that stay in a core's L2.  A thread takes a chunk, and for each of
 * its blocks computes the scores, turns them into loss and slope, and adds to its own gradient; at the end of the chunk
 * it waits for its turn and adds that to the total, in double.  Where the gradient is too large for a copy per thread
 * (shared_gradient), the threads walk through super-blocks of rows together: first they share the rows for the scores,
 * then the classes for the gradient.
 */
#include "huge_pages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "by_features.h"
#include "columns.h"
#include "plan.h"
#include "poll.h"
#include "threads.h"

/* ---------------------------------------------------------------- memory */

static void *allocate(size_t bytes)
{
    const size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
    void *p = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (p && bytes >= HUGE_PAGE) ask_for_huge_pages(p, bytes);
    return p;
}

struct rc_workspace {
    rc_flag busy;
    void *memory;
    size_t bytes;
};

rc_workspace *rc_workspace_new(void) { return calloc(1, sizeof(rc_workspace)); }

void rc_workspace_free(rc_workspace *workspace)
{
    if (workspace) free(workspace->memory);
    free(workspace);
}

/* Memory for a call, from the workspace if that is free; *kept says so. */
static void *take_memory(rc_workspace *workspace, size_t bytes, int *kept)
{
    *kept = workspace && rc_flag_claim(&workspace->busy);
    if (!*kept) return allocate(bytes);
    if (workspace->bytes < bytes) {
        free(workspace->memory);
        workspace->memory = allocate(bytes);
        workspace->bytes = workspace->memory ? bytes : 0;
    }
    return workspace->memory;
}

static void give_memory(rc_workspace *workspace, void *memory, int kept)
{
    if (kept)
        rc_flag_lower(&workspace->busy);
    else
        free(memory);
}

/* ---------------------------------------------------------------- a call */

/* What a chunk adds up to */
typedef struct {
    void *G;        /* dense: (MC, packed) or (MC, D) */
    double *grad_b; /* (MC,) */
    double unit;    /* of G */
} chunk_sums;

typedef struct call call;

/* Does a chunk of rows, and returns the one that the thread is to do next. */
typedef int64_t chunk_task(call *c, int64_t chunk, int thread);

/* Puts weight * dloss/dscore of a block of all models into S, adds to the models' values. */
typedef void block_slopes(call *c, rc_scratch *s, int64_t first, int64_t n, rc_ahead *ahead, void *S, double *values);

struct call {
    rc_plan plan;
    chunk_task *task;
    rc_counter chunks;
    block_slopes *slopes;
    const rc_dual_point *point; /* of rc_conjugate and rc_adjoint */
    const rc_parameters *parameters;
    const rc_control *control;
    int n_threads;
    const void *W, *b; /* as the products want them: standardisation folded in, packed or transposed */
    char *memory;      /* all scratch */
    int memory_kept;
    struct {
        char *start;
        size_t bytes;
    } clear;             /* what is to be zeroed */
    rc_scratch *scratch; /* one a thread */
    const rc_gradient *out;
    const rc_prediction *prediction;

    double *total;  /* sum of the gradients, or */
    void *partials; /* CSR: a table of the compute type for each chunk, */
    rc_frequent frequent;
    double *frequent_sums; /* and (most_frequent, ldw) by panels for each chunk */
    double *total_b;
    double *chunk_values; /* (n_chunks, M) */
    rc_joint joint;
    chunk_sums *sums; /* (n_buffers,) */
    int n_buffers;
    rc_flag stop, not_finite;
    struct timespec polled;

    rc_table weights;          /* CSR: W transposed */
    rc_occurring occurring;    /* CSR: columns with a row in the tables, */
    void *columns_memory;      /* ... NULL: all of them */
    const double *value_scale; /* (M,): 1 / sum of the weights */

    /* shared_gradient */
    int64_t super_first, super_n;
    double super_unit;
    const void **shared_rows;
    void *shared_packed, *shared_S;
    int64_t n_class_tasks;
};

/* The calling thread asks its host now and then whether to go on. */
static void poll_host(call *c, int thread)
{
    if (thread == 0 && asked_to_stop(c->control, &c->polled)) rc_flag_raise(&c->stop);
}

static const rc_occurring *occurring_of(const call *c) { return c->columns_memory ? &c->occurring : NULL; }

static rc_csr csr_of(const call *c)
{
    const rc_matrix *X = &c->plan.problem->X;
    return (rc_csr){X->data, X->indices, X->indptr, X->dtype, X->index_dtype, X->nnz, occurring_of(c)};
}

/* What is read after rows [first, first + n) of a chunk that ends at `end`, where X is contiguous: the chunk's next
 * block, or the first one of the chunk that the thread does next, which is chosen here. */
static rc_ahead next_block(call *c, int64_t first, int64_t n, int64_t end, int64_t *next_chunk)
{
    const rc_plan *p = &c->plan;
    const rc_matrix *X = &p->problem->X;
    const int64_t row_bytes = p->D * rc_item_size(X->dtype);
    const char *base = X->data;
    int64_t next = first + n;
    if (next >= end) {
        *next_chunk = rc_counter_next(&c->chunks);
        next = rc_chunk_start(p, *next_chunk);
        end = rc_chunk_start(p, *next_chunk + 1);
    }
    if (p->sparse || p->rows.index || p->rows.step * X->row_stride != row_bytes || next >= end)
        return (rc_ahead){base, base, 0};
    const int64_t stop = next + p->block < end ? next + p->block : end;
    return (rc_ahead){base + rc_row_at(&p->rows, next) * X->row_stride,
                      base + rc_row_at(&p->rows, stop) * X->row_stride, p->prefetch_step};
}

static void walk_chunks(void *context, int64_t task, int thread)
{
    call *c = context;
    (void)task;
    for (int64_t chunk = rc_counter_next(&c->chunks); chunk < c->plan.n_chunks;) chunk = c->task(c, chunk, thread);
}

static void do_chunks(call *c, chunk_task *task)
{
    c->task = task;
    rc_parallel_for(c->n_threads, c->n_threads, walk_chunks, c);
}

/* Loads rows [first, first + n) and computes their scores. */
static void block_scores(const call *c, const rc_scratch *s, int64_t first, int64_t n, rc_ahead *ahead, void *S)
{
    const rc_plan *p = &c->plan;
    const rc_kernels *k = p->k;
    for (int64_t at = 0, rows; at < n; at += rows) {
        rows = n - at < p->load ? n - at : p->load;
        const int64_t padded = round_up(rows, k->lanes);
        const void *const *x = s->x_rows + at;
        void *out = offset(S, at, k->real_size);
        rc_load_rows(p, s, first + at, at, rows);
        if (p->sparse) {
            const rc_csr csr = csr_of(c);
            k->scores_csr(&csr, s->row_ids, rows, &c->weights, c->b, p->MC, out, p->ld);
        } else if (p->scores_view == BY_ROWS)
            k->scores_rows(c->W, c->b, p->MC, x, p->stored, rows, &p->shape, ahead, out, p->ld);
        else if (p->scores_view == BY_COLUMNS)
            k->scores_columns(c->W, c->b, p->MC, p->D, s->x_columns, padded, ahead, out, p->ld);
        else
            k->scores_transposed(c->W, c->b, p->MC, p->D, x, padded, ahead, s->piece, out, p->ld);
    }
}

/* Whether model m has not the weights of the one before */
static int has_other_weights(const rc_problem *problem, int64_t m)
{
    return problem->weights_model_stride && rc_weights_of(problem, m) != rc_weights_of(problem, m - 1);
}

/* The weights of a block for model m, in the chunk's unit */
static void load_weights(const call *c, rc_scratch *s, int64_t m, int64_t first, int64_t n, int64_t padded)
{
    static const double one = 1;
    const rc_problem *problem = c->plan.problem;
    rc_vector w = {&one, RC_FLOAT64, 0};
    if (problem->weights.data) {
        w = problem->weights;
        w.data = (const char *)w.data + rc_weights_of(problem, m) * problem->weights_model_stride;
    }
    c->plan.k->load_vector(&w, &c->plan.rows, first, n, padded, s->w);
    for (int64_t i = 0; s->unit != 1 && i < padded; i++) ((float *)s->w)[i] *= (float)s->unit;
}

/* Losses of all models on a block; the scores become slopes. */
static void block_losses(call *c, rc_scratch *s, int64_t first, int64_t n, rc_ahead *ahead, void *S, double *values)
{
    const rc_plan *p = &c->plan;
    const rc_problem *problem = p->problem;
    const int64_t padded = round_up(n, p->k->lanes);
    double check = 0;
    block_scores(c, s, first, n, ahead, S);
    rc_load_labels(p, s, first, n);
    for (int64_t m = 0; m < p->M; m++) {
        if (m == 0 || has_other_weights(problem, m)) load_weights(c, s, m, first, n, padded);
        void *scores = offset(S, m * p->C * p->ld, p->k->real_size);
        values[m] += rc_block_loss(p, s, scores, first, n, &check) / s->unit;
    }
    if (check != 0) rc_flag_raise(&c->not_finite); /* NaN */
}

/* ---------------------------------------------------------------- dual points */

/* u of model m on a block, as the caller gave it and moved into the loss's domain */
static void load_given(const call *c, const rc_scratch *s, int64_t m, int64_t first, int64_t n, void *S)
{
    const rc_plan *p = &c->plan;
    p->k->load_scores(offset(c->point->u, m * p->C, p->k->real_size), c->point->u_stride, &p->rows, first, n,
                      round_up(n, p->k->lanes), p->C, S, p->ld);
    if (p->soft)
        p->k->soft_project(S, p->ld, p->C, round_up(n, p->k->lanes), s->T, p->target_ld);
    else
        (p->C == 1 ? p->k->binary_project : p->k->project)[p->problem->loss](S, p->ld, p->C, round_up(n, p->k->lanes),
                                                                             s->y);
}

/* weight * u of a given dual point, or weight * e_y (t of soft targets) without one; no scores, no values */
static void block_adjoint(call *c, rc_scratch *s, int64_t first, int64_t n, rc_ahead *ahead, void *S, double *values)
{
    const rc_plan *p = &c->plan;
    const int64_t padded = round_up(n, p->k->lanes);
    (void)ahead, (void)values;
    rc_load_rows(p, s, first, 0, n);
    rc_load_labels(p, s, first, n);
    for (int64_t m = 0; m < p->M; m++) {
        void *slopes = offset(S, m * p->C * p->ld, p->k->real_size);
        if (m == 0 || has_other_weights(p->problem, m)) load_weights(c, s, m, first, n, padded);
        if (c->point->u) {
            load_given(c, s, m, first, n, slopes);
            p->k->weigh(slopes, p->ld, p->C, padded, s->w);
        } else if (p->soft) {
            for (int64_t i = 0; i < p->C; i++)
                memcpy(offset(slopes, i * p->ld, p->k->real_size), offset(s->T, i * p->target_ld, p->k->real_size),
                       (size_t)padded * p->k->real_size);
            p->k->weigh(slopes, p->ld, p->C, padded, s->w);
        } else
            p->k->one_hot(slopes, p->ld, p->C, padded, s->y, s->w);
    }
}

/* Values: sum of weight * conjugate at the dual point, which is given or made of the slopes of the scores. */
static void block_conjugates(call *c, rc_scratch *s, int64_t first, int64_t n, rc_ahead *ahead, void *S, double *values)
{
    static const double one = 1;
    const rc_plan *p = &c->plan;
    const rc_loss loss = p->problem->loss;
    const rc_dual_point *point = c->point;
    const rc_vector ones = {&one, RC_FLOAT64, 0};
    const int64_t padded = round_up(n, p->k->lanes), n_labels = p->C > 1 ? p->C : 2;
    double check = 0;
    if (!point->u) block_scores(c, s, first, n, ahead, S);
    rc_load_labels(p, s, first, n);
    for (int64_t m = 0; m < p->M; m++) {
        void *u = offset(S, m * p->C * p->ld, p->k->real_size);
        if (point->u)
            load_given(c, s, m, first, n, u);
        else {
            p->k->load_vector(&ones, &p->rows, first, n, padded, s->w);
            rc_block_loss(p, s, u, first, n, &check);
        }
        load_weights(c, s, m, first, n, padded);
        rc_dual_shift shift = {1, NULL, NULL, 0};
        if (point->shrink)
            shift = (rc_dual_shift){point->shrink[m], point->lose + m * n_labels, point->gain + m * n_labels, 0};
        for (int64_t j = 0; shift.gain && j < n_labels; j++) shift.gain_sum += shift.gain[j];
        if (p->soft)
            values[m] += p->k->soft_conjugate(u, p->ld, p->C, padded, s->T, p->target_ld, s->w, &shift) / s->unit;
        else
            values[m] += (p->C == 1 ? p->k->binary_conjugate : p->k->conjugate)[loss](u, p->ld, p->C, padded, s->y,
                                                                                      s->w, &shift) /
                         s->unit;
    }
    if (check != 0) rc_flag_raise(&c->not_finite); /* NaN */
}

/* ---------------------------------------------------------------- chunks, each thread with its own gradient */

/* The gradient table of a CSR chunk */
static rc_table gradient_table(const call *c, int64_t chunk)
{
    const rc_plan *p = &c->plan;
    return (rc_table){offset(c->partials, chunk * p->gradient_length, p->k->real_size), p->n_table, 0};
}

static double *frequent_sums(const call *c, int64_t chunk)
{
    return c->frequent_sums + chunk * c->plan.most_frequent * c->plan.ldw;
}

/* Each chunk's table is cleared by the thread that fills it next, a shared one at the beginning. */
static void clear_sparse_gradient(const call *c, int64_t chunk)
{
    const rc_plan *p = &c->plan;
    memset(gradient_table(c, chunk).data, 0, (size_t)p->gradient_length * p->k->real_size);
    if (c->frequent.n) memset(frequent_sums(c, chunk), 0, (size_t)(p->most_frequent * p->ldw) * sizeof(double));
}

/* Adds the gradient of n_classes from `first` on over n rows with slopes S; `done`: rows of the chunk before them */
static void add_sparse_gradient(const call *c, int64_t chunk, const int64_t *row_ids, const void *S, int64_t done,
                                int64_t n, int64_t first, int64_t n_classes)
{
    const rc_plan *p = &c->plan;
    const rc_csr csr = csr_of(c);
    rc_table G = gradient_table(c, chunk);
    double *sums = frequent_sums(c, chunk) + first * p->most_frequent;
    G.data = offset(G.data, first * G.panel_step, p->k->real_size);
    for (int64_t at = 0, rows; at < n; at += rows) {
        const int64_t left = p->most_frequent ? SUM_ROWS - (done + at) % SUM_ROWS : n;
        rows = n - at < left ? n - at : left;
        p->k->gradient_csr(&csr, row_ids + at, rows, offset(S, at, p->k->real_size), p->ld, n_classes, &G);
        const int64_t n_due = rows == left ? rc_due_columns(&c->frequent, done + at + rows) : 0;
        if (n_due) p->k->flush_columns(&G, n_classes, c->frequent.columns, n_due, p->most_frequent, sums);
    }
}

static void join_sums(void *context, int buffer)
{
    call *c = context;
    const rc_plan *p = &c->plan;
    const chunk_sums *sums = &c->sums[buffer];
    for (int64_t i = 0; i < p->MC; i++) c->total_b[i] += sums->grad_b[i];
    if (!p->sparse)
        p->k->flush(sums->G, p->MC, p->D, p->gradient_view == BY_ROWS ? &p->shape : NULL, sums->unit, c->total);
}

static int64_t evaluate_chunk(call *c, int64_t chunk, int thread)
{
    const rc_plan *p = &c->plan;
    rc_scratch *s = &c->scratch[thread];
    const int64_t start = rc_chunk_start(p, chunk), end = rc_chunk_start(p, chunk + 1);
    int64_t next_chunk = -1;
    double *values = c->chunk_values + chunk * p->M;

    const int with_gradient = c->out->grad_W || c->out->grad_b;
    const int buffer = with_gradient ? rc_joint_take(&c->joint, chunk) : 0;
    chunk_sums *sums = with_gradient ? &c->sums[buffer] : NULL;

    poll_host(c, thread);
    s->unit = rc_unit(p, chunk);
    if (sums) sums->unit = s->unit;
    for (int64_t m = 0; m < p->M; m++) values[m] = 0;
    for (int64_t i = 0; sums && i < p->MC; i++) sums->grad_b[i] = 0;
    if (sums && p->sparse) clear_sparse_gradient(c, chunk);
    for (int64_t first = start; first < end && !rc_flag_raised(&c->stop) && !rc_flag_raised(&c->not_finite);) {
        const int64_t n = end - first < p->block ? end - first : p->block;
        rc_ahead ahead = next_block(c, first, n, end, &next_chunk);
        c->slopes(c, s, first, n, &ahead, s->S, values);
        if (sums) {
            const int64_t padded = round_up(n, p->k->lanes);
            p->k->row_sums(s->S, p->ld, p->MC, padded, s->unit, sums->grad_b);
            if (p->sparse)
                add_sparse_gradient(c, chunk, s->row_ids, s->S, first - start, n, 0, p->MC);
            else if (p->gradient_view == BY_ROWS)
                p->k->gradient_rows(s->S, p->ld, p->MC, s->x_rows, p->stored, n, &p->shape, &ahead, sums->G);
            else
                p->k->gradient_columns(s->S, p->ld, p->MC, p->D, s->x_columns, padded, &ahead, sums->G);
        }
        first += n;
    }
    if (sums) rc_joint_leave(&c->joint, chunk, buffer, join_sums, c);
    return next_chunk < 0 ? rc_counter_next(&c->chunks) : next_chunk;
}

/* ---------------------------------------------------------------- super-blocks, one gradient for all threads */

static void shared_scores(void *context, int64_t task, int thread)
{
    call *c = context;
    const rc_plan *p = &c->plan;
    const size_t size = p->k->real_size;
    rc_scratch s = c->scratch[thread];
    const int64_t done = task * p->block;
    const int64_t n = c->super_n - done < p->block ? c->super_n - done : p->block;
    double *values = c->chunk_values + (c->super_first + done) / p->block * p->M;
    void *S = offset(c->shared_S, done, size);

    poll_host(c, thread);
    if (c->shared_packed) s.packed_rows = offset(c->shared_packed, done * p->row_ld, size);
    rc_ahead none = {S, S, 0};
    s.unit = c->super_unit;
    c->slopes(c, &s, c->super_first + done, n, &none, S, values);
    if (!p->sparse) memcpy(c->shared_rows + done, s.x_rows, (size_t)n * sizeof *s.x_rows);
}

static void shared_gradient(void *context, int64_t task, int thread)
{
    call *c = context;
    const rc_plan *p = &c->plan;
    const size_t size = p->k->real_size;
    const int64_t first = p->MC * task / c->n_class_tasks, n = p->MC * (task + 1) / c->n_class_tasks - first;
    const void *S = offset(c->shared_S, first * p->ld, size);

    poll_host(c, thread);
    p->k->row_sums(S, p->ld, n, round_up(c->super_n, p->k->lanes), c->super_unit, c->total_b + first);
    rc_ahead none = {S, S, 0};
    p->k->gradient_rows(S, p->ld, n, c->shared_rows, p->stored, c->super_n, &p->shape, &none, c->scratch[thread].G);
    p->k->flush(c->scratch[thread].G, n, p->D, &p->shape, c->super_unit, c->total + first * p->D);
}

/* The same for a strip of classes of CSR rows */
static void shared_sparse_gradient(void *context, int64_t task, int thread)
{
    call *c = context;
    const rc_plan *p = &c->plan;
    const rc_scratch *s = &c->scratch[thread];
    int64_t first = 0;
    while (task-- > 0) first += p->k->csr_strip(p->MC - first);
    const int64_t n = p->k->csr_strip(p->MC - first);
    const void *S = offset(c->shared_S, first * p->ld, p->k->real_size);

    poll_host(c, thread);
    p->k->row_sums(S, p->ld, n, round_up(c->super_n, p->k->lanes), c->super_unit, c->total_b + first);
    for (int64_t at = 0, rows; at < c->super_n; at += rows) {
        rows = c->super_n - at < p->block ? c->super_n - at : p->block;
        rc_load_rows(p, s, c->super_first + at, 0, rows);
        add_sparse_gradient(c, 0, s->row_ids, offset(S, at, p->k->real_size), c->super_first + at, rows, first, n);
    }
}

static void evaluate_super_blocks(call *c)
{
    const rc_plan *p = &c->plan;
    const int64_t N = p->rows.n;
    for (int64_t first = 0; first < N; first += p->super_block) {
        c->super_first = first;
        c->super_n = N - first < p->super_block ? N - first : p->super_block;
        c->super_unit = rc_unit(p, first / p->super_block);
        rc_parallel_for((c->super_n + p->block - 1) / p->block, c->n_threads, shared_scores, c);
        if (rc_flag_raised(&c->stop) || rc_flag_raised(&c->not_finite)) return;
        if (c->out->grad_W || c->out->grad_b)
            rc_parallel_for(c->n_class_tasks, c->n_threads, p->sparse ? shared_sparse_gradient : shared_gradient, c);
        if (rc_flag_raised(&c->stop)) return;
    }
}

/* ---------------------------------------------------------------- parameters in, gradient out */

enum { TASK_FEATURES = 8 * FEATURE_RUN, TASK_NUMBERS = 1 << 17 };

static int64_t feature_tasks(int64_t n_features) { return (n_features + TASK_FEATURES - 1) / TASK_FEATURES; }

/* The tasks before a CSR matrix is read: first the search for frequent columns, then runs of features of W */
static void prepare_table(void *context, int64_t task, int thread)
{
    call *c = context;
    const rc_plan *p = &c->plan;
    const int64_t first = (task - 1) * TASK_FEATURES,
                  end = p->n_table - first < TASK_FEATURES ? p->n_table : first + TASK_FEATURES;
    (void)thread;
    if (task > 0)
        for (int64_t d = first; d < end; d += FEATURE_RUN)
            p->k->transpose_weights(c->W, p->MC, p->D, c->occurring.columns, d,
                                    end - d < FEATURE_RUN ? end : d + FEATURE_RUN, &c->weights);
    else if (p->most_frequent) /* the first table, empty yet, serves to count */
        rc_find_frequent(&p->problem->X, &p->rows, occurring_of(c), p->n_table, p->rows.n / p->n_chunks,
                         p->most_frequent, c->partials, &c->frequent);
}

/* W and b as the products want them. Standardised features (x - center) / scale are a change of parameters:
 * W' = W / scale, b' = b - W' center. */
static rc_status prepare_parameters(call *c, char *folded_W, char *folded_b, char *packed)
{
    const rc_plan *p = &c->plan;
    const rc_parameters *q = c->parameters;
    const size_t size = p->k->real_size;
    if (!q->W) { /* rc_adjoint needs no more than a CSR gradient does */
        if (p->sparse) prepare_table(c, 0, 0);
        return RC_OK;
    }
    c->W = q->W;
    if (folded_W) {
        for (int64_t m = 0; m < p->MC; m++) {
            double shift = 0;
            for (int64_t d = 0; d < p->D; d++) {
                const int64_t i = m * p->D + d;
                const double w = size == 4 ? ((const float *)q->W)[i] : ((const double *)q->W)[i];
                const double folded = q->scale ? w / q->scale[d] : w;
                shift += q->center ? folded * q->center[d] : 0;
                if (size == 4)
                    ((float *)(void *)folded_W)[i] = (float)folded;
                else
                    ((double *)(void *)folded_W)[i] = folded;
            }
            const double b = !q->b ? 0 : size == 4 ? ((const float *)q->b)[m] : ((const double *)q->b)[m];
            if (size == 4)
                ((float *)(void *)folded_b)[m] = (float)(b - shift);
            else
                ((double *)(void *)folded_b)[m] = b - shift;
        }
        c->W = folded_W;
    } else if (q->b)
        memcpy(folded_b, q->b, (size_t)p->MC * size);
    else
        memset(folded_b, 0, (size_t)p->MC * size);
    c->b = folded_b;
    if (p->sparse) {
        /* the weights of a single score are their own transpose */
        c->weights = (rc_table){packed ? packed : (void *)(uintptr_t)c->W, p->n_table, 0};
        rc_parallel_for(1 + (packed ? feature_tasks(p->n_table) : 0), c->n_threads, prepare_table, c);
    } else if (packed) {
        p->k->pack_weights(c->W, p->MC, p->D, &p->shape, packed);
        c->W = packed;
    }
    return RC_OK;
}

/* The gradient of features [first, first + n) of output i, from its sums: standardisation, scale, penalty, type */
static void finish_features(const call *c, int64_t i, int64_t first, int64_t n, double *total)
{
    const rc_plan *p = &c->plan;
    const rc_parameters *q = c->parameters;
    const int64_t at = i * p->D + first;
    for (int64_t d = 0; q->center && d < n; d++) total[d] -= c->total_b[i] * q->center[first + d];
    for (int64_t d = 0; q->scale && d < n; d++) total[d] /= q->scale[first + d];
    p->k->finish_gradient(total, offset(q->W, at, p->k->real_size), n, c->value_scale[i / p->C], q->penalty.l1,
                          q->penalty.l2, offset(c->out->grad_W, at, p->k->real_size));
}

/* What rows [first, first + n) of a panel have in double */
static void add_frequent_sums(const call *c, int64_t panel, int64_t width, int64_t first, int64_t n, double *sums)
{
    const rc_plan *p = &c->plan;
    const rc_frequent *f = &c->frequent;
    for (int64_t i = rc_first_frequent(f, first); i < f->n && f->columns[f->ascending[i]] < first + n; i++) {
        const int64_t at = f->ascending[i];
        double *column = sums + f->columns[at] - first;
        for (int64_t chunk = 0; chunk < p->n_chunks; chunk++) {
            const double *sum = frequent_sums(c, chunk) + panel * p->most_frequent + at * width;
            for (int64_t k = 0; k < width; k++) column[k * FEATURE_RUN] += sum[k];
        }
    }
}

/* features [first, first + n), n <= FEATURE_RUN */
static void finish_sparse_run(const call *c, int64_t first, int64_t n, int thread)
{
    const rc_plan *p = &c->plan;
    const rc_occurring *o = occurring_of(c);
    const int64_t row = o ? rc_row_of_column(o, first) : first;
    const int64_t n_rows = o ? rc_row_of_column(o, first + n) - row : n;
    double *sums = c->scratch[thread].features, all[FEATURE_RUN] = {0};
    for (int64_t panel = 0, width; panel < p->MC; panel += width) {
        width = p->k->csr_panel(p->MC - panel);
        p->k->sum_panels(offset(c->partials, panel * p->n_table + row * width, p->k->real_size), p->gradient_length,
                         p->n_chunks, n_rows, width, sums, FEATURE_RUN);
        add_frequent_sums(c, panel, width, row, n_rows, sums);
        for (int64_t i = panel; i < panel + width && i < p->MC; i++) {
            double *total = sums + (i - panel) * FEATURE_RUN;
            if (o) {
                memset(all, 0, sizeof all);
                for (int64_t d = 0; d < n_rows; d++) all[o->columns[row + d] - first] = total[d];
                total = all;
            }
            finish_features(c, i, first, n, total);
        }
    }
}

static void finish_sparse(void *context, int64_t task, int thread)
{
    const call *c = context;
    const int64_t first = task * TASK_FEATURES, left = c->plan.D - first;
    for (int64_t d = 0; d < left && d < TASK_FEATURES; d += FEATURE_RUN)
        finish_sparse_run(c, first + d, left - d < FEATURE_RUN ? left - d : FEATURE_RUN, thread);
}

/* Of dense problems: a run of outputs, so long that it repays a thread */
static int64_t outputs_of_task(const rc_plan *p) { return 1 + TASK_NUMBERS / p->D; }

static void finish_outputs(void *context, int64_t task, int thread)
{
    const call *c = context;
    const rc_plan *p = &c->plan;
    const int64_t n = outputs_of_task(p), end = p->MC < (task + 1) * n ? p->MC : (task + 1) * n;
    (void)thread;
    for (int64_t i = task * n; i < end; i++) finish_features(c, i, 0, p->D, c->total + i * p->D);
}

static void finish_gradient(call *c)
{
    const rc_plan *p = &c->plan;
    const rc_parameters *q = c->parameters;
    const size_t size = p->k->real_size;
    for (int64_t i = 0; c->out->grad_b && i < p->MC; i++) {
        const double slope = c->value_scale[i / p->C] * c->total_b[i];
        if (size == 4)
            ((float *)c->out->grad_b)[i] = (float)slope;
        else
            ((double *)c->out->grad_b)[i] = slope;
    }
    if (!c->out->grad_W) return;
    if (p->sparse)
        rc_parallel_for(feature_tasks(p->D), c->n_threads, finish_sparse, c);
    else
        rc_parallel_for((p->MC + outputs_of_task(p) - 1) / outputs_of_task(p), c->n_threads, finish_outputs, c);
    if (q->penalty.group != 0)
        for (int64_t m = 0; m < p->M; m++)
            p->k->group_gradient(offset(q->W, m * p->C * p->D, size), p->C, p->D, q->penalty.group,
                                 offset(c->out->grad_W, m * p->C * p->D, size));
}

/* ---------------------------------------------------------------- what went wrong */

/* A score was not finite: says which number of X, W or b is to blame. */
static rc_status blame(const call *c, rc_error *error)
{
    const rc_parameters *q = c->parameters;
    const int64_t n_W = c->plan.MC * c->plan.D;
    double x;
    if (rc_find_not_finite(c->plan.problem, &c->plan.rows, error)) return RC_ERROR_NOT_FINITE;
    const struct {
        const char *name;
        const void *data;
        int64_t n, row_length;
    } arrays[] = {{"W", q->W, n_W, c->plan.D}, {"b", q->b, q->b ? c->plan.MC : 0, c->plan.MC}};
    for (int a = 0; a < 2; a++)
        for (int64_t i = 0; i < arrays[a].n; i++) {
            x = q->real == RC_FLOAT32 ? ((const float *)arrays[a].data)[i] : ((const double *)arrays[a].data)[i];
            if (isfinite(x)) continue;
            fail(error, RC_ERROR_NOT_FINITE, arrays[a].name, "must be finite");
            if (error) {
                error->row = i / arrays[a].row_length;
                error->column = i % arrays[a].row_length;
                error->value = x;
            }
            return RC_ERROR_NOT_FINITE;
        }
    return fail(error, RC_ERROR_OVERFLOW, "X", "finite, but its product with W overflows the compute type");
}

enum { NEEDS_W = 1, NEEDS_Y = 2 };

static rc_status check_call(const rc_problem *problem, const rc_rows *rows, const rc_parameters *q, int needs,
                            rc_error *error)
{
    if (q->real != RC_FLOAT32 && q->real != RC_FLOAT64)
        return fail(error, RC_ERROR_ARGUMENT, "W", "must be float32 or float64");
    if (needs & NEEDS_W && !q->W) return fail(error, RC_ERROR_ARGUMENT, "W", "is missing");
    if (needs & NEEDS_Y && !problem->y.data && !problem->targets.data)
        return fail(error, RC_ERROR_ARGUMENT, "y", "is missing");
    if (rows->n < 1) return fail(error, RC_ERROR_ARGUMENT, "rows", "must select at least one row");
    const int64_t N = problem->X.n_rows;
    for (int64_t i = 0; i < rows->n; i += rows->index || rows->n == 1 ? 1 : rows->n - 1)
        if (rc_row_at(rows, i) < 0 || rc_row_at(rows, i) >= N) {
            fail(error, RC_ERROR_ARGUMENT, "rows", "must lie within the rows of X");
            if (error) error->row = i, error->value = (double)rc_row_at(rows, i);
            return RC_ERROR_ARGUMENT;
        }
    return RC_OK;
}

/* ---------------------------------------------------------------- the call as a whole */

enum { CLEAR_BYTES = 1 << 20 };

static void clear_piece(void *context, int64_t task, int thread)
{
    const call *c = context;
    const size_t first = (size_t)task * CLEAR_BYTES, left = c->clear.bytes - first;
    (void)thread;
    memset(c->clear.start + first, 0, left < CLEAR_BYTES ? left : CLEAR_BYTES);
}

static void clear_memory(call *c, void *memory, size_t bytes)
{
    c->clear.start = memory;
    c->clear.bytes = bytes;
    rc_parallel_for((int64_t)((bytes + CLEAR_BYTES - 1) / CLEAR_BYTES), c->n_threads, clear_piece, c);
}

/* Allocates and prepares everything; *memory is to be freed whatever the status. */
static rc_status begin(call *c, const rc_problem *problem, const rc_rows *rows, const rc_parameters *q,
                       const rc_control *control, int with_gradient)
{
    memset(c, 0, sizeof *c);
    if (problem->X.indices) {
        const rc_status status = rc_find_occurring(&problem->X, rows, &c->occurring, &c->columns_memory);
        if (status != RC_OK) return status;
    }
    rc_make_plan(&c->plan, problem, rows, q->real, with_gradient, occurring_of(c));
    const rc_plan *p = &c->plan;
    const size_t size = p->k->real_size;
    c->parameters = q;
    c->control = control;
    c->n_threads = rc_useful_threads(p, control->n_threads);
    int64_t most_tasks = p->shared_gradient ? (p->super_block + p->block - 1) / p->block + p->MC : p->n_chunks;
    if (p->sparse && with_gradient && most_tasks < feature_tasks(p->D)) most_tasks = feature_tasks(p->D);
    if (c->n_threads > most_tasks) c->n_threads = (int)most_tasks;

    /* one allocation: the pieces in order, each aligned to a cache line */
    const int fold = q->center || q->scale;
    const int packs = p->sparse ? p->MC > 1 || c->columns_memory : p->scores_view == BY_ROWS;
    const int64_t packed_length = p->sparse ? p->n_table * p->ldw : p->MC * p->shape.packed;
    const size_t total_bytes = !with_gradient ? 0
                               : p->sparse    ? (size_t)(p->n_chunks * p->gradient_length) * size
                                              : (size_t)(p->MC * p->D) * sizeof(double);
    const int64_t n_values = p->shared_gradient ? (rows->n + p->block - 1) / p->block : p->n_chunks;
    c->n_buffers = with_gradient && !p->shared_gradient ? 2 * c->n_threads : 0;
    const size_t sums_bytes = p->sparse ? 0 : (size_t)p->gradient_length * size;
    rc_scratch probe;
    const size_t pieces[] = {
        (size_t)c->n_threads * sizeof(rc_scratch),
        fold ? (size_t)(p->MC * p->D) * size : 0,
        (size_t)p->MC * size,
        packs ? (size_t)packed_length * size : 0,
        total_bytes,
        (size_t)p->MC * sizeof(double),
        (size_t)(n_values * p->M) * sizeof(double),
        p->shared_gradient ? (size_t)(p->super_block + 2 * p->k->row_tile) * sizeof(void *) : 0,
        p->shared_gradient && p->row_source >= PACKED ? (size_t)((p->super_block + p->k->row_tile) * p->row_ld) * size
                                                      : 0,
        p->shared_gradient ? (size_t)(p->MC * p->ld) * size : 0,
        (size_t)c->n_threads * rc_layout_scratch(p, NULL, &probe),
        rc_joint_bytes(c->n_buffers),
        (size_t)c->n_buffers * sizeof(chunk_sums),
        (size_t)c->n_buffers * sums_bytes,
        (size_t)c->n_buffers * (size_t)p->MC * sizeof(double),
        2 * (size_t)p->most_frequent * sizeof(int32_t),
        with_gradient && p->sparse ? (size_t)(p->n_chunks * p->most_frequent * p->ldw) * sizeof(double) : 0,
    };
    enum { N_PIECES = sizeof pieces / sizeof pieces[0] };
    char *at[N_PIECES];
    size_t bytes = 64;
    for (int i = 0; i < N_PIECES; i++) bytes += (pieces[i] + 127) / 64 * 64;
    c->memory = take_memory(control->workspace, bytes, &c->memory_kept);
    if (!c->memory) return RC_ERROR_MEMORY;
    char *next = c->memory;
    for (int i = 0; i < N_PIECES; i++) {
        at[i] = pieces[i] ? next : NULL;
        next += (pieces[i] + 127) / 64 * 64;
    }
    c->scratch = (rc_scratch *)(void *)at[0];
    c->total = (double *)(void *)at[4];
    c->partials = at[4];
    c->total_b = (double *)(void *)at[5];
    c->chunk_values = (double *)(void *)at[6];
    c->shared_rows = (const void **)(void *)at[7];
    c->shared_packed = at[8];
    c->shared_S = at[9];
    if (with_gradient && (!p->sparse || p->shared_gradient)) clear_memory(c, c->total, pieces[4]);
    memset(c->total_b, 0, pieces[5]);
    memset(c->chunk_values, 0, pieces[6]);
    for (int t = 0; t < c->n_threads; t++) {
        rc_scratch *s = &c->scratch[t];
        rc_layout_scratch(p, at[10] + (size_t)t * rc_layout_scratch(p, NULL, &probe), s);
        if (p->shared_gradient && !p->sparse) clear_memory(c, s->G, (size_t)p->gradient_length * size);
    }
    if (c->n_buffers) {
        rc_joint_init(&c->joint, c->n_buffers, at[11]);
        c->sums = (chunk_sums *)(void *)at[12];
        if (sums_bytes) clear_memory(c, at[13], (size_t)c->n_buffers * sums_bytes);
        for (int i = 0; i < c->n_buffers; i++) {
            c->sums[i].G = offset(at[13], i, sums_bytes);
            c->sums[i].grad_b = (double *)(void *)at[14] + i * p->MC;
        }
    }
    if (p->most_frequent) {
        c->frequent.columns = (int32_t *)(void *)at[15];
        c->frequent.ascending = c->frequent.columns + p->most_frequent;
        c->frequent_sums = (double *)(void *)at[16];
        if (p->shared_gradient) memset(c->frequent_sums, 0, pieces[16]);
    }
    if (p->shared_gradient && p->sparse)
        for (int64_t i = 0; i < p->MC; i += p->k->csr_strip(p->MC - i)) c->n_class_tasks++;
    else if (p->shared_gradient)
        c->n_class_tasks = (p->MC + p->task_classes - 1) / p->task_classes;
    return prepare_parameters(c, at[1], at[2], at[3]);
}

/* Sum of a model's weights over the rows */
static double sum_weights(const rc_problem *problem, const rc_rows *rows, int64_t model)
{
    const rc_vector *w = &problem->weights;
    const char *base = (const char *)w->data + rc_weights_of(problem, model) * problem->weights_model_stride;
    double sum = 0;
    if (!w->data) return (double)rows->n;
    for (int64_t i = 0; i < rows->n; i++) {
        const char *at = base + rc_row_at(rows, i) * w->stride;
        sum += w->dtype == RC_FLOAT32 ? *(const float *)(const void *)at : *(const double *)(const void *)at;
    }
    return sum;
}

static rc_status check_binary(const rc_problem *problem, rc_error *error)
{
    if (problem->n_classes == 1 && problem->loss == RC_CRAMMER_SINGER)
        return fail(error, RC_ERROR_ARGUMENT, "loss", "crammer_singer has no binary form");
    return RC_OK;
}

/* 1 / sum of the weights, of each model */
static rc_status find_scales(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                             double *scale, rc_error *error)
{
    for (int64_t m = 0; m < problem->n_models; m++) {
        const double sum = parameters->weight_sums ? parameters->weight_sums[m] : sum_weights(problem, rows, m);
        if (!(sum > 0)) return fail(error, RC_ERROR_ARGUMENT, "sample_weight", "must not sum to zero over the rows");
        scale[m] = 1 / sum;
    }
    return RC_OK;
}

/* What rc_evaluate, rc_conjugate and rc_adjoint share; `slopes` is what tells them apart. */
static rc_status evaluate(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                          const rc_control *control, block_slopes *slopes, const rc_dual_point *point, rc_gradient *out,
                          rc_error *error)
{
    rc_status status =
        check_call(problem, rows, parameters, slopes == block_adjoint ? NEEDS_Y : NEEDS_W | NEEDS_Y, error);
    if (status != RC_OK) return status;
    status = check_binary(problem, error);
    if (status != RC_OK) return status;

    call c;
    const int with_gradient = out->grad_W || out->grad_b;
    status = begin(&c, problem, rows, parameters, control, with_gradient);
    c.slopes = slopes;
    c.point = point;
    double *scale = malloc((size_t)problem->n_models * sizeof *scale);
    if (!scale) status = RC_ERROR_MEMORY;
    if (status == RC_OK) status = find_scales(problem, rows, parameters, scale, error);
    if (status == RC_OK) {
        const rc_plan *p = &c.plan;
        c.out = out;
        if (p->shared_gradient)
            evaluate_super_blocks(&c);
        else
            do_chunks(&c, evaluate_chunk);
        if (rc_flag_raised(&c.stop))
            status = fail(error, RC_INTERRUPTED, "", "interrupted");
        else if (rc_flag_raised(&c.not_finite))
            status = blame(&c, error);
    }
    if (status == RC_OK && out->value) {
        const rc_plan *p = &c.plan;
        const int64_t n_values = p->shared_gradient ? (rows->n + p->block - 1) / p->block : p->n_chunks;
        for (int64_t m = 0; m < p->M; m++) {
            double sum = 0;
            for (int64_t i = 0; i < n_values; i++) sum += c.chunk_values[i * p->M + m];
            out->value[m] = scale[m] * sum;
        }
        const rc_penalty *r = &parameters->penalty;
        if (r->l1 != 0 || r->l2 != 0 || r->group != 0) {
            double penalty;
            for (int64_t m = 0; m < p->M; m++) {
                rc_penalty_value(parameters->real, offset(parameters->W, m * p->C * p->D, p->k->real_size), 1, p->C,
                                 p->D, r, &penalty);
                out->value[m] += penalty;
            }
        }
    }
    c.value_scale = scale;
    if (status == RC_OK && with_gradient) finish_gradient(&c);
    free(scale);
    free(c.columns_memory);
    give_memory(control->workspace, c.memory, c.memory_kept);
    return status == RC_ERROR_MEMORY ? fail(error, status, "", "out of memory") : status;
}

rc_status rc_evaluate(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                      const rc_control *control, rc_gradient *out, rc_error *error)
{
    return evaluate(problem, rows, parameters, control, block_losses, NULL, out, error);
}

rc_status rc_conjugate(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                       const rc_control *control, const rc_dual_point *point, double *value, rc_error *error)
{
    rc_parameters q = *parameters;
    q.penalty = (rc_penalty){0, 0, 0};
    rc_gradient out = {value, NULL, NULL};
    return evaluate(problem, rows, &q, control, block_conjugates, point, &out, error);
}

static rc_status adjoint_by_features(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                                     const rc_control *control, const void *u, int64_t u_stride, rc_gradient *out,
                                     rc_error *error)
{
    rc_status status = check_call(problem, rows, parameters, NEEDS_Y, error);
    if (status == RC_OK) status = check_binary(problem, error);
    if (status != RC_OK) return status;
    double *scale = malloc((size_t)problem->n_models * sizeof *scale);
    if (!scale) return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    status = find_scales(problem, rows, parameters, scale, error);
    if (status == RC_OK) status = rc_adjoint_by_features(problem, rows, parameters, control, u, u_stride, scale, out);
    free(scale);
    if (status == RC_ERROR_MEMORY) return fail(error, status, "", "out of memory");
    return status == RC_INTERRUPTED ? fail(error, status, "", "interrupted") : status;
}

rc_status rc_adjoint(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                     const rc_control *control, const void *u, int64_t u_stride, rc_gradient *out, rc_error *error)
{
    rc_parameters q = *parameters;
    q.W = q.b = NULL;
    q.penalty = (rc_penalty){0, 0, 0};
    if (rc_shares_features(problem, rows))
        return adjoint_by_features(problem, rows, &q, control, u, u_stride, out, error);
    const rc_dual_point point = {u, u_stride, NULL, NULL, NULL};
    rc_gradient slopes = {NULL, out->grad_W, out->grad_b};
    return evaluate(problem, rows, &q, control, block_adjoint, &point, &slopes, error);
}

/* ---------------------------------------------------------------- prediction */

static int64_t predict_chunk(call *c, int64_t chunk, int thread)
{
    const rc_plan *p = &c->plan;
    const rc_prediction *out = c->prediction;
    rc_scratch *s = &c->scratch[thread];
    const size_t size = p->k->real_size;
    const int64_t start = rc_chunk_start(p, chunk), end = rc_chunk_start(p, chunk + 1);
    const int64_t n_probabilities = p->C > 1 ? p->C : 2;
    int64_t next_chunk = -1;

    poll_host(c, thread);
    for (int64_t first = start, n; first < end && !rc_flag_raised(&c->stop); first += n) {
        n = end - first < p->block ? end - first : p->block;
        const int64_t padded = round_up(n, p->k->lanes);
        rc_ahead ahead = next_block(c, first, n, end, &next_chunk);
        block_scores(c, s, first, n, &ahead, s->S);
        if (p->k->check_scores(s->S, p->ld, p->MC, n) != 0) {
            rc_flag_raise(&c->not_finite);
            break;
        }
        if (out->scores)
            p->k->store_scores(s->S, p->ld, p->MC, n, (char *)out->scores + first * out->scores_stride,
                               out->scores_stride);
        for (int64_t m = 0; m < p->M; m++) {
            void *S = offset(s->S, m * p->C * p->ld, size);
            if (out->labels)
                p->k->labels(S, p->ld, p->C, n, out->labels + first * p->M + m, p->M * (int64_t)sizeof(int64_t));
            if (out->probabilities) {
                /* the binary form needs a row of scores of its own for its second class */
                void *P = p->C == 1 ? s->pair : S;
                if (p->C == 1) memcpy(P, S, (size_t)padded * size);
                p->k->probabilities(P, p->ld, p->C, padded);
                p->k->store_scores(P, p->ld, n_probabilities, n,
                                   (char *)out->probabilities + first * out->probabilities_stride +
                                       m * n_probabilities * (int64_t)size,
                                   out->probabilities_stride);
            }
        }
    }
    return next_chunk < 0 ? rc_counter_next(&c->chunks) : next_chunk;
}

rc_status rc_predict(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                     const rc_control *control, rc_prediction *out, rc_error *error)
{
    rc_status status = check_call(problem, rows, parameters, NEEDS_W, error);
    if (status != RC_OK) return status;
    call c;
    status = begin(&c, problem, rows, parameters, control, 0);
    if (status == RC_OK) {
        c.prediction = out;
        do_chunks(&c, predict_chunk);
        if (rc_flag_raised(&c.stop))
            status = fail(error, RC_INTERRUPTED, "", "interrupted");
        else if (rc_flag_raised(&c.not_finite))
            status = blame(&c, error);
    }
    free(c.columns_memory);
    give_memory(control->workspace, c.memory, c.memory_kept);
    return status == RC_ERROR_MEMORY ? fail(error, status, "", "out of memory") : status;
}
