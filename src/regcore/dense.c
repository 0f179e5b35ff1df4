/*
 * Algebra of small dense matrices on the kernels' two products: weighted Gram matrices, Cholesky factors, and solving
 * with these.  What a task adds up, and in which order, follows from the shapes alone; tasks write apart.
 *
 *   Gram      tiles of PANEL x COLUMNS right of the diagonal: a panel of Z, transposed, times weighted rows
 *   Cholesky  right-looking by columns of CHOLESKY_BLOCK: factor the block on the diagonal, multiply what is below it
 *             by the inverse of the block's transpose, subtract the product of that with its transpose from the rest
 *   solve     forward by dot products with rows of L, backward by multiples of them, for RIGHT_SIDES at a time
 */
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "kernels.h"
#include "poll.h"
#include "threads.h"

enum {
    PANEL = 72,           /* rows of a tile: 12 register tiles */
    COLUMNS = 256,        /* of a tile; with ROWS its operands stay in L2 */
    ROWS = 128,           /* of Z, between two visits of a tile's sums */
    ENOUGH_TO_SHARE = 4,  /* so many matrices a thread are handed out whole, */
    SIZE_TO_SPLIT = 1024, /* and smaller ones than this */
    RIGHT_SIDES = 8,      /* they share the reads of L */
    MOST_LANES = 16,
    WORK_PER_THREAD = 1 << 20 /* multiply-adds that repay waking a thread */
};

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* What the three calls have in common */
typedef struct {
    const rc_kernels *k;
    int64_t size; /* of a real */
    const rc_control *control;
    struct timespec polled;
    rc_flag stop;
    int n_threads;
    char *memory;
    size_t thread_bytes;
} call;

/* Decides how many threads the work, in multiply-adds, is worth; each gets scratch of so many reals. */
static rc_status start(call *c, rc_dtype real, const rc_control *control, double work, size_t thread_numbers,
                       rc_error *error)
{
    const int wanted = control->n_threads > 0 ? control->n_threads : rc_default_threads();
    const double worth = work / WORK_PER_THREAD;
    if (real != RC_FLOAT32 && real != RC_FLOAT64)
        return fail(error, RC_ERROR_ARGUMENT, "real", "must be float32 or float64");
    c->k = rc_kernels_for(real);
    c->size = (int64_t)c->k->real_size;
    c->control = control;
    c->n_threads = worth < 1 ? 1 : worth < wanted ? (int)worth : wanted;
    c->thread_bytes = (thread_numbers * c->k->real_size + 127) / 64 * 64;
    return RC_OK;
}

/* Memory of the threads, own_memory(c, i), and `shared` bytes behind it */
static rc_status take_memory(call *c, size_t shared)
{
    c->memory = aligned_alloc(64, (size_t)c->n_threads * c->thread_bytes + (shared + 127) / 64 * 64);
    return c->memory ? RC_OK : RC_ERROR_MEMORY;
}

static rc_status finish(call *c, rc_error *error)
{
    free(c->memory);
    if (!rc_flag_raised(&c->stop)) return RC_OK;
    return fail(error, RC_INTERRUPTED, "", "interrupted");
}

/* Whether to go on. The calling thread asks its host now and then. */
static int goes_on(call *c, int thread)
{
    if (thread == 0 && asked_to_stop(c->control, &c->polled)) rc_flag_raise(&c->stop);
    return !rc_flag_raised(&c->stop);
}

static char *own_memory(const call *c, int thread) { return c->memory + (size_t)thread * c->thread_bytes; }

/* ---------------------------------------------------------------- Gram matrices */

typedef struct {
    call c;
    rc_dtype real;
    const char *Z;
    const double *H;
    int64_t n, K, B, tiles; /* tiles of a block */
    char *out;
} gram;

static int64_t panel_tiles(int64_t K, int64_t first) { return ceil_div(K - first, COLUMNS); }

