/*
 * CSR blocks.  Weights and gradient are transposed, (D, C): a nonzero then meets C neighbours in memory.  A row's values
 * and column offsets are first converted to reals and int64 in a small buffer, so that storage and index types cost no
 * further variants; duplicates and unsorted columns need no care.
 *
 * Up to SPARSE_VECTORS vectors of classes stay in registers while a row's nonzeros pass.  With C >= LANES the last
 * vector ends with the row of Wt and overlaps its neighbour (both hold the same sums, so storing both is right); with
 * fewer classes rows are padded to a power of two and a vector of that width is used.
 */
#ifndef REGCORE_SPARSE_H
#define REGCORE_SPARSE_H

#include "kernels.h"
#include "packing.h"
#include "simd.h"

#define SPARSE_RUN 256
#define SPARSE_VECTORS 8

typedef struct {
    int64_t n;
    real values[SPARSE_RUN];
    int64_t offsets[SPARSE_RUN];
} sparse_run;

RC_INLINE int64_t index_at(const void *indices, rc_dtype dtype, int64_t i)
{
    return dtype == RC_INT32 ? ((const int32_t *)indices)[i] : ((const int64_t *)indices)[i];
}

/* Nonzeros [first, end) of the matrix, at most SPARSE_RUN of them */
RC_INLINE void load_run(const rc_csr *x, int64_t first, int64_t end, int64_t ldw, sparse_run *run)
{
    run->n = end - first < SPARSE_RUN ? end - first : SPARSE_RUN;
    convert_run((const char *)x->data + first * rc_item_size(x->dtype), x->dtype, run->n, run->values);
    if (x->index_dtype == RC_INT32)
        for (int64_t i = 0; i < run->n; i++) run->offsets[i] = ((const int32_t *)x->indices)[first + i] * ldw;
    else
        for (int64_t i = 0; i < run->n; i++) run->offsets[i] = ((const int64_t *)x->indices)[first + i] * ldw;
}

/* Defines, for `vectors` vectors of type `vector`: the scores of one run added to acc, and its gradient added to Gt.
 * at(v): where vector v starts in a row. */
#define DEFINE_SPARSE(name, vector, vectors, at)                                                                       \
    static void scores_##name(const sparse_run *run, const real *Wt, int64_t last, real *acc)                          \
    {                                                                                                                  \
        vector even[vectors], odd[vectors];                                                                            \
        (void)last;                                                                                                    \
        RC_UNROLL for (int v = 0; v < (vectors); v++) even[v] = *(const vector *)(acc + at(v)), odd[v] = even[v] - even[v]; \
        int64_t i = 0;                                                                                                 \
        for (; i + 1 < run->n; i += 2) {                                                                               \
            const real *w = Wt + run->offsets[i], *u = Wt + run->offsets[i + 1];                                       \
            RC_UNROLL for (int v = 0; v < (vectors); v++)                                                              \
            {                                                                                                          \
                even[v] += run->values[i] * *(const vector *)(w + at(v));                                              \
                odd[v] += run->values[i + 1] * *(const vector *)(u + at(v));                                           \
            }                                                                                                          \
        }                                                                                                              \
        if (i < run->n) {                                                                                              \
            const real *w = Wt + run->offsets[i];                                                                      \
            RC_UNROLL for (int v = 0; v < (vectors); v++) even[v] += run->values[i] * *(const vector *)(w + at(v));    \
        }                                                                                                              \
        RC_UNROLL for (int v = 0; v < (vectors); v++) *(vector *)(acc + at(v)) = even[v] + odd[v];                     \
    }                                                                                                                  \
    static void gradient_##name(const sparse_run *run, const real *slope, int64_t last, real *Gt)                      \
    {                                                                                                                  \
        vector s[vectors], g[vectors];                                                                                 \
        (void)last;                                                                                                    \
        RC_UNROLL for (int v = 0; v < (vectors); v++) s[v] = *(const vector *)(slope + at(v));                         \
        for (int64_t i = 0; i < run->n; i++) {                                                                         \
            real *t = Gt + run->offsets[i];                                                                            \
            RC_UNROLL for (int v = 0; v < (vectors); v++) g[v] = *(const vector *)(t + at(v)) + run->values[i] * s[v]; \
            RC_UNROLL for (int v = 0; v < (vectors); v++) *(vector *)(t + at(v)) = g[v];                               \
        }                                                                                                              \
    }

