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
 * long against the number of classes; the plan chooses.  A tile starts from zero and is added to `out` at its end: the
 * error of a long sum is that of the sum of its runs.
 */
#ifndef REGCORE_PRODUCTS_H
#define REGCORE_PRODUCTS_H

#include "kernels.h"
#include "packing.h"
#include "simd.h"

/* dot: DOT_ROWS rows are summed together at the end; DOT_ROWS_FEW of them have their sums in registers for up to
 * DOT_FEW classes, DOT_ROWS_MANY for more. */
#if RC_VECTOR_BYTES == 64 /* 32 registers */
#define DOT_CLASSES 6
#define DOT_ROWS_FEW 8
#define OUTER_VECTORS_FEW 8
#define OUTER_VECTORS 4
#else /* 16 registers */
#define DOT_CLASSES (RC_VECTOR_BYTES == 32 ? 3 : 2)
#define DOT_ROWS_FEW 4
#define OUTER_VECTORS_FEW 4
#define OUTER_VECTORS 2
#endif
#define DOT_FEW 3
#define DOT_ROWS_MANY 4
#define DOT_ROWS (DOT_ROWS_FEW > LANES ? DOT_ROWS_FEW : LANES)
#define DOT_ROWS_AT(ct) ((ct) <= DOT_FEW ? DOT_ROWS_FEW : DOT_ROWS_MANY)
/* stages of the trees that a tile of rt rows does itself */
#define DOT_STAGES(rt) (((rt) >= 8 ? 3 : 2) < SUM_STAGES ? ((rt) >= 8 ? 3 : 2) : SUM_STAGES)
#define DOT_ACCUMULATORS                                                                                               \
    (DOT_CLASSES * DOT_ROWS_MANY > DOT_FEW * DOT_ROWS_FEW ? DOT_CLASSES * DOT_ROWS_MANY : DOT_FEW * DOT_ROWS_FEW)
/* outer: the fewer the classes of a tile, the more vectors of a row. A tile of all classes reads a row once, whether or
 * not its lines stay in L1: those of rows whose stride is a multiple of 4096 bytes do not. */
#define OUTER_CLASSES_FEW 3
#define OUTER_CLASSES_MANY 6
#define OUTER_CLASSES (RC_VECTOR_BYTES == 64 ? 12 : 6)
#define OUTER_VECTORS_AT(ct)                                                                                           \
    ((ct) <= OUTER_CLASSES_FEW ? OUTER_VECTORS_FEW : (ct) <= OUTER_CLASSES_MANY ? OUTER_VECTORS : 2)
#define OUTER_ACCUMULATORS (OUTER_CLASSES_MANY * OUTER_VECTORS)

/* Lines prefetched in an inner iteration, from its place in the next block on: the share of few classes is several.
 * What comes in bursts, or at the same time as many misses of L1, is dropped. */
#define PREFETCH_LINE 64
#define PREFETCHES(ct) (RC_VECTOR_BYTES < 64 ? 1 : (ct) <= 3 ? 4 : 2)

/* Long sums run in pieces whose operands stay in L1. */
#define DOT_PIECE (2048 / (int)sizeof(real) / LANES)
#define DOT_SHORT 16 /* vectors of a row, of which DOT_ROWS stay in L1 */
#define DOT_PANEL 2  /* tiles of classes that meet a few rows in turn */
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

RC_INLINE const char *prefetch_ahead(const int n, const char *ahead, ptrdiff_t step)
{
    RC_UNROLL for (int i = 0; i < n; i++) rc_prefetch(ahead + i * PREFETCH_LINE);
    return ahead + step;
}

/* ---------------------------------------------------------------- tiles */

typedef void dot_fn(const real *A, int64_t lda, const void *const *B, int64_t n_rows, int64_t v0, int64_t v1,
                    const rc_row_shape *shape, const char *ahead, ptrdiff_t step, vreal *sums);
typedef void outer_fn(const real *A, int64_t lda, const void *const *B, int64_t n, int64_t offset, int64_t last_offset,
                      const char *ahead, ptrdiff_t step, real *out, int64_t ld);
typedef struct {
    dot_fn *dot[DOT_CLASSES];
    outer_fn *outer[OUTER_CLASSES][OUTER_VECTORS_FEW];
} tile_table;