static void gram_tile(void *context, int64_t task, int thread)
{
    gram *g = context;
    if (!goes_on(&g->c, thread)) return;
    const rc_kernels *k = g->c.k;
    const int64_t size = g->c.size, K = g->K, block = task / g->tiles;
    const int64_t ld = ROWS + MOST_LANES, row_ld = COLUMNS + MOST_LANES;
    int64_t tile = task % g->tiles, row = 0;
    for (; tile >= panel_tiles(K, row); row += PANEL) tile -= panel_tiles(K, row);
    const int64_t first = row + tile * COLUMNS;
    const int64_t n_columns = least(K - first, COLUMNS), n_rows = least(K - row, PANEL);
    const int64_t packed = round_up(n_columns, k->lanes);
    const rc_row_shape shape = {packed / k->lanes, packed - k->lanes, packed};
    const rc_vector weights = {g->H + block, RC_FLOAT64, g->B * (int64_t)sizeof(double)};
    const rc_rows rows = {NULL, 0, 1, g->n};

    char *G = own_memory(&g->c, thread), *S = G + PANEL * COLUMNS * size, *x = S + PANEL * ld * size;
    char *h = x + ROWS * row_ld * size;
    const void *x_rows[ROWS];
    for (int64_t r = 0; r < ROWS; r++) x_rows[r] = x + r * row_ld * size;
    memset(G, 0, (size_t)(n_rows * packed * size));
    for (int64_t i = 0; i < g->n; i += ROWS) {
        const int64_t n = least(g->n - i, ROWS);
        const char *z = g->Z + i * K * size;
        rc_ahead none = {G, G, 0};
        k->load_vector(&weights, &rows, i, n, n, h);
        k->copy_transposed(z + row * size, K, n, n_rows, 1, S, ld);
        k->copy_weighted(z + first * size, K, h, n, n_columns, packed, x, row_ld);
        k->gradient_rows(S, ld, n_rows, x_rows, g->real, n, &shape, &none, G);
    }
    k->add_symmetric(G, packed, row, n_rows, first, n_columns, g->out + block * K * K * size, K);
}

rc_status rc_gram_blocks(rc_dtype real, const void *Z, const double *H, int64_t n, int64_t K, int64_t B,
                         const rc_control *control, void *out, rc_error *error)
{
    const size_t numbers = PANEL * COLUMNS + PANEL * (ROWS + MOST_LANES) + ROWS * (COLUMNS + MOST_LANES) + ROWS;
    gram g = {.real = real, .Z = Z, .H = H, .n = n, .K = K, .B = B, .out = out};
    if (n < 0 || K < 0 || B < 0) return fail(error, RC_ERROR_ARGUMENT, "Z", "must have a shape");
    rc_status status = start(&g.c, real, control, 0.5 * (double)n * (double)K * (double)K * (double)B, numbers, error);
    if (status == RC_OK) status = take_memory(&g.c, 0);
    if (status != RC_OK) return status;
    for (int64_t row = 0; row < K; row += PANEL) g.tiles += panel_tiles(K, row);
    rc_parallel_for(B * g.tiles, g.c.n_threads, gram_tile, &g);
    return finish(&g.c, error);
}

/* ---------------------------------------------------------------- Cholesky factors */

enum { BLOCK = CHOLESKY_BLOCK };

typedef struct {
    call c;
    rc_dtype real;
    const char *A;
    const double *extra;
    int64_t K;
    char *out;
    uint8_t *definite;
    char *shared; /* of each matrix in hand: an inverse, and the columns in hand transposed */
    int64_t ld, stride;
} cholesky;

/* A step on the matrices in hand: on one of them by a thread, or on a few that all threads share */
typedef struct {
    cholesky *f;
    int64_t block, slot; /* of the first matrix, in `out` and in `shared` */
    int64_t column;      /* the first one in hand */
    int64_t panels;      /* panels of rows below the columns in hand, or of all rows */
    int thread;          /* -1: all */
} step;

