/*
 * What the products leave over of the dense algebra in dense.c: copies into the layout that they want, and the blocks
 * on the diagonal of a Cholesky factorisation.
 */
#ifndef REGCORE_DENSE_H
#define REGCORE_DENSE_H

#include <float.h>
#include <math.h>

#include "kernels.h"
#include "simd.h"

#if RC_REAL_BITS == 32
#define LARGEST_PIVOT FLT_MAX
#define SQUARE_ROOT sqrtf
#else
#define LARGEST_PIVOT DBL_MAX
#define SQUARE_ROOT sqrt
#endif

static void copy_transposed(const void *src, int64_t lds, int64_t n, int64_t m, double factor, void *dst, int64_t ldd)
{
    const real *in = src, f = (real)factor;
    real *out = dst;
    const int64_t tiled_rows = n / LANES * LANES, tiled_columns = m / LANES * LANES;
    for (int64_t r = 0; r < tiled_rows; r += LANES)
        for (int64_t c = 0; c < tiled_columns; c += LANES) {
            vreal tile[LANES];
            RC_UNROLL for (int i = 0; i < LANES; i++) tile[i] = f * v_load(in + (r + i) * lds + c);
            v_transpose(tile);
            RC_UNROLL for (int i = 0; i < LANES; i++) v_store(out + (c + i) * ldd + r, tile[TRANSPOSED_AT(i)]);
        }
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = r < tiled_rows ? tiled_columns : 0; c < m; c++) out[c * ldd + r] = f * in[r * lds + c];
}

static void copy_weighted(const void *src, int64_t lds, const void *h, int64_t n, int64_t m, int64_t padded, void *dst,
                          int64_t ldd)
{
    for (int64_t r = 0; r < n; r++) {
        const real *in = (const real *)src + r * lds, weight = ((const real *)h)[r];
        real *RC_RESTRICT out = (real *)dst + r * ldd;
        for (int64_t c = 0; c < m; c++) out[c] = weight * in[c];
        for (int64_t c = m; c < padded; c++) out[c] = 0;
    }
}

static void add_symmetric(const void *G, int64_t ldg, int64_t row, int64_t n_rows, int64_t first, int64_t n_columns,
                          void *out, int64_t K)
{
    const int64_t end = first + n_columns;
    real *o = out;
    for (int64_t r = row; r < row + n_rows; r++) {
        const real *g = (const real *)G + (r - row) * ldg;
        for (int64_t c = first > r ? first : r; c < end; c++) {
            o[r * K + c] += g[c - first];
            o[c * K + r] = o[r * K + c];
        }
    }
}

static void subtract(const void *x, int64_t n, void *y)
{
    for (int64_t i = 0; i < n; i++) ((real *)y)[i] -= ((const real *)x)[i];
}

static void add_diagonal(const double *extra, int64_t n, void *A, int64_t ld)
{
    for (int64_t i = 0; i < n; i++) {
        real *at = (real *)A + i * (ld + 1);
        *at = (real)(*at + extra[i]);
    }
}

/*
 * U = L', so that the sums run along its rows.  They run in whole vectors, from the one that the diagonal is in: what
 * this leaves below the diagonal is never read.
 */
static int factor_diagonal(void *A, int64_t ld, int64_t n, void *scratch, void *inverse)
{
    enum { SIZE = CHOLESKY_BLOCK, VECTORS = SIZE / LANES };
    real *a = A, *RC_RESTRICT U = scratch, *RC_RESTRICT V = inverse;
    memset(U, 0, SIZE * SIZE * sizeof(real));
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c <= r; c++) U[c * SIZE + r] = a[r * ld + c];

    for (int64_t k = 0; k < n; k++) {
        real *pivot_row = U + k * SIZE;
        const real pivot = pivot_row[k];
        if (!(pivot > 0 && pivot <= LARGEST_PIVOT)) return 0;
        const real root = SQUARE_ROOT(pivot), scale = 1 / root;
        for (int64_t c = k / LANES * LANES; c < SIZE; c += LANES) v_store(pivot_row + c, v_load(pivot_row + c) * scale);
        pivot_row[k] = root;
        for (int64_t r = k + 1; r < n; r++) {
            const vreal factor = v_set(pivot_row[r]);
            real *row = U + r * SIZE;
            for (int64_t c = r / LANES * LANES; c < SIZE; c += LANES)
                v_store(row + c, v_load(row + c) - factor * v_load(pivot_row + c));
        }
    }
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c <= r; c++) a[r * ld + c] = U[c * SIZE + r];

    /* V = U^-1: row k of U V = I, from the last to the first */
    for (int64_t k = n - 1; V && k >= 0; k--) {
        vreal sum[VECTORS];
        const real scale = 1 / U[k * SIZE + k];
        RC_UNROLL for (int v = 0; v < VECTORS; v++) sum[v] = v_set(0);
        for (int64_t j = k + 1; j < n; j++) {
            const vreal factor = v_set(U[k * SIZE + j]);
            RC_UNROLL for (int v = 0; v < VECTORS; v++) sum[v] -= factor * v_load(V + j * SIZE + v * LANES);
        }
        RC_UNROLL for (int v = 0; v < VECTORS; v++) v_store(V + k * SIZE + v * LANES, sum[v] * scale);
        V[k * SIZE + k] = scale;
    }
    return 1;
}

static void solve_lower(const void *L, int64_t ld, int64_t n, void *x)
{
    real *RC_RESTRICT y = x;
    for (int64_t i = 0; i < n; i++) {
        const real *row = (const real *)L + i * ld;
        vreal products[LANES];
        RC_UNROLL for (int v = 0; v < LANES; v++) products[v] = v_set(0);
        int64_t j = 0;
        for (; j + LANES <= i; j += LANES) products[0] += v_load(row + j) * v_load(y + j);
        real sum = 0;
        for (; j < i; j++) sum += row[j] * y[j];
        real sums[LANES];
        v_store(sums, v_sums(products));
        y[i] = (y[i] - (sums[0] + sum)) / row[i];
    }
}

static void solve_upper(const void *L, int64_t ld, int64_t n, void *x)
{
    real *RC_RESTRICT z = x;
    for (int64_t i = n - 1; i >= 0; i--) {
        const real *row = (const real *)L + i * ld;
        z[i] /= row[i];
        for (int64_t j = 0; j < i; j++) z[j] -= z[i] * row[j];
    }
}

#undef LARGEST_PIVOT
#undef SQUARE_ROOT

#endif
