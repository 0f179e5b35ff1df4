/*
 * V = sum w u x' of dual points where the features are many: the slopes of all samples, weighted, are made once, and
 * the threads take strips of features.  Each sum belongs to one thread, so that neither a gradient of its own nor an
 * order of joining is needed, and samples are too few to be shared out in any case.
 *
 * Columns that lie in memory as the products want them are read in place, up to a whole vector, which ends in the next
 * column; what is read too much there meets slopes of zero.  The last columns of a strip are packed instead, since the
 * memory may end with them.  Rows are read in place where their type allows it; everything else is packed.
 */
#include "by_features.h"

#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "poll.h"
#include "threads.h"

enum {
    STRIP = 256,               /* features of a task */
    ROW_RUN = 128,             /* rows whose float32 sums join in double */
    COLUMN_RUN = 512,          /* the same with the lanes along the rows */
    MOST_SCORES = 64,          /* slopes of a row */
    MOST_ROWS = 1 << 16,       /* their slopes are held */
    PACKED_COLUMNS = 16,       /* at the end of a strip */
    WORK_PER_THREAD = 2 << 20, /* multiply-adds that repay waking a thread, and the wait for one that is busy */
    ALIGNMENT = 64
};

typedef struct {
    void *G, *packed; /* (MC, 2 * STRIP); a run of rows, or columns */
    double *total;    /* (MC, 2 * STRIP) */
    const void **x;
    const char **sources;
} scratch;

typedef struct {
    const rc_problem *problem;
    const rc_kernels *k;
    const rc_rows *rows;
    const rc_parameters *parameters;
    const rc_control *control;
    const rc_gradient *out;
    const double *scale;
    int64_t N, D, C, MC, ld, run, n_strips, row_ld, column_ld;
    int by_columns, is_direct;
    rc_dtype stored;
    void *S;         /* (MC, ld): weight * u */
    double *total_b; /* (MC,) */
    scratch *of_thread;
    rc_flag stop;
    struct timespec polled;
} call;

int rc_shares_features(const rc_problem *problem, const rc_rows *rows)
{
    const rc_matrix *X = &problem->X;
    return !X->indices && !rows->index && rows->n <= X->n_columns && rows->n <= MOST_ROWS && X->n_columns >= STRIP &&
           problem->n_models * problem->n_classes <= MOST_SCORES;
}

/* The calling thread asks its host now and then whether to go on. */
static void poll_host(call *c, int thread)
{
    if (thread == 0 && asked_to_stop(c->control, &c->polled)) rc_flag_raise(&c->stop);
}

/* How strips are read: columns where they lie together, else rows */
static void choose_view(call *c)
{
    const rc_matrix *X = &c->problem->X;
    const int64_t size = (int64_t)c->k->real_size, step = X->row_stride * c->rows->step;
    const int native = X->dtype == c->parameters->real && (uintptr_t)X->data % (uintptr_t)size == 0;
    const int loadable = X->dtype == RC_FLOAT16 || X->dtype == RC_UINT8 || X->dtype == RC_INT8;
    c->by_columns = X->column_stride != rc_item_size(X->dtype) && step == rc_item_size(X->dtype);
    c->stored = c->parameters->real;
    if (c->by_columns) {
        /* up to a whole vector of the next column is read, but nothing that may lie between columns */
        const int is_apart = X->column_stride > c->N * size && c->N % c->k->lanes > 0;
        c->is_direct = native && !is_apart && X->column_stride >= c->N * size && X->column_stride % size == 0;
    } else {
        const int together = X->column_stride == rc_item_size(X->dtype);
        c->is_direct = together && ((native && X->row_stride % size == 0) || loadable);
        if (c->is_direct) c->stored = X->dtype;
    }
    c->run = c->by_columns ? COLUMN_RUN : ROW_RUN;
    if (c->run > c->N) c->run = round_up(c->N, c->k->row_tile);
    c->row_ld = 2 * STRIP + c->k->lanes; /* no multiple of 4096 bytes */
    c->column_ld = round_up(c->run, c->k->row_tile) + c->k->lanes;
}

/* ---------------------------------------------------------------- the slopes */

static void load_weights(const call *c, int64_t m, void *w)
{
    static const double one = 1;
    rc_vector vector = {&one, RC_FLOAT64, 0};
    if (c->problem->weights.data) {
        vector = c->problem->weights;
        vector.data = (const char *)vector.data + rc_weights_of(c->problem, m) * c->problem->weights_model_stride;
    }
    c->k->load_vector(&vector, c->rows, 0, c->N, round_up(c->N, c->k->lanes), w);
}

