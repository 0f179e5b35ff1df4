/*
 * The two products of a dense block.  Scores and gradient are each one of them, whichever way X lies in memory:
 *
 *                   rows of X contiguous            columns of X contiguous
 *     scores        dot    over the features        outer  over the features
 *     gradient      outer  over the rows            dot    over the rows
 *
 *   dot     out[c][j]  = sum_k A[c][k] B[j][k]      lanes along k, summed at the end
 *   outer   out[c][v] += sum_k A[c][k] B[k][v]      lanes along v, A broadcast
 *
 * Both keep a tile of accumulators in registers: about 24 of them hide the latency of two FMA ports, and a tile of
 * 6 x 4 needs 10 loads for 24 FMAs.  The trees that end a dot cost about 3 operations a sum, so dot pays where k is
 * long against the number of classes; the driver chooses.
 */
#ifndef REGCORE_PRODUCTS_H
#define REGCORE_PRODUCTS_H

#include "kernels.h"
#include "packing.h"
#include "simd.h"

#if RC_VECTOR_BYTES == 64 /* 32 registers */
#define DOT_ROWS 8
#define DOT_CLASSES 3
#define OUTER_VECTORS_FEW 8
#define OUTER_VECTORS 4
#else /* 16 registers */
#define DOT_ROWS 4
#if RC_VECTOR_BYTES == 32
#define DOT_CLASSES 3
#else
#define DOT_CLASSES 2
#endif
#define OUTER_VECTORS_FEW 4
#define OUTER_VECTORS 2
#endif
#define OUTER_CLASSES_FEW 3
#define OUTER_CLASSES 6

/* Long sums run in pieces whose operands stay in L1. */
#define DOT_PIECE (4096 / (int)sizeof(real) / LANES)
#define OUTER_PIECE 128

RC_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* A total cut into the fewest pieces of at most `most`, as equal as can be: the first `longer` are one longer */
typedef struct {
    int64_t n, length, longer;
} pieces;
RC_INLINE pieces cut(int64_t total, int64_t most)
{
    const int64_t n = ceil_div(total, most);
    return (pieces){n, total / n, total % n};
}
RC_INLINE int64_t piece(const pieces *p, int64_t i) { return p->length + (i < p->longer); }

/* The prefetches of a tile of n iterations; `first` and `step` are what its loop needs */
RC_INLINE const char *take_ahead(rc_ahead *ahead, int64_t n)
{
    const char *first = ahead->next;
    ahead->next += n * ahead->step;
    if (ahead->next >= ahead->end) ahead->step = 0;
    return first;
}

/* ---------------------------------------------------------------- dot */

RC_INLINE void dot_step(const int ct, vreal *acc, const real *a, int64_t lda, const real *const *B, int64_t offset)
{
    vreal w[DOT_CLASSES];
    RC_UNROLL for (int c = 0; c < ct; c++) w[c] = v_load(a + c * lda);
    RC_UNROLL for (int j = 0; j < DOT_ROWS; j++)
    {
        vreal x = v_load(B[j] + offset);
        v_pin(x);
        RC_UNROLL for (int c = 0; c < ct; c++) acc[c * DOT_ROWS + j] += w[c] * x;
    }
}