static void run(step *s, int64_t n_tasks, rc_task *task)
{
    if (s->thread < 0)
        rc_parallel_for(n_tasks, s->f->c.n_threads, task, s);
    else
        for (int64_t i = 0; i < n_tasks; i++) task(s, i, s->thread);
}

static char *matrix(const step *s, int64_t i, int64_t row, int64_t column)
{
    const int64_t K = s->f->K;
    return s->f->out + (((s->block + i) * K + row) * K + column) * s->f->c.size;
}

static char *inverse_of(const step *s, int64_t i) { return s->f->shared + (s->slot + i) * s->f->stride; }

/* Whether the matrix of a task has a factor so far, and nobody wants to stop */
static int is_alive(const step *s, int64_t i, int thread)
{
    return s->f->definite[s->block + i] && goes_on(&s->f->c, thread);
}

static void load_panel(void *context, int64_t task, int thread)
{
    step *s = context;
    cholesky *f = s->f;
    if (!goes_on(&f->c, thread)) return;
    const int64_t i = task / s->panels, K = f->K, row = task % s->panels * PANEL, n = least(K - row, PANEL);
    char *at = matrix(s, i, row, 0);
    memcpy(at, f->A + (at - f->out), (size_t)(n * K * f->c.size));
    if (f->extra) f->c.k->add_diagonal(f->extra + (s->block + i) * K + row, n, at + row * f->c.size, K);
}

static void clear_panel(void *context, int64_t task, int thread)
{
    step *s = context;
    cholesky *f = s->f;
    (void)thread;
    const int64_t i = task / s->panels, K = f->K, row = task % s->panels * PANEL, end = least(K, row + PANEL);
    for (int64_t r = row; r < end; r++) memset(matrix(s, i, r, r) + f->c.size, 0, (size_t)((K - r - 1) * f->c.size));
}

static void factor_block(void *context, int64_t i, int thread)
{
    step *s = context;
    cholesky *f = s->f;
    if (!is_alive(s, i, thread)) return;
    const int64_t n = least(f->K - s->column, BLOCK);
    void *inverse = s->column + n < f->K ? inverse_of(s, i) : NULL;
    f->definite[s->block + i] = (uint8_t)f->c.k->factor_diagonal(matrix(s, i, s->column, s->column), f->K, n,
                                                                 own_memory(&f->c, thread), inverse);
}

/*
 * Columns right of the block on the diagonal, as vectors that end with the matrix: the first of them begins up to
 * lanes - 1 columns early, where `transposed` holds zeros, so that what is there stays as it is.
 */
static int64_t early(const step *s)
{
    const int64_t left = s->f->K - s->column - BLOCK;
    return round_up(left, s->f->c.k->lanes) - left;
}

/* Rows of a panel below the block: times the inverse, and negative and transposed for `update_panel` */
static void solve_panel(void *context, int64_t task, int thread)
{
    step *s = context;
    cholesky *f = s->f;
    const rc_kernels *k = f->c.k;
    const int64_t i = task / s->panels, size = f->c.size, below = task % s->panels * PANEL;
    if (!is_alive(s, i, thread)) return;
    const int64_t row = s->column + BLOCK + below, n = least(f->K - row, PANEL), skipped = early(s);
    const rc_row_shape shape = {BLOCK / k->lanes, BLOCK - k->lanes, BLOCK};
    char *inverse = inverse_of(s, i), *transposed = inverse + BLOCK * BLOCK * size;
    char *at = matrix(s, i, row, s->column), *G = own_memory(&f->c, thread);
    const void *x[BLOCK];
    rc_ahead none = {G, G, 0};
    for (int64_t r = 0; r < BLOCK; r++) x[r] = inverse + r * BLOCK * size;
    memset(G, 0, (size_t)(n * BLOCK * size));
    k->gradient_rows(at, f->K, n, x, f->real, BLOCK, &shape, &none, G);
    for (int64_t r = 0; r < n; r++) memcpy(at + r * f->K * size, G + r * BLOCK * size, (size_t)(BLOCK * size));
    k->copy_transposed(G, BLOCK, n, BLOCK, -1, transposed + (skipped + below) * size, f->ld);
    for (int64_t r = 0; r < BLOCK && below == 0; r++)
        memset(transposed + r * f->ld * size, 0, (size_t)(skipped * size));
}

