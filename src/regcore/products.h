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
 * 6 x 4 needs 10 loads for 24 FMAs.  The trees that end a dot cost about 3 operations a sum, so dot pays where k is long
 * against the number of classes; the driver chooses.
 */
#ifndef REGCORE_PRODUCTS_H
#define REGCORE_PRODUCTS_H

#include "kernels.h"
#include "simd.h"

#if RC_VECTOR_BYTES == 64 /* 32 registers */
#define DOT_ROWS 8
#define DOT_CLASSES 3
#define OUTER_VECTORS_FEW 8
#define OUTER_VECTORS 4
#else /* 16 registers */
#define DOT_ROWS 4
#define DOT_CLASSES (RC_VECTOR_BYTES == 32 ? 3 : 2)
#define OUTER_VECTORS_FEW 4
#define OUTER_VECTORS 2
#endif
#define OUTER_CLASSES_FEW 3
#define OUTER_CLASSES 6

/* Long sums run in pieces whose operands stay in L1. */
#define DOT_PIECE (4096 / (int)sizeof(real) / LANES)
#define OUTER_PIECE 128

/* i-th of n pieces of a total, as equal as can be */
RC_INLINE int64_t piece_start(int64_t total, int64_t n, int64_t i) { return total / n * i + (i < total % n ? i : total % n); }
RC_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* ---------------------------------------------------------------- dot */

RC_INLINE void dot_step(const int ct, vreal *acc, const real *a, int64_t lda, const real *const *B, int64_t offset)
{
    vreal w[DOT_CLASSES];
    RC_UNROLL for (int c = 0; c < ct; c++) w[c] = v_load(a + c * lda);
    RC_UNROLL for (int j = 0; j < DOT_ROWS; j++)
    {
        const vreal x = v_load(B[j] + offset);
        RC_UNROLL for (int c = 0; c < ct; c++) acc[c * DOT_ROWS + j] += w[c] * x;
    }
}

/* Vectors [v0, v1) of the sum; the last vector of all lies at last_offset in B. start: the value to add to. */
RC_INLINE void dot_tile(const int ct, const real *A, int64_t lda, const real *const *B, int64_t v0, int64_t v1,
                        const rc_row_shape *shape, const real *start, real *out, int64_t ld, int64_t n_out)
{
    enum { GROUPS = (DOT_CLASSES * DOT_ROWS + LANES - 1) / LANES };
    vreal acc[GROUPS * LANES];
    real sums[GROUPS * LANES];
    const real *rows[DOT_ROWS];
    RC_UNROLL for (int i = 0; i < GROUPS * LANES; i++) acc[i] = v_set(0);
    RC_UNROLL for (int j = 0; j < DOT_ROWS; j++) rows[j] = B[j];

    const int64_t regular = v1 < shape->n_vectors ? v1 : shape->n_vectors - 1;
    for (int64_t k = v0 * LANES; k < regular * LANES; k += LANES) dot_step(ct, acc, A + k, lda, rows, k);
    if (regular < v1) dot_step(ct, acc, A + regular * LANES, lda, rows, shape->last_offset);

    RC_UNROLL for (int g = 0; g < (ct * DOT_ROWS + LANES - 1) / LANES; g++)
        v_store(sums + g * LANES, v_sums(acc + g * LANES));
    for (int c = 0; c < ct; c++) {
        real *o = out + c * ld;
        if (n_out >= DOT_ROWS && start)
            for (int j = 0; j < DOT_ROWS; j++) o[j] = start[c] + sums[c * DOT_ROWS + j];
        else if (n_out >= DOT_ROWS)
            for (int j = 0; j < DOT_ROWS; j++) o[j] += sums[c * DOT_ROWS + j];
        else
            for (int j = 0; j < n_out; j++) o[j] = (start ? start[c] : o[j]) + sums[c * DOT_ROWS + j];
    }
}