/* out[c][j] += vectors [v0, v1) of the sum; the last vector of all lies at last_offset in B. */
RC_INLINE void dot_tile(const int ct, const real *A, int64_t lda, const real *const *B, int64_t v0, int64_t v1,
                        const rc_row_shape *shape, const char *ahead, ptrdiff_t step, real *out, int64_t ld,
                        int64_t n_out)
{
    enum { GROUPS = (DOT_CLASSES * DOT_ROWS + LANES - 1) / LANES };
    vreal acc[GROUPS * LANES];
    real sums[GROUPS * LANES];
    const real *rows[DOT_ROWS];
    RC_UNROLL for (int j = 0; j < DOT_ROWS; j++) rows[j] = B[j];
    RC_UNROLL for (int i = 0; i < ct * DOT_ROWS; i++) acc[i] = v_set(0);

    const int64_t regular = v1 < shape->n_vectors ? v1 : shape->n_vectors - 1;
    for (int64_t k = v0 * LANES; k < regular * LANES; k += LANES, ahead += step) {
        rc_prefetch(ahead);
        dot_step(ct, acc, A + k, lda, rows, k);
    }
    if (regular < v1) dot_step(ct, acc, A + regular * LANES, lda, rows, shape->last_offset);

    RC_UNROLL for (int g = 0; g * LANES < ct * DOT_ROWS; g++)
    {
        vreal group[LANES];
        RC_UNROLL for (int i = 0; i < LANES; i++) group[i] =
            g * LANES + i < ct * DOT_ROWS ? acc[g * LANES + i] : v_set(0);
        v_store(sums + g * LANES, v_sums(group));
    }
    if (n_out >= DOT_ROWS) {
        RC_UNROLL for (int c = 0; c < ct; c++) RC_UNROLL for (int j = 0; j < DOT_ROWS; j++) out[c * ld + j] +=
            sums[c * DOT_ROWS + j];
    } else
        for (int c = 0; c < ct; c++)
            for (int j = 0; j < n_out; j++) out[c * ld + j] += sums[c * DOT_ROWS + j];
}

typedef void dot_fn(const real *A, int64_t lda, const real *const *B, int64_t v0, int64_t v1, const rc_row_shape *shape,
                    const char *ahead, ptrdiff_t step, real *out, int64_t ld, int64_t n_out);
#define DOT_TILE(ct)                                                                                                   \
    static void dot_##ct(const real *A, int64_t lda, const real *const *B, int64_t v0, int64_t v1,                     \
                         const rc_row_shape *shape, const char *ahead, ptrdiff_t step, real *out, int64_t ld,          \
                         int64_t n_out)                                                                                \
    {                                                                                                                  \
        dot_tile(ct, A, lda, B, v0, v1, shape, ahead, step, out, ld, n_out);                                           \
    }
DOT_TILE(1)
DOT_TILE(2)
#if DOT_CLASSES > 2
DOT_TILE(3)
#define DOT_NAMES dot_1, dot_2, dot_3
#else
#define DOT_NAMES dot_1, dot_2
#endif

/* out[c][j] += A[c] . B[j] */
static void dot(const real *A, int64_t lda, int64_t C, const real *const *B, int64_t n_out, const rc_row_shape *shape,
                rc_ahead *ahead, real *out, int64_t ld)
{
    static dot_fn *const tiles[] = {DOT_NAMES};
    const pieces sums = cut(shape->n_vectors, DOT_PIECE), classes = cut(C, DOT_CLASSES);
    for (int64_t p = 0, v = 0; p < sums.n; v += piece(&sums, p++))
        for (int64_t j = 0; j < n_out; j += DOT_ROWS)
            for (int64_t t = 0, c = 0; t < classes.n; c += piece(&classes, t++)) {
                const ptrdiff_t step = ahead->step;
                const char *next = take_ahead(ahead, piece(&sums, p));
                tiles[piece(&classes, t) - 1](A + c * lda, lda, B + j, v, v + piece(&sums, p), shape, next, step,
                                              out + c * ld + j, ld, n_out - j);
            }
}

/* ---------------------------------------------------------------- outer */

RC_INLINE void outer_tile(const int ct, const int vt, const real *A, int64_t lda, const real *const *B, int64_t n,
                          int64_t offset, int64_t last_offset, const char *ahead, ptrdiff_t step, real *out, int64_t ld)
{
    vreal acc[OUTER_CLASSES * OUTER_VECTORS_FEW], x[OUTER_VECTORS_FEW];
    RC_UNROLL for (int c = 0; c < ct; c++) RC_UNROLL for (int v = 0; v < vt; v++) acc[c * vt + v] =
        v_load(out + c * ld + v * LANES);
    for (int64_t k = 0; k < n; k++) {
        const real *b = B[k];
        RC_UNROLL for (int v = 0; v < vt - 1; v++) x[v] = v_load(b + offset + v * LANES);
        x[vt - 1] = v_load(b + last_offset);
        RC_UNROLL for (int v = 0; v < vt; v++) v_pin(x[v]);
        rc_prefetch(ahead);
        ahead += step;
        RC_UNROLL for (int c = 0; c < ct; c++)
        {
            vreal a = v_set(A[c * lda + k]);
            v_pin(a);
            RC_UNROLL for (int v = 0; v < vt; v++) acc[c * vt + v] += a * x[v];
        }
    }
    RC_UNROLL for (int c = 0; c < ct; c++) RC_UNROLL for (int v = 0; v < vt; v++)
        v_store(out + c * ld + v * LANES, acc[c * vt + v]);
}