/* weight * u of all samples, moved into the loss's domain, or weight * e_y (t of soft targets) without u */
static void make_slopes(call *c, const void *u, int64_t u_stride, void *y, void *w, void *T)
{
    const rc_problem *p = c->problem;
    const rc_kernels *k = c->k;
    const int64_t padded = round_up(c->N, k->lanes);
    const int soft = rc_is_soft(p);
    if (p->y.data) k->load_vector(&p->y, c->rows, 0, c->N, padded, y);
    if (soft) k->load_targets(p, c->rows, 0, c->N, padded, y, T, c->ld);
    for (int64_t m = 0; m < p->n_models; m++) {
        void *S = offset(c->S, m * c->C * c->ld, k->real_size);
        load_weights(c, m, w);
        if (!u && !soft) {
            k->one_hot(S, c->ld, c->C, padded, y, w);
            continue;
        }
        if (!u)
            memcpy(S, T, (size_t)(c->C * c->ld) * k->real_size);
        else {
            k->load_scores(offset(u, m * c->C, k->real_size), u_stride, c->rows, 0, c->N, padded, c->C, S, c->ld);
            if (soft)
                k->soft_project(S, c->ld, c->C, padded, T, c->ld);
            else
                (c->C == 1 ? k->binary_project : k->project)[p->loss](S, c->ld, c->C, padded, y);
        }
        k->weigh(S, c->ld, c->C, padded, w);
    }
    k->row_sums(c->S, c->ld, c->MC, padded, 1, c->total_b);
}

/* ---------------------------------------------------------------- strips */

static void add_columns(const call *c, const scratch *s, int64_t row, int64_t n_rows, int64_t first, int64_t n)
{
    const rc_matrix *X = &c->problem->X;
    const rc_kernels *k = c->k;
    const size_t size = k->real_size;
    const char *base = (const char *)X->data + rc_row_at(c->rows, row) * X->row_stride + first * X->column_stride;
    const int64_t packed = !c->is_direct ? n : n < PACKED_COLUMNS ? n : PACKED_COLUMNS, direct = n - packed;
    rc_ahead none = {base, base, 0};
    for (int64_t d = 0; d < direct; d++) s->x[d] = base + d * X->column_stride;
    for (int64_t r = 0; r < n_rows; r++)
        s->sources[r] = base + direct * X->column_stride + r * c->rows->step * X->row_stride;
    k->pack_columns(s->sources, X->dtype, X->column_stride, n_rows, packed, s->packed, c->column_ld);
    for (int64_t d = 0; d < packed; d++) s->x[direct + d] = offset(s->packed, d * c->column_ld, size);
    for (int64_t d = n; d < round_up(n, k->row_tile); d++) s->x[d] = s->x[n - 1];
    k->gradient_columns(offset(c->S, row, size), c->ld, c->MC, n, s->x, round_up(n_rows, k->lanes), &none, s->G);
    k->flush(s->G, c->MC, n, NULL, 1, s->total);
}

static void add_rows(const call *c, const scratch *s, int64_t row, int64_t n_rows, int64_t first, int64_t n)
{
    const rc_matrix *X = &c->problem->X;
    const rc_kernels *k = c->k;
    const int64_t n_vectors = (n + k->lanes - 1) / k->lanes;
    const rc_row_shape shape = {n_vectors, n - k->lanes, n_vectors * k->lanes};
    const char *base = (const char *)X->data + rc_row_at(c->rows, row) * X->row_stride + first * X->column_stride;
    rc_ahead none = {base, base, 0};
    for (int64_t r = 0; r < n_rows; r++) s->sources[r] = base + r * c->rows->step * X->row_stride;
    if (!c->is_direct) k->pack_rows(s->sources, X->dtype, X->column_stride, n_rows, n, s->packed, c->row_ld);
    for (int64_t r = 0; r < n_rows; r++)
        s->x[r] = c->is_direct ? s->sources[r] : offset(s->packed, r * c->row_ld, k->real_size);
    for (int64_t r = n_rows; r < round_up(n_rows, k->row_tile); r++) s->x[r] = s->x[n_rows - 1];
    k->gradient_rows(offset(c->S, row, k->real_size), c->ld, c->MC, s->x, c->stored, n_rows, &shape, &none, s->G);
    k->flush(s->G, c->MC, n, &shape, 1, s->total);
}

