/*
 * CSR blocks.  Weights and gradient are transposed, (D, C): a nonzero then meets C neighbours in memory.  Values of the
 * compute type and 32-bit indices are read where they are; others are converted a run at a time in a small buffer, so
 * that storage and index types cost no further variants.  Duplicates and unsorted columns need no care.
 *
 * Up to SPARSE_VECTORS vectors of classes stay in registers while a row's nonzeros pass.  Rows of the table are padded
 * to a multiple of 4 (1 or 2 if they are shorter), and what is left after whole vectors is one of 8, one of 4 or both:
 * an overlapping vector would have to wait for the stores of its neighbours whenever a frequent column comes again.
 */
#ifndef REGCORE_SPARSE_H
#define REGCORE_SPARSE_H

#include "kernels.h"
#include "packing.h"
#include "simd.h"

#define SPARSE_RUN 256
#define SPARSE_VECTORS 8

/* n nonzeros of a row */
typedef struct {
    int64_t n;
    const real *values;
    const int32_t *columns;
} sparse_run;

typedef struct {
    real values[SPARSE_RUN];
    int32_t columns[SPARSE_RUN];
} sparse_buffer;

RC_INLINE int64_t index_at(const void *indices, rc_dtype dtype, int64_t i)
{
    return dtype == RC_INT32 ? ((const int32_t *)indices)[i] : ((const int64_t *)indices)[i];
}

/* Nonzeros [first, end) of the matrix: all of them, or as many as fit in the buffer where they must be converted */
RC_INLINE sparse_run load_run(const rc_csr *x, int64_t first, int64_t end, sparse_buffer *buffer)
{
    const int native = x->dtype == (RC_REAL_BITS == 32 ? RC_FLOAT32 : RC_FLOAT64), narrow = x->index_dtype == RC_INT32;
    const int64_t most = native && narrow ? end - first : SPARSE_RUN;
    sparse_run run = {end - first < most ? end - first : most, (const real *)x->data + first,
                      (const int32_t *)x->indices + first};
    if (!native) {
        convert_run((const char *)x->data + first * rc_item_size(x->dtype), x->dtype, run.n, buffer->values);
        run.values = buffer->values;
    }
    if (!narrow) {
        for (int64_t i = 0; i < run.n; i++) buffer->columns[i] = (int32_t)((const int64_t *)x->indices)[first + i];
        run.columns = buffer->columns;
    }
    return run;
}

/* A row of the table: `full` vectors, then 8, 4, 2 and 1 classes as they are asked for */
#if LANES > 1
typedef vreal_unaligned sparse_vector;
#else
typedef real sparse_vector;
#endif
#define NARROW(width)                                                                                                  \
    typedef real narrow_##width __attribute__((vector_size((width) * sizeof(real)), aligned(sizeof(real)), may_alias))
#if LANES > 2
NARROW(2);
#endif
#if LANES > 4
NARROW(4);
#endif
#if LANES > 8
NARROW(8);
#endif

/* Runs STEP(type, name, offset) for each part of a row. */
#define FOR_PARTS(STEP)                                                                                                \
    RC_UNROLL for (int v = 0; v < full; v++) STEP(sparse_vector, wide[v], v *LANES);                                   \
    PART_8(STEP)                                                                                                       \
    PART_4(STEP)                                                                                                       \
    PART_2(STEP)                                                                                                       \
    if (tail & 1) STEP(real, one, 0);
#if LANES > 8
#define PART_8(STEP)                                                                                                   \
    if (tail & 8) STEP(narrow_8, eight, full *LANES);
#define DECLARE_8 narrow_8 eight
#else
#define PART_8(STEP)
#define DECLARE_8 char no_eight
#endif
#if LANES > 4
#define PART_4(STEP)                                                                                                   \
    if (tail & 4) STEP(narrow_4, four, full *LANES + (tail & 8));
#define DECLARE_4 narrow_4 four
#else
#define PART_4(STEP)
#define DECLARE_4 char no_four
#endif
#if LANES > 2
#define PART_2(STEP)                                                                                                   \
    if (tail & 2) STEP(narrow_2, two, 0);
#define DECLARE_2 narrow_2 two
#else
#define PART_2(STEP)
#define DECLARE_2 char no_two
#endif

typedef struct {
    sparse_vector wide[SPARSE_VECTORS];
    DECLARE_8;
    DECLARE_4;
    DECLARE_2;
    real one;
} sparse_sums;

#define LOAD_PART(type, name, at) sum[0].name = *(const type *)(acc + (at))
#define CLEAR_PART(type, name, at) sum[u].name = sum[0].name - sum[0].name
#define SCORE_PART(type, name, at) sum[u].name += value * *(const type *)(w + (at))
#define JOIN_PART(type, name, at) sum[0].name += sum[u].name
#define STORE_PART(type, name, at) *(type *)(acc + (at)) = sum[0].name
#define SLOPE_PART(type, name, at) s.name = *(const type *)(slope + (at))
#define GRADIENT_PART(type, name, at) g.name = *(const type *)(t + (at)) + value * s.name
#define KEEP_PART(type, name, at) *(type *)(t + (at)) = g.name

