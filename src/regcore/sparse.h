/*
 * CSR blocks.  Weights and gradient are transposed, so that a nonzero meets the classes of its feature side by side,
 * and lie in panels: the classes that fill whole vectors, up to SPARSE_VECTORS of them in each, then the rest, padded
 * to a power of two.  A row of a panel begins where no vector of it lies across two cache lines: the gradient of a
 * frequent column is read soon after it was written, and a line boundary in between costs more than all the arithmetic.
 *
 * A panel of whole vectors and the rest after it stay in registers while the nonzeros of a row pass (a strip).  Values
 * of the compute type and 32-bit indices are read where they are; others are converted a run at a time in a small
 * buffer, so that storage and index types cost no further variants.  Duplicates and unsorted columns need no care.
 */
#ifndef REGCORE_SPARSE_H
#define REGCORE_SPARSE_H

#include "kernels.h"
#include "packing.h"
#include "simd.h"

#define SPARSE_RUN 1024
#define SPARSE_VECTORS (RC_VECTOR_BYTES == 64 ? 4 : 8) /* 256 bytes of a row: four cache lines */
#define SPARSE_AHEAD 128                               /* nonzeros between the fetch of a table's row and its use */
#define SPARSE_FAR (4 << 20) /* bytes of a panel from which on its rows are fetched ahead, if they are narrow */

/* ---------------------------------------------------------------- panels and strips */

/* `width` classes: `full` vectors and `tail` more in a row of the table, 0 or a power of two less than LANES */
typedef struct {
    int64_t width, full, tail;
} sparse_strip;

/* The strip that C classes, or the last C, begin with: all strips are about equal, the last one has the tail. */
RC_INLINE sparse_strip first_strip(int64_t C)
{
    int64_t vectors = C / LANES, tail = C % LANES > 0;
    while (tail < C % LANES) tail *= 2;
    if (tail == LANES) {
        vectors++;
        tail = 0;
    }
    const int64_t n_strips = (vectors + SPARSE_VECTORS - 1) / SPARSE_VECTORS;
    if (n_strips < 2) return (sparse_strip){C, vectors, tail};
    const int64_t full = (vectors + n_strips - 1) / n_strips;
    return (sparse_strip){full * LANES, full, 0};
}

static int64_t sparse_strip_width(int64_t C) { return first_strip(C).width; }

/* Classes of the first panel of C classes, or of the last C, with its padding */
static int64_t sparse_panel(int64_t C)
{
    const sparse_strip s = first_strip(C);
    return s.full ? s.full * LANES : s.tail;
}

/* Row `feature` of the strip that begins with class c: its vectors, and its tail */
typedef struct {
    real *main, *tail;
    int64_t stride; /* 0: each has rows as long as it is wide */
    int far;
} sparse_panels;

RC_INLINE sparse_panels panels_at(const rc_table *table, int64_t c, const sparse_strip *s)
{
    real *data = (real *)table->data;
    const int64_t t = c + s->full * LANES;
    const int64_t bytes = table->panel_step * s->tail * (int64_t)sizeof(real);
    return (sparse_panels){data + c * table->panel_step, data + t * table->panel_step, table->stride,
                           bytes > SPARSE_FAR};
}

/* ---------------------------------------------------------------- nonzeros */

/* n nonzeros of a row of X, and its scores or slopes in the strip: the scores are added to `start`. The table's row for
 * the nonzero that comes `ahead` later is fetched. */
typedef struct {
    int64_t n, ahead;
    const real *values;
    const int32_t *columns;
    const real *start;
    real *row;
} sparse_run;

typedef struct {
    int64_t n; /* nonzeros in use */
    real values[SPARSE_RUN];
    int32_t columns[SPARSE_RUN + SPARSE_AHEAD];
} sparse_buffer;

RC_INLINE int64_t index_at(const void *indices, rc_dtype dtype, int64_t i)
{
    return dtype == RC_INT32 ? ((const int32_t *)indices)[i] : ((const int64_t *)indices)[i];
}

RC_INLINE int has_native_values(const rc_csr *x) { return x->dtype == (RC_REAL_BITS == 32 ? RC_FLOAT32 : RC_FLOAT64); }
RC_INLINE int has_native_columns(const rc_csr *x) { return x->index_dtype == RC_INT32 && !x->occurring; }