typedef void outer_fn(const real *A, int64_t lda, const real *const *B, int64_t n, int64_t offset, int64_t last_offset,
                      const char *ahead, ptrdiff_t step, real *out, int64_t ld);
#define OUTER_TILE(ct, vt)                                                                                             \
    static void outer_##ct##x##vt(const real *A, int64_t lda, const real *const *B, int64_t n, int64_t offset,         \
                                  int64_t last_offset, const char *ahead, ptrdiff_t step, real *out, int64_t ld)       \
    {                                                                                                                  \
        outer_tile(ct, vt, A, lda, B, n, offset, last_offset, ahead, step, out, ld);                                   \
    }
#define OUTER_TILES_2(ct) OUTER_TILE(ct, 1) OUTER_TILE(ct, 2)
#define OUTER_TILES_4(ct) OUTER_TILES_2(ct) OUTER_TILE(ct, 3) OUTER_TILE(ct, 4)
#define OUTER_TILES_8(ct) OUTER_TILES_4(ct) OUTER_TILE(ct, 5) OUTER_TILE(ct, 6) OUTER_TILE(ct, 7) OUTER_TILE(ct, 8)
#define OUTER_NAMES_2(ct) outer_##ct##x1, outer_##ct##x2
#define OUTER_NAMES_4(ct) OUTER_NAMES_2(ct), outer_##ct##x3, outer_##ct##x4
#define OUTER_NAMES_8(ct) OUTER_NAMES_4(ct), outer_##ct##x5, outer_##ct##x6, outer_##ct##x7, outer_##ct##x8
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define OUTER_TILES_FEW JOIN(OUTER_TILES_, OUTER_VECTORS_FEW)
#define OUTER_TILES_MANY JOIN(OUTER_TILES_, OUTER_VECTORS)
#define OUTER_NAMES_FEW JOIN(OUTER_NAMES_, OUTER_VECTORS_FEW)
#define OUTER_NAMES_MANY JOIN(OUTER_NAMES_, OUTER_VECTORS)
OUTER_TILES_FEW(1)
OUTER_TILES_FEW(2)
OUTER_TILES_FEW(3)
OUTER_TILES_MANY(4)
OUTER_TILES_MANY(5)
OUTER_TILES_MANY(6)

static outer_fn *const outer_tiles[OUTER_CLASSES][OUTER_VECTORS_FEW] = {{OUTER_NAMES_FEW(1)},  {OUTER_NAMES_FEW(2)},
                                                                        {OUTER_NAMES_FEW(3)},  {OUTER_NAMES_MANY(4)},
                                                                        {OUTER_NAMES_MANY(5)}, {OUTER_NAMES_MANY(6)}};

/* out[c] += sum_k A[c][k] B[k], out packed by `shape` */
static void outer(const real *A, int64_t lda, int64_t C, const real *const *B, int64_t n, const rc_row_shape *shape,
                  rc_ahead *ahead, real *out, int64_t ld)
{
    const pieces classes = cut(C, OUTER_CLASSES), sums = cut(n, OUTER_PIECE);
    const pieces strips =
        cut(shape->n_vectors, piece(&classes, 0) <= OUTER_CLASSES_FEW ? OUTER_VECTORS_FEW : OUTER_VECTORS);
    for (int64_t p = 0, k = 0; p < sums.n; k += piece(&sums, p++))
        for (int64_t s = 0, v = 0; s < strips.n; v += piece(&strips, s++)) {
            const int64_t vt = piece(&strips, s), end = v + vt;
            const int64_t last = end == shape->n_vectors ? shape->last_offset : (end - 1) * LANES;
            for (int64_t t = 0, c = 0; t < classes.n; c += piece(&classes, t++)) {
                const ptrdiff_t step = ahead->step;
                const char *next = take_ahead(ahead, piece(&sums, p));
                outer_tiles[piece(&classes, t) - 1][vt - 1](A + c * lda + k, lda, B + k, piece(&sums, p), v * LANES,
                                                            last, next, step, out + c * ld + v * LANES, ld);
            }
        }
}

