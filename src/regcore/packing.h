/*
 * Moving numbers into the shape that the products want: any storage type and strides to the compute type, a block of
 * rows at a time, into a buffer that stays in cache.  A storage type is one line here and nothing elsewhere.
 */
#ifndef REGCORE_PACKING_H
#define REGCORE_PACKING_H

#include "kernels.h"
#include "simd.h"
#include "storage.h"

/* Calls BODY(type, convert) for the storage type. */
#define FOR_STORAGE(dtype, BODY)                                                                                       \
    switch (dtype) {                                                                                                   \
    case RC_FLOAT32: BODY(float, CAST) break;                                                                          \
    case RC_FLOAT64: BODY(double, CAST) break;                                                                         \
    case RC_FLOAT16: BODY(uint16_t, half_to_real) break;                                                               \
    case RC_UINT8: BODY(uint8_t, CAST) break;                                                                          \
    case RC_INT8: BODY(int8_t, CAST) break;                                                                            \
    case RC_INT16: BODY(int16_t, CAST) break;                                                                          \
    case RC_UINT16: BODY(uint16_t, CAST) break;                                                                        \
    case RC_INT32: BODY(int32_t, CAST) break;                                                                          \
    case RC_UINT32: BODY(uint32_t, CAST) break;                                                                        \
    case RC_INT64: BODY(int64_t, CAST) break;                                                                          \
    case RC_UINT64: BODY(uint64_t, CAST) break;                                                                        \
    }

#define LOAD(type, convert, p) (memcpy(&item, (p), sizeof(type)), convert(item))

static void convert_run(const char *src, rc_dtype dtype, int64_t n, real *dst)
{
    int64_t i = 0;
    if (dtype == RC_FLOAT16)
        for (; i + LANES <= n; i += LANES) v_store(dst + i, v_load_half((const uint16_t *)(const void *)(src + 2 * i)));
    if (dtype == RC_UINT8)
        for (; i + LANES <= n; i += LANES) v_store(dst + i, v_load_uint8((const uint8_t *)src + i));
    if (dtype == RC_INT8)
        for (; i + LANES <= n; i += LANES) v_store(dst + i, v_load_int8((const int8_t *)src + i));
#define CONVERT_RUN(type, convert)                                                                                     \
    for (type item; i < n; i++) dst[i] = LOAD(type, convert, src + i * (int64_t)sizeof(type));
    FOR_STORAGE(dtype, CONVERT_RUN)
#undef CONVERT_RUN
}

/* dst[r*ld + d] = row r, feature d */
static void pack_rows(const char *const *src, rc_dtype dtype, int64_t column_stride, int64_t n, int64_t D, void *dst,
                      int64_t ld)
{
    real *out = dst;
    if (column_stride == rc_item_size(dtype)) {
        for (int64_t r = 0; r < n; r++) convert_run(src[r], dtype, D, out + r * ld);
        return;
    }
    /* a tile of 16 features at a time, so that a source that is contiguous by columns is read along its lines */
#define PACK_ROWS(type, convert)                                                                                       \
    for (int64_t first = 0; first < D; first += 16)                                                                    \
        for (int64_t r = 0; r < n; r++)                                                                                \
            for (int64_t d = first; d < D && d < first + 16; d++) {                                                    \
                type item;                                                                                             \
                out[r * ld + d] = LOAD(type, convert, src[r] + d * column_stride);                                     \
            }
    FOR_STORAGE(dtype, PACK_ROWS)
#undef PACK_ROWS
}

RC_INLINE vreal v_load_anywhere(const real *p)
{
    vreal v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Tiles of LANES rows and features, as long as no load reaches beyond `end`; returns the rows done. */
#define DEFINE_PACK_TILES(storage, type, load)                                                                         \
    static int64_t pack_tiles_##storage(const char *const *src, const char *end, int64_t n, int64_t D, real *out,      \
                                        int64_t ld)                                                                    \
    {                                                                                                                  \
        int64_t r = 0;                                                                                                 \
        for (; r + LANES <= n; r += LANES)                                                                             \
            for (int64_t d = 0; d < D; d += LANES) {                                                                   \
                vreal tile[LANES];                                                                                     \
                for (int i = 0; i < LANES; i++)                                                                        \
                    if (end - src[r + i] < (d + LANES) * (int64_t)sizeof(type)) return r;                              \
                RC_UNROLL for (int i = 0; i < LANES; i++) tile[i] = load((const type *)(const void *)src[r + i] + d);  \
                v_transpose(tile);                                                                                     \
                RC_UNROLL for (int i = 0; i < LANES; i++) if (d + i < D)                                               \
                    v_store(out + (d + i) * ld + r, tile[TRANSPOSED_AT(i)]);                                           \
            }                                                                                                          \
        return r;                                                                                                      \
    }