/* Nonzeros [first, first + n) of the matrix: where they are, or converted, at the end of the buffer */
RC_INLINE void load_run(const rc_csr *x, int64_t first, int64_t n, sparse_buffer *buffer, sparse_run *run)
{
    run->n = n;
    run->ahead = 0;
    run->values = (const real *)x->data + first;
    run->columns = (const int32_t *)x->indices + first;
    if (!has_native_values(x)) {
        real *values = buffer->values + buffer->n;
        convert_run((const char *)x->data + first * rc_item_size(x->dtype), x->dtype, n, values);
        run->values = values;
    }
    if (!has_native_columns(x)) {
        int32_t *columns = buffer->columns + buffer->n;
        if (x->occurring)
            for (int64_t i = 0; i < n; i++)
                columns[i] = (int32_t)rc_row_of_column(x->occurring, index_at(x->indices, x->index_dtype, first + i));
        else
            for (int64_t i = 0; i < n; i++) columns[i] = (int32_t)((const int64_t *)x->indices)[first + i];
        run->columns = columns;
        run->ahead = SPARSE_AHEAD;
    }
    buffer->n += n;
}

/* ---------------------------------------------------------------- products */

/* A row of a strip: `full` vectors, then 8, 4, 2 or 1 classes */
#if LANES > 1
typedef vreal_unaligned sparse_vector;
#else
typedef real sparse_vector;
#endif
#define NARROW(width)                                                                                                  \
    typedef real narrow_##width __attribute__((vector_size((width) * sizeof(real)), aligned(sizeof(real)), may_alias))
#if LANES > 2
NARROW(2);
#define PART_2(STEP)                                                                                                   \
    if (tail == 2) STEP(narrow_2, two, tail, 0);
#define DECLARE_2 narrow_2 two
#else
#define PART_2(STEP)
#define DECLARE_2 char no_two
#endif
#if LANES > 4
NARROW(4);
#define PART_4(STEP)                                                                                                   \
    if (tail == 4) STEP(narrow_4, four, tail, 0);
#define DECLARE_4 narrow_4 four
#else
#define PART_4(STEP)
#define DECLARE_4 char no_four
#endif
#if LANES > 8
NARROW(8);
#define PART_8(STEP)                                                                                                   \
    if (tail == 8) STEP(narrow_8, eight, tail, 0);
#define DECLARE_8 narrow_8 eight
#else
#define PART_8(STEP)
#define DECLARE_8 char no_eight
#endif

/* Runs STEP(type, name, panel, offset) for each part of a row. */
#define FOR_PARTS(STEP)                                                                                                \
    RC_UNROLL for (int v = 0; v < full; v++) STEP(sparse_vector, wide[v], main, v *LANES);                             \
    PART_8(STEP)                                                                                                       \
    PART_4(STEP)                                                                                                       \
    PART_2(STEP)                                                                                                       \
    if (tail == 1) STEP(real, one, tail, 0);

typedef struct {
    sparse_vector wide[SPARSE_VECTORS];
    DECLARE_8;
    DECLARE_4;
    DECLARE_2;
    real one;
} sparse_sums;

/* or a compiler may gather single classes with more instructions than it saves */
#define PIN_SINGLE(value)                                                                                              \
    if (full == 0 && tail == 1) v_pin(value);

#define OFFSET_main 0
#define OFFSET_tail (full * LANES)
#define LOAD_PART(type, name, panel, at) sum[0].name = *(const type *)(start + OFFSET_##panel + (at))
#define CLEAR_PART(type, name, panel, at) sum[u].name = sum[0].name - sum[0].name
#define SCORE_PART(type, name, panel, at) sum[u].name += value * *(const type *)(w_##panel + (at))
#define JOIN_PART(type, name, panel, at) sum[0].name += sum[u].name
#define STORE_PART(type, name, panel, at) *(type *)(row + OFFSET_##panel + (at)) = sum[0].name
#define SLOPE_PART(type, name, panel, at) s.name = *(const type *)(row + OFFSET_##panel + (at))
#define GRADIENT_PART(type, name, panel, at) g.name = *(const type *)(g_##panel + (at)) + value * s.name
#define KEEP_PART(type, name, panel, at) *(type *)(g_##panel + (at)) = g.name

#define LINE_VECTORS (64 / (LANES * (int)sizeof(real)))
#if defined(__GNUC__) || defined(__clang__)
#define prefetch_to_write(p) __builtin_prefetch((p), 1, 3)
#else
#define prefetch_to_write(p) ((void)(p))
#endif