static void dot_tile_1(const real *A, int64_t lda, const real *const *B, int64_t v0, int64_t v1,
                       const rc_row_shape *shape, const real *start, real *out, int64_t ld, int64_t n_out)
{
    dot_tile(1, A, lda, B, v0, v1, shape, start, out, ld, n_out);
}
static void dot_tile_2(const real *A, int64_t lda, const real *const *B, int64_t v0, int64_t v1,
                       const rc_row_shape *shape, const real *start, real *out, int64_t ld, int64_t n_out)
{
    dot_tile(2, A, lda, B, v0, v1, shape, start, out, ld, n_out);
}
static void dot_tile_3(const real *A, int64_t lda, const real *const *B, int64_t v0, int64_t v1,
                       const rc_row_shape *shape, const real *start, real *out, int64_t ld, int64_t n_out)
{
    dot_tile(DOT_CLASSES, A, lda, B, v0, v1, shape, start, out, ld, n_out);
}

/* out[c][j] = start[c] + A[c] . B[j]; start = NULL: out += */
static void dot(const real *A, int64_t lda, int64_t C, const real *const *B, int64_t n_out, const rc_row_shape *shape,
                const real *start, real *out, int64_t ld)
{
    static void (*const tiles[])(const real *, int64_t, const real *const *, int64_t, int64_t, const rc_row_shape *,
                                 const real *, real *, int64_t, int64_t) = {dot_tile_1, dot_tile_2, dot_tile_3};
    const int64_t n_pieces = ceil_div(shape->n_vectors, DOT_PIECE), n_tiles = ceil_div(C, DOT_CLASSES);
    for (int64_t p = 0; p < n_pieces; p++) {
        const int64_t v0 = piece_start(shape->n_vectors, n_pieces, p), v1 = piece_start(shape->n_vectors, n_pieces, p + 1);
        for (int64_t j = 0; j < n_out; j += DOT_ROWS)
            for (int64_t t = 0; t < n_tiles; t++) {
                const int64_t c = piece_start(C, n_tiles, t), ct = piece_start(C, n_tiles, t + 1) - c;
                tiles[ct - 1](A + c * lda, lda, B + j, v0, v1, shape, start && p == 0 ? start + c : NULL,
                              out + c * ld + j, ld, n_out - j);
            }
    }
}

/* ---------------------------------------------------------------- outer */

RC_INLINE void outer_tile(const int ct, const int vt, const real *A, int64_t lda, const real *const *B, int64_t n,
                          int64_t offset, int64_t last_offset, ptrdiff_t prefetch, real *out, int64_t ld)
{
    vreal acc[OUTER_CLASSES * OUTER_VECTORS_FEW], x[OUTER_VECTORS_FEW];
    RC_UNROLL for (int c = 0; c < ct; c++)
        RC_UNROLL for (int v = 0; v < vt; v++) acc[c * vt + v] = v_load(out + c * ld + v * LANES);
    for (int64_t k = 0; k < n; k++) {
        const real *b = B[k];
        RC_UNROLL for (int v = 0; v < vt - 1; v++) x[v] = v_load(b + offset + v * LANES);
        x[vt - 1] = v_load(b + last_offset);
        if (prefetch)
            for (int v = 0; v < vt; v++) rc_prefetch((const char *)(b + offset + v * LANES) + prefetch);
        RC_UNROLL for (int c = 0; c < ct; c++)
        {
            const vreal a = v_set(A[c * lda + k]);
            RC_UNROLL for (int v = 0; v < vt; v++) acc[c * vt + v] += a * x[v];
        }
    }
    RC_UNROLL for (int c = 0; c < ct; c++)
        RC_UNROLL for (int v = 0; v < vt; v++) v_store(out + c * ld + v * LANES, acc[c * vt + v]);
}

typedef void outer_fn(const real *A, int64_t lda, const real *const *B, int64_t n, int64_t offset, int64_t last_offset,
                      ptrdiff_t prefetch, real *out, int64_t ld);