/* ---------------------------------------------------------------- the four uses */

static void fill_rows(const real *b, int64_t C, int64_t n, real *S, int64_t ld)
{
    for (int64_t c = 0; c < C; c++)
        for (int64_t r = 0; r < n; r++) S[c * ld + r] = b[c];
}

static void scores_rows(const void *W, const void *b, int64_t C, const void *const *x, int64_t n,
                        const rc_row_shape *shape, rc_ahead *ahead, void *S, int64_t ld)
{
    const int64_t tile = DOT_ROWS > LANES ? DOT_ROWS : LANES, tiled = ceil_div(n, tile) * tile;
    fill_rows(b, C, tiled, S, ld);
    dot(W, shape->packed, C, (const real *const *)x, tiled, shape, ahead, S, ld);
}

static void scores_columns(const void *W, const void *b, int64_t C, int64_t D, const void *const *x, int64_t n_padded,
                           rc_ahead *ahead, void *S, int64_t ld)
{
    const rc_row_shape shape = {n_padded / LANES, n_padded - LANES, n_padded};
    fill_rows(b, C, n_padded, S, ld);
    outer(W, D, C, (const real *const *)x, D, &shape, ahead, S, ld);
}

/* For many classes: a piece of the features of a strip of rows is transposed into `piece`, where it stays in L1 for all
 * classes. */
static void scores_transposed(const void *W, const void *b, int64_t C, int64_t D, const void *const *x,
                              int64_t n_padded, rc_ahead *ahead, void *piece_buffer, void *S, int64_t ld)
{
    const pieces features = cut(D, TRANSPOSED_FEATURES);
    const real *columns[TRANSPOSED_FEATURES], *rows[TRANSPOSED_ROWS];
    fill_rows(b, C, n_padded, S, ld);
    for (int64_t d = 0; d < TRANSPOSED_FEATURES; d++) columns[d] = (const real *)piece_buffer + d * TRANSPOSED_LD;
    for (int64_t r = 0; r < n_padded; r += TRANSPOSED_ROWS) {
        const int64_t n = n_padded - r < TRANSPOSED_ROWS ? n_padded - r : TRANSPOSED_ROWS;
        const rc_row_shape shape = {n / LANES, n - LANES, n};
        for (int64_t p = 0, d = 0; p < features.n; d += piece(&features, p++)) {
            const int64_t length = piece(&features, p);
            /* a piece shorter than a vector starts earlier instead, and skips what it has seen */
            const int64_t first = length >= LANES ? d : D - LANES;
            for (int64_t i = 0; i < n; i++) rows[i] = (const real *)x[r + i] + first;
            transpose((const void *const *)rows, n, d + length - first, piece_buffer, TRANSPOSED_LD);
            outer((const real *)W + d, D, C, columns + (d - first), length, &shape, ahead, (real *)S + r, ld);
        }
    }
}

static void gradient_rows(const void *S, int64_t ld, int64_t C, const void *const *x, int64_t n,
                          const rc_row_shape *shape, rc_ahead *ahead, void *G)
{
    outer(S, ld, C, (const real *const *)x, n, shape, ahead, G, shape->packed);
}

static void gradient_columns(const void *S, int64_t ld, int64_t C, int64_t D, const void *const *x, int64_t n_padded,
                             rc_ahead *ahead, void *G)
{
    const rc_row_shape shape = {n_padded / LANES, n_padded - LANES, n_padded};
    dot(S, ld, C, (const real *const *)x, D, &shape, ahead, G, D);
}

#endif