/* Fetches the row that the next but `ahead` nonzeros need. */
#define FETCH(prefetch, column)                                                                                        \
    if (far) {                                                                                                         \
        const int64_t next = (column);                                                                                 \
        RC_UNROLL for (int v = 0; v < full; v += LINE_VECTORS) prefetch(main + next * main_stride + v * LANES);        \
        if (tail) prefetch(last + next * tail_stride);                                                                 \
    }

/* rows = start + the scores of their runs, in `ways` independent sums */
RC_INLINE void scores_form(const int full, const int tail, const int stride, const int far, const int ways,
                           const sparse_run *run, int64_t n_runs, const sparse_panels *W)
{
    const real *const main = W->main, *const last = W->tail;
    const int64_t main_stride = stride ? W->stride : full * LANES, tail_stride = stride ? W->stride : tail;
    for (const sparse_run *end = run + n_runs; run < end; run++) {
        const real *start = run->start, *values = run->values;
        const int32_t *columns = run->columns;
        const int64_t n = run->n, ahead = run->ahead;
        real *row = run->row;
        sparse_sums sum[4];
        FOR_PARTS(LOAD_PART)
        RC_UNROLL for (int u = 1; u < ways; u++){FOR_PARTS(CLEAR_PART)} int64_t i = 0;
        for (; i + ways <= n; i += ways) RC_UNROLL for (int u = 0; u < ways; u++)
            {
                real value = values[i + u];
                PIN_SINGLE(value)
                const real *w_main = main + columns[i + u] * main_stride;
                const real *w_tail = last + columns[i + u] * tail_stride;
                FETCH(rc_prefetch, columns[i + u + ahead])
                FOR_PARTS(SCORE_PART)
            }
        for (; i < n; i++) {
            enum { u = 0 };
            real value = values[i];
            PIN_SINGLE(value)
            const real *w_main = main + columns[i] * main_stride;
            const real *w_tail = last + columns[i] * tail_stride;
            FETCH(rc_prefetch, columns[i + ahead])
            FOR_PARTS(SCORE_PART)
        }
        RC_UNROLL for (int u = 1; u < ways; u++){FOR_PARTS(JOIN_PART)} FOR_PARTS(STORE_PART)
    }
}

/* G[columns] += values * slopes */
RC_INLINE void gradient_form(const int full, const int tail, const int stride, const int far, const sparse_run *run,
                             int64_t n_runs, const sparse_panels *G)
{
    real *const main = G->main, *const last = G->tail;
    const int64_t main_stride = stride ? G->stride : full * LANES, tail_stride = stride ? G->stride : tail;
    for (const sparse_run *end = run + n_runs; run < end; run++) {
        const real *row = run->row, *values = run->values;
        const int32_t *columns = run->columns;
        const int64_t n = run->n, ahead = run->ahead;
        sparse_sums s, g;
        FOR_PARTS(SLOPE_PART)
        for (int64_t i = 0; i < n; i++) {
            const real value = values[i];
            real *g_main = main + columns[i] * main_stride;
            real *g_tail = last + columns[i] * tail_stride;
            FETCH(prefetch_to_write, columns[i + ahead])
            FOR_PARTS(GRADIENT_PART)
            FOR_PARTS(KEEP_PART)
        }
    }
}

typedef void sparse_product(const sparse_run *runs, int64_t n_runs, const sparse_panels *panels);
typedef struct {
    sparse_product *scores, *gradient;
} sparse_form;