#define AT_START(v) 0
DEFINE_SPARSE(narrow_1, real, 1, AT_START)
#if LANES > 1
#define NARROW(width)                                                                                                  \
    typedef real narrow_##width __attribute__((vector_size((width) * sizeof(real)), aligned(sizeof(real)), may_alias));  \
    DEFINE_SPARSE(narrow_##width, narrow_##width, 1, AT_START)
typedef vreal_unaligned sparse_vector;
#else
typedef real sparse_vector;
#endif
#if LANES > 2
NARROW(2)
#endif
#if LANES > 4
NARROW(4)
#endif
#if LANES > 8
NARROW(8)
#endif

#define AT_1(v) (last)
#define AT_2(v) ((v) < 1 ? (v) * LANES : last)
#define AT_3(v) ((v) < 2 ? (v) * LANES : last)
#define AT_4(v) ((v) < 3 ? (v) * LANES : last)
#define AT_5(v) ((v) < 4 ? (v) * LANES : last)
#define AT_6(v) ((v) < 5 ? (v) * LANES : last)
#define AT_7(v) ((v) < 6 ? (v) * LANES : last)
#define AT_8(v) ((v) < 7 ? (v) * LANES : last)
DEFINE_SPARSE(wide_1, sparse_vector, 1, AT_1)
DEFINE_SPARSE(wide_2, sparse_vector, 2, AT_2)
DEFINE_SPARSE(wide_3, sparse_vector, 3, AT_3)
DEFINE_SPARSE(wide_4, sparse_vector, 4, AT_4)
DEFINE_SPARSE(wide_5, sparse_vector, 5, AT_5)
DEFINE_SPARSE(wide_6, sparse_vector, 6, AT_6)
DEFINE_SPARSE(wide_7, sparse_vector, 7, AT_7)
DEFINE_SPARSE(wide_8, sparse_vector, 8, AT_8)

typedef struct {
    void (*scores)(const sparse_run *run, const real *Wt, int64_t last, real *acc);
    void (*gradient)(const sparse_run *run, const real *slope, int64_t last, real *Gt);
} sparse_form;

#define FORM(name) {scores_##name, gradient_##name}

/* The form for `width` classes of a table with row length ldw */
RC_INLINE sparse_form form_for(int64_t width, int64_t ldw)
{
    static const sparse_form wide[SPARSE_VECTORS] = {FORM(wide_1), FORM(wide_2), FORM(wide_3), FORM(wide_4),
                                                     FORM(wide_5), FORM(wide_6), FORM(wide_7), FORM(wide_8)};
    if (ldw >= LANES) return wide[(width + LANES - 1) / LANES - 1];
#if LANES > 8
    if (ldw == 8) return (sparse_form)FORM(narrow_8);
#endif
#if LANES > 4
    if (ldw == 4) return (sparse_form)FORM(narrow_4);
#endif
#if LANES > 2
    if (ldw == 2) return (sparse_form)FORM(narrow_2);
#endif
    return (sparse_form)FORM(narrow_1);
}

/* The row length of Wt and Gt for C classes */
static int64_t sparse_row_length(int64_t C)
{
    int64_t length = 1;
    if (C >= LANES) return C;
    while (length < C) length *= 2;
    return length;
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
    const int64_t n_passes = (C + SPARSE_VECTORS * LANES - 1) / (SPARSE_VECTORS * LANES);
    for (int64_t p = 0; p < n_passes; p++) {
        const int64_t c = C * p / n_passes, width = C * (p + 1) / n_passes - c;
        const sparse_form form = form_for(width, ldw);
        for (int64_t r = 0; r < n; r += LANES) {
            sparse_rows block;
            for (int64_t i = 0; i < LANES; i++) {
                real *acc = block.row[i];
                for (int64_t k = 0; k < width; k++) acc[k] = ((const real *)b)[c + k];
                for (int64_t k = width; k < ldw && k < LANES; k++) acc[k] = 0;
                if (r + i >= n) continue;
                sparse_run run;
                const int64_t end = index_at(x->indptr, x->index_dtype, rows[r + i] + 1);
                for (int64_t k = index_at(x->indptr, x->index_dtype, rows[r + i]); k < end; k += run.n) {
                    load_run(x, k, end, ldw, &run);
                    form.scores(&run, (const real *)Wt + c, width < LANES ? 0 : width - LANES, acc);
                }
            }
            scatter_rows(&block, width, (real *)S + c * ld + r, ld);
        }
    }
}

static void gradient_csr(const rc_csr *x, const int64_t *rows, int64_t n, const void *S, int64_t ld, int64_t C,
                         void *Gt, int64_t ldw)
{
    const int64_t n_passes = (C + SPARSE_VECTORS * LANES - 1) / (SPARSE_VECTORS * LANES);
    for (int64_t p = 0; p < n_passes; p++) {
        const int64_t c = C * p / n_passes, width = C * (p + 1) / n_passes - c;
        const sparse_form form = form_for(width, ldw);
        for (int64_t r = 0; r < n; r += LANES) {
            sparse_rows block;
            gather_rows((const real *)S + c * ld + r, ld, width, ldw, &block);
            for (int64_t i = 0; i < LANES && r + i < n; i++) {
                const real *slope = block.row[i];
                int64_t k = 0;
                while (k < width && slope[k] == 0) k++;
                if (k == width) continue; /* a hinge that holds */
                sparse_run run;
                const int64_t end = index_at(x->indptr, x->index_dtype, rows[r + i] + 1);
                for (k = index_at(x->indptr, x->index_dtype, rows[r + i]); k < end; k += run.n) {
                    load_run(x, k, end, ldw, &run);
                    form.gradient(&run, slope, width < LANES ? 0 : width - LANES, (real *)Gt + c);
                }
            }
        }
    }
}

/* Marks the groups of 2^SPARSE_GROUP_BITS columns that rows touch. */
static void touch_csr(const rc_csr *x, const int64_t *rows, int64_t n, uint8_t *touched)
{
    for (int64_t r = 0; r < n; r++) {
        const int64_t end = index_at(x->indptr, x->index_dtype, rows[r] + 1);
        for (int64_t k = index_at(x->indptr, x->index_dtype, rows[r]); k < end; k++)
            touched[index_at(x->indices, x->index_dtype, k) >> SPARSE_GROUP_BITS] = 1;
    }
}

/* total += Gt, Gt = 0 for the touched groups of columns; touched = 0 */
static void flush_csr(void *Gt, int64_t D, int64_t ldw, uint8_t *touched, double *total)
{
    const int64_t group = 1 << SPARSE_GROUP_BITS;
    for (int64_t g = 0; g * group < D; g++) {
        if (!touched[g]) continue;
        touched[g] = 0;
        const int64_t first = g * group * ldw, end = (g + 1) * group < D ? first + group * ldw : D * ldw;
        real *t = Gt;
        for (int64_t i = first; i < end; i++) total[i] += t[i];
        memset(t + first, 0, (size_t)(end - first) * sizeof(real));
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