/* acc += the scores of a run, in `ways` independent sums; length: of a row of Wt */
RC_INLINE void scores_form(const int full, const int tail, const int ways, sparse_run run, const real *Wt,
                           int64_t length, real *acc)
{
    sparse_sums sum[4];
    FOR_PARTS(LOAD_PART)
    RC_UNROLL for (int u = 1; u < ways; u++){FOR_PARTS(CLEAR_PART)} int64_t i = 0;
    for (; i + ways <= run.n; i += ways) RC_UNROLL for (int u = 0; u < ways; u++)
        {
            const real *w = Wt + (int64_t)run.columns[i + u] * length, value = run.values[i + u];
            FOR_PARTS(SCORE_PART)
        }
    for (; i < run.n; i++) {
        enum { u = 0 };
        const real *w = Wt + (int64_t)run.columns[i] * length, value = run.values[i];
        FOR_PARTS(SCORE_PART)
    }
    RC_UNROLL for (int u = 1; u < ways; u++){FOR_PARTS(JOIN_PART)} FOR_PARTS(STORE_PART)
}

/* Gt[columns] += values * slope */
RC_INLINE void gradient_form(const int full, const int tail, sparse_run run, const real *slope, int64_t length,
                             real *Gt)
{
    sparse_sums s, g;
    FOR_PARTS(SLOPE_PART)
    for (int64_t i = 0; i < run.n; i++) {
        real *t = Gt + (int64_t)run.columns[i] * length;
        const real value = run.values[i];
        FOR_PARTS(GRADIENT_PART)
        FOR_PARTS(KEEP_PART)
    }
}

typedef struct {
    void (*scores)(sparse_run run, const real *Wt, int64_t ldw, real *acc);
    void (*gradient)(sparse_run run, const real *slope, int64_t ldw, real *Gt);
} sparse_form;

#define WAYS(full) ((full) < 2 ? 4 : (full) < 5 ? 2 : 1)
#define DEFINE_FORM(full, tail, length)                                                                                \
    static void scores_##full##_##tail(sparse_run run, const real *Wt, int64_t ldw, real *acc)                         \
    {                                                                                                                  \
        (void)ldw;                                                                                                     \
        scores_form(full, tail, WAYS(full), run, Wt, length, acc);                                                     \
    }                                                                                                                  \
    static void gradient_##full##_##tail(sparse_run run, const real *slope, int64_t ldw, real *Gt)                     \
    {                                                                                                                  \
        (void)ldw;                                                                                                     \
        gradient_form(full, tail, run, slope, length, Gt);                                                             \
    }
#define FORM(full, tail) {scores_##full##_##tail, gradient_##full##_##tail}
#define DEFINE_FORMS(full)                                                                                             \
    DEFINE_FORM(full, 0, ldw) DEFINE_FORM(full, 4, ldw) DEFINE_FORM(full, 8, ldw) DEFINE_FORM(full, 12, ldw)
#define FORMS(full) {FORM(full, 0), FORM(full, 4), FORM(full, 8), FORM(full, 12)}

DEFINE_FORM(0, 1, 1)
DEFINE_FORM(0, 2, 2)
DEFINE_FORMS(0)
DEFINE_FORMS(1)
DEFINE_FORMS(2)
DEFINE_FORMS(3)
DEFINE_FORMS(4)
DEFINE_FORMS(5)
DEFINE_FORMS(6)
DEFINE_FORMS(7)
DEFINE_FORMS(8)

/* The row length of Wt and Gt for C classes */
static int64_t sparse_row_length(int64_t C)
{
    const int64_t granule = LANES < 4 ? LANES : 4;
    return C < granule && C <= 2 ? C : (C + granule - 1) / granule * granule;
}

/* What `width` classes, at the end of a row of ldw or all of it, take up there */
RC_INLINE int64_t padded_width(int64_t width, int64_t ldw)
{
    const int64_t granule = LANES < 4 ? LANES : 4;
    return ldw < granule ? ldw : (width + granule - 1) / granule * granule;
}

/* The form for `width` of the classes of a row */
RC_INLINE sparse_form form_for(int64_t width, int64_t ldw)
{
    static const sparse_form forms[SPARSE_VECTORS + 1][4] = {FORMS(0), FORMS(1), FORMS(2), FORMS(3), FORMS(4),
                                                             FORMS(5), FORMS(6), FORMS(7), FORMS(8)};
    static const sparse_form one = FORM(0, 1), two = FORM(0, 2);
    const int64_t padded = padded_width(width, ldw);
    if (ldw == 1) return one;
    if (ldw == 2 && LANES > 2) return two;
    return forms[padded / LANES][padded % LANES / 4];
}

typedef struct {
    real row[LANES][SPARSE_VECTORS * LANES];
} sparse_rows;