DEFINE_PACK_TILES(real, real, v_load_anywhere)
DEFINE_PACK_TILES(half, uint16_t, v_load_half)
DEFINE_PACK_TILES(uint8, uint8_t, v_load_uint8)
DEFINE_PACK_TILES(int8, int8_t, v_load_int8)

/* The first rows of a block whose features lie side by side: so many as tiles can take */
static int64_t pack_tiles(const char *const *src, rc_dtype dtype, int64_t n, int64_t D, real *out, int64_t ld)
{
    const int64_t row_bytes = D * rc_item_size(dtype);
    const char *last = src[0];
    for (int64_t r = 1; r < n; r++) last = src[r] > last ? src[r] : last;
    switch (dtype) {
    case RC_FLOAT16: return pack_tiles_half(src, last + row_bytes, n, D, out, ld);
    case RC_UINT8: return pack_tiles_uint8(src, last + row_bytes, n, D, out, ld);
    case RC_INT8: return pack_tiles_int8(src, last + row_bytes, n, D, out, ld);
    default:
        if (dtype != (RC_REAL_BITS == 32 ? RC_FLOAT32 : RC_FLOAT64)) return 0;
        return pack_tiles_real(src, last + row_bytes, n, D, out, ld);
    }
}

/* dst[d*ld + r] = row r, feature d; rows from n to the next multiple of LANES become 0 */
static void pack_columns(const char *const *src, rc_dtype dtype, int64_t column_stride, int64_t n, int64_t D, void *dst,
                         int64_t ld)
{
    real *out = dst;
    const int64_t padded = (n + LANES - 1) / LANES * LANES;
    const int64_t step = n > 1 ? src[1] - src[0] : rc_item_size(dtype);
    int contiguous = step == rc_item_size(dtype);
    for (int64_t r = 1; r < n && contiguous; r++) contiguous = src[r] - src[r - 1] == step;
    const int64_t done =
        column_stride == rc_item_size(dtype) && !contiguous ? pack_tiles(src, dtype, n, D, out, ld) : 0;
    for (int64_t d = 0; d < D; d++) {
        real *o = out + d * ld;
        if (contiguous)
            convert_run(src[0] + d * column_stride, dtype, n, o);
        else {
#define PACK_COLUMN(type, convert)                                                                                     \
    for (int64_t r = done; r < n; r++) {                                                                               \
        type item;                                                                                                     \
        o[r] = LOAD(type, convert, src[r] + d * column_stride);                                                        \
    }
            FOR_STORAGE(dtype, PACK_COLUMN)
#undef PACK_COLUMN
        }
        for (int64_t r = n; r < padded; r++) o[r] = 0;
    }
}

/* dst[j*ld + i] = src[i][j]: src has n_in vectors of length n_out, both at least LANES; the last tiles overlap. */
static void transpose(const void *const *src, int64_t n_in, int64_t n_out, void *dst, int64_t ld)
{
    const real *const *in = (const real *const *)src;
    real *out = dst;
    for (int64_t ii = 0; ii < n_in; ii += LANES) {
        const int64_t i = ii + LANES <= n_in ? ii : n_in - LANES;
        for (int64_t jj = 0; jj < n_out; jj += LANES) {
            const int64_t j = jj + LANES <= n_out ? jj : n_out - LANES;
            vreal tile[LANES];
            RC_UNROLL for (int k = 0; k < LANES; k++) tile[k] = v_load(in[i + k] + j);
            v_transpose(tile);
            RC_UNROLL for (int k = 0; k < LANES; k++) v_store(out + (j + k) * ld + i, tile[TRANSPOSED_AT(k)]);
        }
    }
}