#define OUTER_TILE(ct, vt)                                                                                             \
    static void outer_##ct##x##vt(const real *A, int64_t lda, const real *const *B, int64_t n, int64_t offset,         \
                                  int64_t last_offset, ptrdiff_t prefetch, real *out, int64_t ld)                      \
    {                                                                                                                  \
        outer_tile(ct, vt, A, lda, B, n, offset, last_offset, prefetch, out, ld);                                      \
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

static outer_fn *const outer_tiles[OUTER_CLASSES][OUTER_VECTORS_FEW] = {
    {OUTER_NAMES_FEW(1)},  {OUTER_NAMES_FEW(2)},  {OUTER_NAMES_FEW(3)},
    {OUTER_NAMES_MANY(4)}, {OUTER_NAMES_MANY(5)}, {OUTER_NAMES_MANY(6)}};

/* out[c] += sum_k A[c][k] B[k], out packed by `shape`; see gradient_rows for prefetch */
static void outer(const real *A, int64_t lda, int64_t C, const real *const *B, int64_t n, const rc_row_shape *shape,
                  ptrdiff_t prefetch, real *out, int64_t ld)
{
    const int64_t n_tiles = ceil_div(C, OUTER_CLASSES), largest = ceil_div(C, n_tiles);
    const int64_t width = largest <= OUTER_CLASSES_FEW ? OUTER_VECTORS_FEW : OUTER_VECTORS;
    const int64_t n_strips = ceil_div(shape->n_vectors, width), n_pieces = ceil_div(n, OUTER_PIECE);
    for (int64_t p = 0; p < n_pieces; p++) {
        const int64_t k = piece_start(n, n_pieces, p), kt = piece_start(n, n_pieces, p + 1) - k;
        for (int64_t s = 0; s < n_strips; s++) {
            const int64_t v = piece_start(shape->n_vectors, n_strips, s);
            const int64_t end = piece_start(shape->n_vectors, n_strips, s + 1);
            const int64_t last = end == shape->n_vectors ? shape->last_offset : (end - 1) * LANES;
            for (int64_t t = 0; t < n_tiles; t++) {
                const int64_t c = piece_start(C, n_tiles, t), ct = piece_start(C, n_tiles, t + 1) - c;
                outer_tiles[ct - 1][end - v - 1](A + c * lda + k, lda, B + k, kt, v * LANES, last, t ? 0 : prefetch,
                                                 out + c * ld + v * LANES, ld);
            }
        }
    }
}

/* ---------------------------------------------------------------- the four uses */

static void scores_rows(const void *W, const void *b, int64_t C, const void *const *x, int64_t n,
                        const rc_row_shape *shape, void *S, int64_t ld)
{
    dot(W, shape->packed, C, (const real *const *)x, ceil_div(n, DOT_ROWS) * DOT_ROWS, shape, b, S, ld);
}

static void scores_columns(const void *W, const void *b, int64_t C, int64_t D, const void *const *x, int64_t n_padded,
                           void *S, int64_t ld)
{
    const rc_row_shape shape = {n_padded / LANES, n_padded - LANES, n_padded};
    real *s = S;
    for (int64_t c = 0; c < C; c++)
        for (int64_t r = 0; r < n_padded; r++) s[c * ld + r] = ((const real *)b)[c];
    outer(W, D, C, (const real *const *)x, D, &shape, 0, s, ld);
}

static void gradient_rows(const void *S, int64_t ld, int64_t C, const void *const *x, int64_t n,
                          const rc_row_shape *shape, ptrdiff_t prefetch, void *G)
{
    outer(S, ld, C, (const real *const *)x, n, shape, prefetch, G, shape->packed);
}

static void gradient_columns(const void *S, int64_t ld, int64_t C, int64_t D, const void *const *x, int64_t n_padded,
                             void *G)
{
    const rc_row_shape shape = {n_padded / LANES, n_padded - LANES, n_padded};
    dot(S, ld, C, (const real *const *)x, D, &shape, NULL, G, D);
}

#endif