static void sum_strip(void *context, int64_t strip, int thread)
{
    call *c = context;
    const rc_parameters *q = c->parameters;
    const scratch *s = &c->of_thread[thread];
    const int64_t first = strip * STRIP, n = strip + 1 == c->n_strips ? c->D - first : STRIP;
    poll_host(c, thread);
    if (rc_flag_raised(&c->stop)) return;
    memset(s->total, 0, (size_t)(c->MC * n) * sizeof(double));
    for (int64_t row = 0; row < c->N; row += c->run)
        (c->by_columns ? add_columns : add_rows)(c, s, row, c->N - row < c->run ? c->N - row : c->run, first, n);
    for (int64_t i = 0; i < c->MC; i++) {
        double *total = s->total + i * n;
        for (int64_t d = 0; q->center && d < n; d++) total[d] -= c->total_b[i] * q->center[first + d];
        for (int64_t d = 0; q->scale && d < n; d++) total[d] /= q->scale[first + d];
        c->k->finish_gradient(total, NULL, n, c->scale[i / c->C], 0, 0,
                              offset(c->out->grad_W, i * c->D + first, c->k->real_size));
    }
}

/* ---------------------------------------------------------------- the call */

static void *carve(char *memory, size_t *used, int64_t n, size_t size)
{
    void *p = memory ? memory + *used : NULL;
    *used += ((size_t)n * size + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return p;
}

static size_t layout(call *c, int n_threads, char *memory, void **y, void **w, void **T)
{
    const size_t size = c->k->real_size;
    const int64_t packed = c->by_columns  ? (c->is_direct ? PACKED_COLUMNS : 2 * STRIP) * c->column_ld
                           : c->is_direct ? 0
                                          : c->run * c->row_ld;
    const int64_t longest = 2 * STRIP > c->run ? 2 * STRIP : c->run;
    size_t used = 0;
    c->S = carve(memory, &used, c->MC * c->ld, size);
    c->total_b = carve(memory, &used, c->MC, sizeof(double));
    *y = carve(memory, &used, c->ld, size);
    *w = carve(memory, &used, c->ld, size);
    *T = carve(memory, &used, rc_is_soft(c->problem) ? (c->C > 1 ? c->C : 2) * c->ld : 0, size);
    c->of_thread = carve(memory, &used, n_threads, sizeof *c->of_thread);
    for (int t = 0; t < n_threads; t++) {
        scratch s = {.G = carve(memory, &used, c->MC * 2 * STRIP, size)};
        s.packed = carve(memory, &used, packed, size);
        s.total = carve(memory, &used, c->MC * 2 * STRIP, sizeof(double));
        s.x = carve(memory, &used, longest + c->k->row_tile, sizeof *s.x);
        s.sources = carve(memory, &used, c->run, sizeof *s.sources);
        if (memory) c->of_thread[t] = s;
    }
    return used + ALIGNMENT;
}

rc_status rc_adjoint_by_features(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                                 const rc_control *control, const void *u, int64_t u_stride, const double *scale,
                                 rc_gradient *out)
{
    call c = {.problem = problem,
              .k = rc_kernels_for(parameters->real),
              .rows = rows,
              .parameters = parameters,
              .control = control,
              .out = out,
              .scale = scale,
              .N = rows->n,
              .D = problem->X.n_columns,
              .C = problem->n_classes,
              .MC = problem->n_models * problem->n_classes};
    void *y, *w, *T;
    c.ld = round_up(c.N, c.k->row_tile) + c.k->lanes;
    c.n_strips = c.D / STRIP; /* the last one has what is left over, too */
    choose_view(&c);
    const double work = (double)c.N * (double)c.D * (double)(c.MC + 1);
    const int wanted = control->n_threads > 0 ? control->n_threads : rc_default_threads();
    int n_threads = work < 2.0 * WORK_PER_THREAD ? 1 : wanted;
    if (n_threads > c.n_strips) n_threads = (int)c.n_strips;
    char *memory = calloc(1, layout(&c, n_threads, NULL, &y, &w, &T));
    if (!memory) return RC_ERROR_MEMORY;
    layout(&c, n_threads, memory + (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT, &y, &w, &T);
    make_slopes(&c, u, u_stride, y, w, T);
    if (out->grad_W) rc_parallel_for(c.n_strips, n_threads, sum_strip, &c);
    for (int64_t i = 0; out->grad_b && i < c.MC; i++)
        put(out->grad_b, i, parameters->real, scale[i / c.C] * c.total_b[i]);
    free(memory);
    return rc_flag_raised(&c.stop) ? RC_INTERRUPTED : RC_OK;
}