/* A panel of the rest, up to the vector that the diagonal is in; the longest rows come first. */
static void update_panel(void *context, int64_t task, int thread)
{
    step *s = context;
    cholesky *f = s->f;
    const rc_kernels *k = f->c.k;
    const int64_t i = task / s->panels, size = f->c.size, below = (s->panels - 1 - task % s->panels) * PANEL;
    if (!is_alive(s, i, thread)) return;
    const int64_t row = s->column + BLOCK + below, n = least(f->K - row, PANEL), skipped = early(s);
    const int64_t n_vectors = ceil_div(skipped + below + n, k->lanes);
    const rc_row_shape shape = {n_vectors, (n_vectors - 1) * k->lanes, f->K};
    const char *transposed = inverse_of(s, i) + BLOCK * BLOCK * size;
    const void *x[BLOCK];
    rc_ahead none = {transposed, transposed, 0};
    for (int64_t r = 0; r < BLOCK; r++) x[r] = transposed + r * f->ld * size;
    k->gradient_rows(matrix(s, i, row, s->column), f->K, n, x, f->real, BLOCK, &shape, &none,
                     matrix(s, i, row, s->column + BLOCK - skipped));
}

static void factor_in_hand(step *s, int64_t n)
{
    const int64_t K = s->f->K;
    s->panels = ceil_div(K, PANEL);
    run(s, n * s->panels, load_panel);
    for (s->column = 0; s->column < K; s->column += BLOCK) {
        run(s, n, factor_block);
        if (s->column + BLOCK >= K) continue;
        s->panels = ceil_div(K - s->column - BLOCK, PANEL);
        run(s, n * s->panels, solve_panel);
        run(s, n * s->panels, update_panel);
    }
    s->panels = ceil_div(K, PANEL);
    run(s, n * s->panels, clear_panel);
}

static void factor_one(void *context, int64_t i, int thread)
{
    step s = {.f = context, .block = i, .slot = thread, .thread = thread};
    factor_in_hand(&s, 1);
}

rc_status rc_cholesky_blocks(rc_dtype real, const void *A, const double *extra, int64_t B, int64_t K,
                             const rc_control *control, void *out, uint8_t *definite, rc_error *error)
{
    cholesky f = {.real = real, .A = A, .extra = extra, .K = K, .out = out, .definite = definite};
    if (K < 0 || B < 0) return fail(error, RC_ERROR_ARGUMENT, "A", "must have a shape");
    rc_status status =
        start(&f.c, real, control, (double)B * (double)K * (double)K * (double)K / 6, PANEL * BLOCK, error);
    if (status != RC_OK) return status;
    /* a few large ones are factored side by side: it costs three waits for the threads a step */
    const int side_by_side = B % f.c.n_threads != 0 && B < ENOUGH_TO_SHARE * f.c.n_threads && K >= SIZE_TO_SPLIT;
    /* one vector more than a multiple of 1024 bytes: the rows must not share a cache set */
    f.ld = round_up(K, 256) + MOST_LANES;
    f.stride = BLOCK * (BLOCK + f.ld) * f.c.size;
    status = take_memory(&f.c, (size_t)((side_by_side ? B : f.c.n_threads) * f.stride));
    if (status != RC_OK) return status;
    f.shared = own_memory(&f.c, f.c.n_threads);
    memset(definite, 1, (size_t)B);
    if (side_by_side) {
        step all = {.f = &f, .thread = -1};
        factor_in_hand(&all, B);
    } else
        rc_parallel_for(B, f.c.n_threads, factor_one, &f);
    return finish(&f.c, error);
}

/* ---------------------------------------------------------------- solving */

typedef struct {
    call c;
    rc_dtype real;
    const char *L;
    int64_t K, n, each; /* right sides, and how many of them a task has */
    int one_factor;
    int64_t ld;
    const double *r;
    double *out;
} solution;