#define OUTER_TILES_2(ct) OUTER_TILE(ct, 1) OUTER_TILE(ct, 2)
#define OUTER_TILES_4(ct) OUTER_TILES_2(ct) OUTER_TILE(ct, 3) OUTER_TILE(ct, 4)
#define OUTER_TILES_8(ct) OUTER_TILES_4(ct) OUTER_TILE(ct, 5) OUTER_TILE(ct, 6) OUTER_TILE(ct, 7) OUTER_TILE(ct, 8)
#define OUTER_NAMES_2(ct) NAMED(outer_##ct##x1), NAMED(outer_##ct##x2)
#define OUTER_NAMES_4(ct) OUTER_NAMES_2(ct), NAMED(outer_##ct##x3), NAMED(outer_##ct##x4)
#define OUTER_NAMES_8(ct)                                                                                              \
    OUTER_NAMES_4(ct), NAMED(outer_##ct##x5), NAMED(outer_##ct##x6), NAMED(outer_##ct##x7), NAMED(outer_##ct##x8)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define OUTER_TILES_FEW JOIN(OUTER_TILES_, OUTER_VECTORS_FEW)
#define OUTER_TILES_MANY JOIN(OUTER_TILES_, OUTER_VECTORS)
#define OUTER_NAMES_FEW JOIN(OUTER_NAMES_, OUTER_VECTORS_FEW)
#define OUTER_NAMES_MANY JOIN(OUTER_NAMES_, OUTER_VECTORS)
#if DOT_CLASSES > 3
#define DOT_NAMES NAMED(dot_1), NAMED(dot_2), NAMED(dot_3), NAMED(dot_4), NAMED(dot_5), NAMED(dot_6)
#elif DOT_CLASSES > 2
#define DOT_NAMES NAMED(dot_1), NAMED(dot_2), NAMED(dot_3)
#else
#define DOT_NAMES NAMED(dot_1), NAMED(dot_2)
#endif

#define STORAGE real
#define STORED real
#define LOAD_STORED v_load
#include "tiles.h"
#define STORAGE half
#define STORED uint16_t
#define LOAD_STORED v_load_half
#include "tiles.h"
#define STORAGE uint8
#define STORED uint8_t
#define LOAD_STORED v_load_uint8
#include "tiles.h"
#define STORAGE int8
#define STORED int8_t
#define LOAD_STORED v_load_int8
#include "tiles.h"

/* The tiles that read B as it is stored; anything but these types is packed first. */
RC_INLINE const tile_table *tiles_for(rc_dtype stored)
{
    return stored == RC_FLOAT16 ? &tiles_half
           : stored == RC_UINT8 ? &tiles_uint8
           : stored == RC_INT8  ? &tiles_int8
                                : &tiles_real;
}

/* ---------------------------------------------------------------- products */

/* out[c][j] += sum of the lanes, j < n_out, from what a tile of rt rows has left of the trees */
RC_INLINE void finish_sums(const int rt, const vreal *sums, int64_t C, real *out, int64_t ld, int64_t n_out)
{
    enum { MOST = DOT_ROWS };
    const int done = DOT_STAGES(rt), n = LANES >> done;
    for (int64_t c = 0; c < C; c++, out += ld, sums += DOT_ROWS)
        for (int64_t j = 0; j < DOT_ROWS; j += LANES) {
            vreal group[MOST];
            RC_UNROLL for (int i = 0; i < n; i++) group[i] = sums[(j >> done) + i];
            v_sum_stages(done + 1, SUM_STAGES, n, group);
            if (j + LANES <= n_out)
                v_store(out + j, v_load(out + j) + group[0]);
            else {
                real some[LANES];
                v_store(some, group[0]);
                for (int64_t i = 0; j + i < n_out; i++) out[j + i] += some[i];
            }
        }
}

static void sum_lanes(int64_t ct, const vreal *sums, real *out, int64_t ld, int64_t n_out)
{
    if (DOT_ROWS_AT(ct) == DOT_ROWS_FEW)
        finish_sums(DOT_ROWS_FEW, sums, ct, out, ld, n_out);
    else
        finish_sums(DOT_ROWS_MANY, sums, ct, out, ld, n_out);
}

/* out[c][j] += A[c] . B[j]. A few rows meet all classes of a panel while they are in L1, and so does a piece of A. */
static void dot(const tile_table *tiles, const real *A, int64_t lda, int64_t C, const void *const *B, int64_t n_out,
                const rc_row_shape *shape, rc_ahead *ahead, real *out, int64_t ld)
{
    const pieces sums = cut(shape->n_vectors, DOT_PIECE), classes = cut(C, DOT_CLASSES);
    vreal lanes[DOT_PANEL * DOT_CLASSES * DOT_ROWS];
    for (int64_t p = 0, v = 0; p < sums.n; v += piece(&sums, p++)) {
        const int64_t length = piece(&sums, p);
        const int64_t step = length <= DOT_SHORT ? DOT_ROWS : DOT_ROWS_AT(classes.length);
        for (int64_t j = 0; j < n_out; j += DOT_ROWS)
            for (int64_t t = 0, c = 0, n; t < classes.n; t += DOT_PANEL, c += n) {
                const int64_t end = t + DOT_PANEL < classes.n ? t + DOT_PANEL : classes.n;
                for (int64_t r = 0; r < DOT_ROWS; r += step) {
                    n = 0;
                    for (int64_t i = t; i < end; n += piece(&classes, i++)) {
                        const int64_t ct = piece(&classes, i);
                        const ptrdiff_t ahead_step = ahead->step;
                        const char *next = take_ahead(ahead, length * (step / DOT_ROWS_AT(ct)));
                        tiles->dot[ct - 1](A + (c + n) * lda, lda, B + j + r, step, v, v + length, shape, next,
                                           ahead_step, lanes + n * DOT_ROWS + (r >> DOT_STAGES(DOT_ROWS_AT(ct))));
                    }
                }
                n = 0;
                for (int64_t i = t; i < end; n += piece(&classes, i++))
                    sum_lanes(piece(&classes, i), lanes + n * DOT_ROWS, out + (c + n) * ld + j, ld, n_out - j);
            }
    }
}

RC_INLINE pieces outer_classes(int64_t C) { return cut(C, C <= OUTER_CLASSES ? OUTER_CLASSES : OUTER_CLASSES_MANY); }

/* out[c] += sum_k A[c][k] B[k], out packed by `shape` */
static void outer(const tile_table *tiles, const real *A, int64_t lda, int64_t C, const void *const *B, int64_t n,
                  const rc_row_shape *shape, rc_ahead *ahead, real *out, int64_t ld)
{
    const pieces classes = outer_classes(C), sums = cut(n, OUTER_PIECE);
    const pieces strips = cut(shape->n_vectors, OUTER_VECTORS_AT(piece(&classes, 0)));
    for (int64_t p = 0, k = 0; p < sums.n; k += piece(&sums, p++))
        for (int64_t s = 0, v = 0; s < strips.n; v += piece(&strips, s++)) {
            const int64_t vt = piece(&strips, s), end = v + vt;
            const int64_t last = end == shape->n_vectors ? shape->last_offset : (end - 1) * LANES;
            for (int64_t t = 0, c = 0; t < classes.n; c += piece(&classes, t++)) {
                const ptrdiff_t step = ahead->step;
                const int64_t ct = piece(&classes, t);
                const char *next = take_ahead(ahead, piece(&sums, p));
                tiles->outer[ct - 1][vt - 1](A + c * lda + k, lda, B + k, piece(&sums, p), v * LANES, last, next, step,
                                             out + c * ld + v * LANES, ld);
            }
        }
}

/* How many inner iterations the two take */
static int64_t dot_iterations(int64_t C, int64_t n_out, int64_t n_vectors)
{
    const pieces classes = cut(C, DOT_CLASSES);
    const int64_t rows = ceil_div(n_out, DOT_ROWS) * DOT_ROWS;
    const int64_t longer = rows / DOT_ROWS_AT(classes.length + 1), shorter = rows / DOT_ROWS_AT(classes.length);
    return n_vectors * (classes.longer * longer + (classes.n - classes.longer) * shorter);
}

static int64_t outer_iterations(int64_t C, int64_t n, int64_t n_vectors)
{
    const pieces classes = outer_classes(C);
    return n * classes.n * ceil_div(n_vectors, OUTER_VECTORS_AT(piece(&classes, 0)));
}

/* ---------------------------------------------------------------- the four uses */

static void fill_rows(const real *b, int64_t C, int64_t n, real *S, int64_t ld)
{
    for (int64_t c = 0; c < C; c++)
        for (int64_t r = 0; r < n; r++) S[c * ld + r] = b[c];
}

static void scores_rows(const void *W, const void *b, int64_t C, const void *const *x, rc_dtype stored, int64_t n,
                        const rc_row_shape *shape, rc_ahead *ahead, void *S, int64_t ld)
{
    const int64_t tiled = ceil_div(n, DOT_ROWS) * DOT_ROWS;
    fill_rows(b, C, tiled, S, ld);
    dot(tiles_for(stored), W, shape->packed, C, x, tiled, shape, ahead, S, ld);
}

static void scores_columns(const void *W, const void *b, int64_t C, int64_t D, const void *const *x, int64_t n_padded,
                           rc_ahead *ahead, void *S, int64_t ld)
{
    const rc_row_shape shape = {n_padded / LANES, n_padded - LANES, n_padded};
    fill_rows(b, C, n_padded, S, ld);
    outer(&tiles_real, W, D, C, x, D, &shape, ahead, S, ld);
}

/* For many classes: a piece of the features of a strip of rows is transposed into `piece`, where it stays in L1 for all
 * classes. */
static void scores_transposed(const void *W, const void *b, int64_t C, int64_t D, const void *const *x,
                              int64_t n_padded, rc_ahead *ahead, void *piece_buffer, void *S, int64_t ld)
{
    const pieces features = cut(D, TRANSPOSED_FEATURES);
    const void *columns[TRANSPOSED_FEATURES], *rows[TRANSPOSED_ROWS];
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
            transpose(rows, n, d + length - first, piece_buffer, TRANSPOSED_LD);
            outer(&tiles_real, (const real *)W + d, D, C, columns + (d - first), length, &shape, ahead, (real *)S + r,
                  ld);
        }
    }
}

static void gradient_rows(const void *S, int64_t ld, int64_t C, const void *const *x, rc_dtype stored, int64_t n,
                          const rc_row_shape *shape, rc_ahead *ahead, void *G)
{
    outer(tiles_for(stored), S, ld, C, x, n, shape, ahead, G, shape->packed);
}

static void gradient_columns(const void *S, int64_t ld, int64_t C, int64_t D, const void *const *x, int64_t n_padded,
                             rc_ahead *ahead, void *G)
{
    const rc_row_shape shape = {n_padded / LANES, n_padded - LANES, n_padded};
    dot(&tiles_real, S, ld, C, x, D, &shape, ahead, G, D);
}

#endif