/* enough independent sums to hide the latency of an addition */
#define WAYS(full, tail) ((full) + ((tail) > 0) < 2 ? 4 : (full) + ((tail) > 0) < 5 ? 2 : 1)
/* Two forms: of narrow rows, near and far; of others, which are always fetched, in a panel and strided. */
#define DEFINE_FORM(full, tail)                                                                                        \
    DEFINE_PRODUCTS(full, tail, full##_##tail, 0, (full) > 0)                                                          \
    DEFINE_PRODUCTS(full, tail, other_##full##_##tail, (full) > 0, 1)
#define DEFINE_PRODUCTS(full, tail, name, stride, far)                                                                 \
    static void scores_##name(const sparse_run *runs, int64_t n_runs, const sparse_panels *W)                          \
    {                                                                                                                  \
        scores_form(full, tail, stride, far, WAYS(full, tail), runs, n_runs, W);                                       \
    }                                                                                                                  \
    static void gradient_##name(const sparse_run *runs, int64_t n_runs, const sparse_panels *G)                        \
    {                                                                                                                  \
        gradient_form(full, tail, stride, far, runs, n_runs, G);                                                       \
    }
#define FORM(full, tail)                                                                                               \
    {                                                                                                                  \
        {scores_##full##_##tail, gradient_##full##_##tail},                                                            \
        {                                                                                                              \
            scores_other_##full##_##tail, gradient_other_##full##_##tail                                               \
        }                                                                                                              \
    }

/* by the logarithm of the tail, from 1 on; 0 stands last */
#if LANES > 8
#define DEFINE_FORMS(full)                                                                                             \
    DEFINE_FORM(full, 1) DEFINE_FORM(full, 2) DEFINE_FORM(full, 4) DEFINE_FORM(full, 8) DEFINE_FORM(full, 0)
#define FORMS(full) {FORM(full, 1), FORM(full, 2), FORM(full, 4), FORM(full, 8), FORM(full, 0)}
#elif LANES > 4
#define DEFINE_FORMS(full) DEFINE_FORM(full, 1) DEFINE_FORM(full, 2) DEFINE_FORM(full, 4) DEFINE_FORM(full, 0)
#define FORMS(full) {FORM(full, 1), FORM(full, 2), FORM(full, 4), FORM(full, 0)}
#elif LANES > 2
#define DEFINE_FORMS(full) DEFINE_FORM(full, 1) DEFINE_FORM(full, 2) DEFINE_FORM(full, 0)
#define FORMS(full) {FORM(full, 1), FORM(full, 2), FORM(full, 0)}
#elif LANES > 1
#define DEFINE_FORMS(full) DEFINE_FORM(full, 1) DEFINE_FORM(full, 0)
#define FORMS(full) {FORM(full, 1), FORM(full, 0)}
#else
#define DEFINE_FORMS(full) DEFINE_FORM(full, 0)
#define FORMS(full) {FORM(full, 0)}
#endif

DEFINE_FORMS(0)
DEFINE_FORMS(1)
DEFINE_FORMS(2)
DEFINE_FORMS(3)
DEFINE_FORMS(4)
#if RC_VECTOR_BYTES == 64
#define ALL_FORMS FORMS(0), FORMS(1), FORMS(2), FORMS(3), FORMS(4)
#else
DEFINE_FORMS(5)
DEFINE_FORMS(6)
DEFINE_FORMS(7)
DEFINE_FORMS(8)
#define ALL_FORMS FORMS(0), FORMS(1), FORMS(2), FORMS(3), FORMS(4), FORMS(5), FORMS(6), FORMS(7), FORMS(8)
#endif

RC_INLINE sparse_form form_for(const sparse_strip *s, const sparse_panels *panels)
{
    static const sparse_form forms[SPARSE_VECTORS + 1][5][2] = {ALL_FORMS};
    int kind = 0;
    for (int64_t tail = 1; tail < LANES && tail != s->tail; tail *= 2) kind++;
    return forms[s->full][kind][s->full > 0 ? panels->stride > 0 : panels->far];
}

/* ---------------------------------------------------------------- a group of LANES rows, transposed */

#define SPARSE_ROW ((SPARSE_VECTORS + 1) * LANES)

typedef struct {
    real row[LANES][SPARSE_ROW];
} sparse_rows;

/* S[c][r + i] = rows.row[i][c] for c < width */
static void scatter_rows(const sparse_rows *rows, int64_t width, real *S, int64_t ld)
{
    if (width <= 2) {
        for (int64_t c = 0; c < width; c++)
            for (int i = 0; i < LANES; i++) S[c * ld + i] = rows->row[i][c];
        return;
    }
    for (int64_t c = 0; c < width; c += LANES) {
        vreal tile[LANES];
        RC_UNROLL for (int i = 0; i < LANES; i++) tile[i] = v_load(rows->row[i] + c);
        v_transpose(tile);
        RC_UNROLL for (int i = 0; i < LANES; i++) if (c + i < width) v_store(S + (c + i) * ld, tile[TRANSPOSED_AT(i)]);
    }
}

/* the way back; the padding becomes 0 */
static void gather_rows(const real *S, int64_t ld, int64_t width, int64_t padded, sparse_rows *rows)
{
    if (padded <= 2) {
        for (int64_t c = 0; c < padded; c++)
            for (int i = 0; i < LANES; i++) rows->row[i][c] = c < width ? S[c * ld + i] : 0;
        return;
    }
    for (int64_t c = 0; c < padded; c += LANES) {
        vreal tile[LANES];
        RC_UNROLL for (int i = 0; i < LANES; i++) tile[i] = c + i < width ? v_load(S + (c + i) * ld) : v_set(0);
        v_transpose(tile);
        RC_UNROLL for (int i = 0; i < LANES; i++) v_store(rows->row[i] + c, tile[TRANSPOSED_AT(i)]);
    }
}

/* The runs that are ready */
RC_INLINE void finish_runs(sparse_product *product, const sparse_panels *panels, const sparse_run *runs,
                           int64_t *n_runs, sparse_buffer *buffer)
{
    /* what is fetched after the last nonzero */
    for (int64_t i = 0; i < SPARSE_AHEAD; i++) buffer->columns[buffer->n + i] = buffer->n ? *buffer->columns : 0;
    product(runs, *n_runs, panels);
    *n_runs = buffer->n = 0;
}

/*
 * The products of m <= LANES rows whose scores or slopes are in `row`, NULL: left out; scores start as `start`.  Where
 * numbers must be converted, as many rows as the buffer holds go together.  Longer ones are cut every SPARSE_RUN
 * nonzeros, so that a row's result does not depend on its neighbours.
 */
RC_INLINE void for_runs(const rc_csr *x, const int64_t *rows, const real *start, real *const *row, int64_t m,
                        sparse_product *product, const sparse_panels *panels)
{
    const int native_columns = has_native_columns(x), direct = native_columns && has_native_values(x);
    const int consecutive = rows[m - 1] - rows[0] == m - 1;
    sparse_run runs[LANES];
    int64_t n_runs = 0;
    sparse_buffer buffer;
    buffer.n = 0;
    for (int64_t i = 0; i < m; i++) {
        if (!row[i]) continue;
        int64_t k = index_at(x->indptr, x->index_dtype, rows[i]);
        const int64_t end = index_at(x->indptr, x->index_dtype, rows[i] + 1);
        const int64_t ahead = consecutive && end + SPARSE_AHEAD <= x->nnz ? SPARSE_AHEAD : 0;
        if (direct) {
            runs[n_runs++] =
                (sparse_run){end - k, ahead, (const real *)x->data + k, (const int32_t *)x->indices + k, start, row[i]};
            continue;
        }
        const real *from = start;
        do {
            const int64_t n = end - k < SPARSE_RUN ? end - k : SPARSE_RUN;
            if (buffer.n + n > SPARSE_RUN) finish_runs(product, panels, runs, &n_runs, &buffer);
            sparse_run *run = &runs[n_runs++];
            load_run(x, k, n, &buffer, run);
            if (native_columns) run->ahead = ahead;
            run->start = from;
            run->row = row[i];
            if (end - k > n) finish_runs(product, panels, runs, &n_runs, &buffer);
            from = row[i];
            k += n;
        } while (k < end);
    }
    if (direct)
        product(runs, n_runs, panels);
    else
        finish_runs(product, panels, runs, &n_runs, &buffer);
}

static void scores_csr(const rc_csr *x, const int64_t *rows, int64_t n, const rc_table *Wt, const void *b, int64_t C,
                       void *S, int64_t ld)
{
    for (int64_t c = 0; c < C;) {
        const sparse_strip s = first_strip(C - c);
        const sparse_panels panels = panels_at(Wt, c, &s);
        sparse_product *const product = form_for(&s, &panels).scores;
        const int64_t padded = s.full * LANES + s.tail;
        real start[SPARSE_ROW];
        for (int64_t k = 0; k < padded; k++) start[k] = k < s.width ? ((const real *)b)[c + k] : 0;
        for (int64_t r = 0; r < n; r += LANES) {
            sparse_rows block;
            real *row[LANES];
            const int64_t m = n - r < LANES ? n - r : LANES;
            for (int64_t i = 0; i < LANES; i++) row[i] = block.row[i];
            for (int64_t i = m; i < LANES; i++) memcpy(row[i], start, (size_t)padded * sizeof(real));
            for_runs(x, rows + r, start, row, m, product, &panels);
            scatter_rows(&block, s.width, (real *)S + c * ld + r, ld);
        }
        c += s.width;
    }
}

static void gradient_csr(const rc_csr *x, const int64_t *rows, int64_t n, const void *S, int64_t ld, int64_t C,
                         const rc_table *Gt)
{
    for (int64_t c = 0; c < C;) {
        const sparse_strip s = first_strip(C - c);
        const sparse_panels panels = panels_at(Gt, c, &s);
        sparse_product *const product = form_for(&s, &panels).gradient;
        for (int64_t r = 0; r < n; r += LANES) {
            sparse_rows block;
            real *row[LANES];
            const int64_t m = n - r < LANES ? n - r : LANES;
            gather_rows((const real *)S + c * ld + r, ld, s.width, s.full * LANES + s.tail, &block);
            for (int64_t i = 0; i < m; i++) {
                int64_t k = 0;
                while (k < s.width && block.row[i][k] == 0) k++;
                row[i] = k < s.width ? block.row[i] : NULL; /* a hinge that holds */
            }
            for_runs(x, rows + r, NULL, row, m, product, &panels);
        }
        c += s.width;
    }
}

/* ---------------------------------------------------------------- tables */

/* Wt[d][c] = W[c][d], or W[c][columns[d]], the padding 0 */
static void transpose_weights(const void *W, int64_t C, int64_t D, const int32_t *columns, int64_t first, int64_t end,
                              const rc_table *Wt)
{
    for (int64_t c = 0, width; c < C; c += width) {
        width = sparse_panel(C - c);
        const int64_t n = C - c < width ? C - c : width;
        const real *w = (const real *)W + c * D;
        real *t = (real *)Wt->data + c * Wt->panel_step;
        if (columns || width % LANES || end - first < LANES) {
            for (int64_t k = 0; k < width; k++)
                for (int64_t d = first; d < end; d++)
                    t[d * width + k] = k < n ? w[k * D + (columns ? columns[d] : d)] : 0;
            continue;
        }
        for (int64_t dd = first; dd < end; dd += LANES) {
            const int64_t d = dd + LANES <= end ? dd : end - LANES;
            for (int64_t k = 0; k < width; k += LANES) {
                vreal tile[LANES];
                RC_UNROLL for (int i = 0; i < LANES; i++) tile[i] = k + i < n ? v_load(w + (k + i) * D + d) : v_set(0);
                v_transpose(tile);
                RC_UNROLL for (int i = 0; i < LANES; i++) v_store(t + (d + i) * width + k, tile[TRANSPOSED_AT(i)]);
            }
        }
    }
}

#define SUM_RUN (SPARSE_ROW > 512 ? SPARSE_ROW : 512)

/* added in double, rounded to the compute type once */
static void sum_panels(const void *panel, int64_t step, int64_t n_tables, int64_t n, int64_t width, double *sums,
                       int64_t ld)
{
    const real *G = panel;
    if (width % LANES || n < LANES) {
        double run[SUM_RUN];
        const int64_t most = SUM_RUN / width;
        for (int64_t first = 0; first < n; first += most) {
            const int64_t rows = n - first < most ? n - first : most;
            for (int64_t i = 0; i < rows * width; i++) run[i] = G[first * width + i];
            for (int64_t t = 1; t < n_tables; t++)
                for (int64_t i = 0; i < rows * width; i++) run[i] += G[t * step + first * width + i];
            for (int64_t k = 0; k < width; k++)
                for (int64_t d = 0; d < rows; d++) sums[k * ld + first + d] = run[d * width + k];
        }
        return;
    }
    for (int64_t dd = 0; dd < n; dd += LANES) {
        const int64_t d = dd + LANES <= n ? dd : n - LANES;
        for (int64_t k = 0; k < width; k += LANES) {
            vreal tile[LANES];
            for (int i = 0; i < LANES; i++) {
                const real *g = G + (d + i) * width + k;
                vwide sum = v_widen(v_load(g));
                for (int64_t t = 1; t < n_tables; t++) sum += v_widen(v_load(g + t * step));
                tile[i] = v_narrow(sum);
            }
            v_transpose(tile);
            RC_UNROLL for (int i = 0; i < LANES; i++)
            {
                const vwide wide = v_widen(tile[TRANSPOSED_AT(i)]);
                memcpy(sums + (k + i) * ld + d, &wide, sizeof wide);
            }
        }
    }
}

static void flush_columns(const rc_table *Gt, int64_t C, const int32_t *columns, int64_t n, int64_t n_all, double *sums)
{
    for (int64_t c = 0, width; c < C; c += width) {
        width = sparse_panel(C - c);
        real *panel = (real *)Gt->data + c * Gt->panel_step;
        for (int64_t i = 0; i < n; i++) {
            real *g = panel + columns[i] * width;
            for (int64_t k = 0; k < width; k++) sums[c * n_all + i * width + k] += g[k];
            memset(g, 0, (size_t)width * sizeof(real));
        }
    }
}

#endif