static void pack_weights(const void *W, int64_t C, int64_t D, const rc_row_shape *shape, void *dst)
{
    const real *w = W;
    real *out = dst;
    const int64_t regular = (shape->n_vectors - 1) * LANES, tail = D - regular;
    for (int64_t c = 0; c < C; c++, w += D, out += shape->packed) {
        memcpy(out, w, (size_t)regular * sizeof(real));
        for (int64_t i = 0; i < LANES - tail; i++) out[regular + i] = 0;
        memcpy(out + regular + LANES - tail, w + regular, (size_t)tail * sizeof(real));
    }
}

/* total += G, G = 0. Unpacks: the lanes of the last vector that its neighbour also has are dropped. */
static void flush(void *G, int64_t C, int64_t D, const rc_row_shape *shape, double *total)
{
    real *g = G;
    const int64_t ld = shape ? shape->packed : D, regular = shape ? (shape->n_vectors - 1) * LANES : D;
    for (int64_t c = 0; c < C; c++, g += ld, total += D) {
        for (int64_t d = 0; d < regular; d++) total[d] += g[d];
        for (int64_t d = regular; d < D; d++) total[d] += g[regular + LANES - D + d];
        memset(g, 0, (size_t)ld * sizeof(real));
    }
}

/* n numbers of a strided vector as reals, then zeros up to `padded` */
static void load_vector(const rc_vector *v, const rc_rows *rows, int64_t first, int64_t n, int64_t padded, void *dst)
{
    const char *base = v->data;
    real *out = dst;
    if (v->stride == 0) {
#define LOAD_ONE(type, convert)                                                                                        \
    {                                                                                                                  \
        type item;                                                                                                     \
        const real x = LOAD(type, convert, base);                                                                      \
        for (int64_t i = 0; i < n; i++) out[i] = x;                                                                    \
    }
        FOR_STORAGE(v->dtype, LOAD_ONE)
#undef LOAD_ONE
    } else if (!rows->index && rows->step * v->stride == rc_item_size(v->dtype)) {
        convert_run(base + rc_row_at(rows, first) * v->stride, v->dtype, n, out);
    } else {
#define LOAD_VECTOR(type, convert)                                                                                     \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
        type item;                                                                                                     \
        out[i] = LOAD(type, convert, base + rc_row_at(rows, first + i) * v->stride);                                   \
    }
        FOR_STORAGE(v->dtype, LOAD_VECTOR)
#undef LOAD_VECTOR
    }
    for (int64_t i = n; i < padded; i++) out[i] = 0;
}

static void load_targets(const rc_problem *problem, const rc_rows *rows, int64_t first, int64_t n, int64_t padded,
                         const void *y, void *T, int64_t ld)
{
    const rc_targets *t = &problem->targets;
    const int64_t n_labels = problem->n_classes > 1 ? problem->n_classes : 2;
    const real kept = (real)(1 - problem->label_smoothing), even = (real)(problem->label_smoothing / (double)n_labels);
    const real *label = y;
    real *out = T;
    if (t->data) {
#define LOAD_TARGETS(type)                                                                                             \
    for (int64_t r = 0; r < n; r++) {                                                                                  \
        const char *row = (const char *)t->data + rc_row_at(rows, first + r) * t->row_stride;                          \
        type item;                                                                                                     \
        for (int64_t c = 0; c < n_labels; c++) out[c * ld + r] = LOAD(type, CAST, row + c * t->column_stride);         \
    }
        if (t->dtype == RC_FLOAT32) {
            LOAD_TARGETS(float)
        } else {
            LOAD_TARGETS(double)
        }
#undef LOAD_TARGETS
    } else if (n_labels == 2)
        for (int64_t r = 0; r < n; r++) {
            out[r] = 1 - label[r];
            out[ld + r] = label[r];
        }
    else
        for (int64_t c = 0; c < n_labels; c++)
            for (int64_t r = 0; r < n; r++) out[c * ld + r] = label[r] == (real)c;
    for (int64_t c = 0; c < n_labels; c++) {
        if (even != 0)
            for (int64_t r = 0; r < n; r++) out[c * ld + r] = kept * out[c * ld + r] + even;
        for (int64_t r = n; r < padded; r++) out[c * ld + r] = 0;
    }
}

static void add_moments(const void *x, const void *shift, double w, int64_t D, void *sum, void *square)
{
    for (int64_t d = 0; d < D; d++) {
        const real gap = ((const real *)x)[d] - ((const real *)shift)[d];
        ((real *)sum)[d] += (real)w * gap;
        ((real *)square)[d] += (real)w * gap * gap;
    }
}

#endif