/* S[c0 + c][r + i] = rows.row[i][c] for c < width */
static void scatter_rows(const sparse_rows *rows, int64_t width, real *S, int64_t ld)
{
    if (width < LANES) {
        for (int64_t c = 0; c < width; c++)
            for (int i = 0; i < LANES; i++) S[c * ld + i] = rows->row[i][c];
        return;
    }
    for (int64_t cc = 0; cc < width; cc += LANES) {
        const int64_t c = cc + LANES <= width ? cc : width - LANES;
        vreal tile[LANES];
        RC_UNROLL for (int i = 0; i < LANES; i++) tile[i] = v_load(rows->row[i] + c);
        v_transpose(tile);
        RC_UNROLL for (int i = 0; i < LANES; i++) v_store(S + (c + i) * ld, tile[TRANSPOSED_AT(i)]);
    }
}

/* the way back */
static void gather_rows(const real *S, int64_t ld, int64_t width, int64_t padded_width, sparse_rows *rows)
{
    if (width < LANES) {
        for (int i = 0; i < LANES; i++)
            for (int64_t c = 0; c < padded_width; c++) rows->row[i][c] = c < width ? S[c * ld + i] : 0;
        return;
    }
    for (int i = 0; i < LANES; i++)
        for (int64_t c = width; c < padded_width; c++) rows->row[i][c] = 0;
    for (int64_t cc = 0; cc < width; cc += LANES) {
        const int64_t c = cc + LANES <= width ? cc : width - LANES;
        vreal tile[LANES];
        RC_UNROLL for (int i = 0; i < LANES; i++) tile[i] = v_load(S + (c + i) * ld);
        v_transpose(tile);
        RC_UNROLL for (int i = 0; i < LANES; i++) v_store(rows->row[i] + c, tile[TRANSPOSED_AT(i)]);
    }
}

static void scores_csr(const rc_csr *x, const int64_t *rows, int64_t n, const void *Wt, int64_t ldw, const void *b,
                       int64_t C, void *S, int64_t ld)
{
    for (int64_t c = 0, width; c < C; c += width) {
        width = C - c < SPARSE_VECTORS * LANES ? C - c : SPARSE_VECTORS * LANES;
        const sparse_form form = form_for(width, ldw);
        for (int64_t r = 0; r < n; r += LANES) {
            sparse_rows block;
            for (int64_t i = 0; i < LANES; i++) {
                real *acc = block.row[i];
                for (int64_t k = 0; k < width; k++) acc[k] = ((const real *)b)[c + k];
                for (int64_t k = width; k < padded_width(width, ldw); k++) acc[k] = 0;
                if (r + i >= n) continue;
                sparse_buffer buffer;
                sparse_run run;
                const int64_t end = index_at(x->indptr, x->index_dtype, rows[r + i] + 1);
                for (int64_t k = index_at(x->indptr, x->index_dtype, rows[r + i]); k < end; k += run.n) {
                    run = load_run(x, k, end, &buffer);
                    form.scores(run, (const real *)Wt + c, ldw, acc);
                }
            }
            scatter_rows(&block, width, (real *)S + c * ld + r, ld);
        }
    }
}

static void gradient_csr(const rc_csr *x, const int64_t *rows, int64_t n, const void *S, int64_t ld, int64_t C,
                         void *Gt, int64_t ldw)
{
    for (int64_t c = 0, width; c < C; c += width) {
        width = C - c < SPARSE_VECTORS * LANES ? C - c : SPARSE_VECTORS * LANES;
        const sparse_form form = form_for(width, ldw);
        for (int64_t r = 0; r < n; r += LANES) {
            sparse_rows block;
            gather_rows((const real *)S + c * ld + r, ld, width, padded_width(width, ldw), &block);
            for (int64_t i = 0; i < LANES && r + i < n; i++) {
                const real *slope = block.row[i];
                int64_t k = 0;
                while (k < width && slope[k] == 0) k++;
                if (k == width) continue; /* a hinge that holds */
                sparse_buffer buffer;
                sparse_run run;
                const int64_t end = index_at(x->indptr, x->index_dtype, rows[r + i] + 1);
                for (k = index_at(x->indptr, x->index_dtype, rows[r + i]); k < end; k += run.n) {
                    run = load_run(x, k, end, &buffer);
                    form.gradient(run, slope, ldw, (real *)Gt + c);
                }
            }
        }
    }
}

/* Wt[d][c] = W[c][d] for d in [first, end), the padding 0 */
static void transpose_weights(const void *W, int64_t C, int64_t D, int64_t first, int64_t end, void *Wt, int64_t ldw)
{
    enum { TILE = 16 };
    for (int64_t dd = first; dd < end; dd += TILE)
        for (int64_t c = 0; c < ldw; c++)
            for (int64_t d = dd; d < end && d < dd + TILE; d++)
                ((real *)Wt)[d * ldw + c] = c < C ? ((const real *)W)[c * D + d] : 0;
}

#endif