static void solve_task(void *context, int64_t task, int thread)
{
    solution *s = context;
    if (!goes_on(&s->c, thread)) return;
    const rc_kernels *k = s->c.k;
    const int64_t size = s->c.size, K = s->K, ld = s->ld, first = task * s->each, n = least(s->n - first, s->each);
    const char *L = s->L + (s->one_factor ? 0 : task * K * K * size);
    char *y = own_memory(&s->c, thread), *S = y + s->each * ld * size, *zeros = S + s->each * BLOCK * size;
    const void *x[BLOCK];
    rc_ahead none = {L, L, 0};
    memset(zeros, 0, (size_t)(RIGHT_SIDES * size));
    for (int64_t i = 0; i < n; i++) {
        const rc_vector right = {s->r + (first + i) * K, RC_FLOAT64, sizeof(double)};
        const rc_rows all = {NULL, 0, 1, K};
        k->load_vector(&right, &all, 0, K, ld, y + i * ld * size);
    }
    for (int64_t row = 0; row < K; row += BLOCK) {
        const int64_t n_rows = least(K - row, BLOCK);
        const rc_row_shape shape = {row / k->lanes, row - k->lanes, ld};
        for (int64_t r = 0; r < BLOCK; r++) x[r] = L + (row + least(r, n_rows - 1)) * K * size;
        if (row) k->scores_rows(y, zeros, n, x, s->real, n_rows, &shape, &none, S, BLOCK);
        for (int64_t i = 0; i < n; i++) {
            char *at = y + (i * ld + row) * size;
            if (row) k->subtract(S + i * BLOCK * size, n_rows, at);
            k->solve_lower(L + row * (K + 1) * size, K, n_rows, at);
        }
    }
    for (int64_t row = (K - 1) / BLOCK * BLOCK; row >= 0; row -= BLOCK) {
        const int64_t n_rows = least(K - row, BLOCK);
        const rc_row_shape shape = {row / k->lanes, row - k->lanes, ld};
        for (int64_t r = 0; r < n_rows; r++) x[r] = L + (row + r) * K * size;
        memset(S, 0, (size_t)(n * BLOCK * size));
        for (int64_t i = 0; i < n; i++) {
            char *at = y + (i * ld + row) * size;
            k->solve_upper(L + row * (K + 1) * size, K, n_rows, at);
            k->subtract(at, n_rows, S + i * BLOCK * size);
        }
        if (row) k->gradient_rows(S, BLOCK, n, x, s->real, n_rows, &shape, &none, y);
    }
    memset(s->out + first * K, 0, (size_t)(n * K) * sizeof(double));
    for (int64_t i = 0; i < n; i++) k->flush(y + i * ld * size, 1, K, NULL, s->out + (first + i) * K);
}

rc_status rc_cholesky_solve(rc_dtype real, const void *L, int64_t B, int64_t K, const double *r, int64_t n,
                            const rc_control *control, double *out, rc_error *error)
{
    solution s = {.real = real, .L = L, .K = K, .n = n, .one_factor = B == 1, .r = r, .out = out};
    if (K < 0 || n < 0 || (B != n && B != 1))
        return fail(error, RC_ERROR_ARGUMENT, "r", "must have a row for each factor");
    if (K == 0 || n == 0) return RC_OK;
    s.each = s.one_factor ? ceil_div(n, ceil_div(n, RIGHT_SIDES)) : 1;
    s.ld = round_up(K, 256) + MOST_LANES;
    rc_status status = start(&s.c, real, control, (double)n * (double)K * (double)K,
                             (size_t)(s.each * (s.ld + BLOCK) + RIGHT_SIDES), error);
    if (status == RC_OK) status = take_memory(&s.c, 0);
    if (status != RC_OK) return status;
    rc_parallel_for(ceil_div(n, s.each), s.c.n_threads, solve_task, &s);
    return finish(&s.c, error);
}
