/*
 * The register tiles of both products, for B in one storage type: included once per type with
 *     STORAGE       a name
 *     STORED        the type
 *     LOAD_STORED   LANES of them as a vector of reals
 * No include guard.
 */
#define NAMED(name) JOIN(JOIN(name, _), STORAGE)

/* ---------------------------------------------------------------- dot */

RC_INLINE void NAMED(dot_step)(const int ct, const int rt, vreal *acc, const real *a, int64_t lda,
                               const STORED *const *B, int64_t offset)
{
    vreal w[DOT_CLASSES];
    RC_UNROLL for (int c = 0; c < ct; c++) w[c] = v_load(a + c * lda);
    RC_UNROLL for (int j = 0; j < rt; j++)
    {
        vreal x = LOAD_STORED(B[j] + offset);
        v_pin(x);
        RC_UNROLL for (int c = 0; c < ct; c++) acc[c * rt + j] += w[c] * x;
    }
}

/* sums[c] = vectors [v0, v1) of the products, for n_rows rows of which a few at a time have their sums in registers,
 * where the trees begin: DOT_STAGES of them. The last vector of all lies at last_offset in B. */
RC_INLINE void NAMED(dot_tile)(const int ct, const real *A, int64_t lda, const void *const *B, int64_t n_rows,
                               int64_t v0, int64_t v1, const rc_row_shape *shape, const char *ahead, ptrdiff_t step,
                               vreal *sums)
{
    const int rt = DOT_ROWS_AT(ct);
    const int64_t regular = v1 < shape->n_vectors ? v1 : shape->n_vectors - 1;
    for (int64_t first = 0; first < n_rows; first += rt) {
        vreal acc[DOT_ACCUMULATORS];
        const STORED *rows[DOT_ROWS_FEW];
        RC_UNROLL for (int j = 0; j < rt; j++) rows[j] = B[first + j];
        RC_UNROLL for (int i = 0; i < ct * rt; i++) acc[i] = v_set(0);
        for (int64_t k = v0 * LANES; k < regular * LANES; k += LANES) {
            ahead = prefetch_ahead(PREFETCHES(ct), ahead, step);
            NAMED(dot_step)(ct, rt, acc, A + k, lda, rows, k);
        }
        if (regular < v1) {
            ahead = prefetch_ahead(PREFETCHES(ct), ahead, step);
            NAMED(dot_step)(ct, rt, acc, A + regular * LANES, lda, rows, shape->last_offset);
        }
        RC_UNROLL for (int c = 0; c < ct; c++)
        {
            v_sum_stages(1, DOT_STAGES(rt), rt, acc + c * rt);
            for (int j = 0; j < rt >> DOT_STAGES(rt); j++)
                sums[c * DOT_ROWS + (first >> DOT_STAGES(rt)) + j] = acc[c * rt + j];
        }
    }
}

#define DOT_TILE(ct)                                                                                                   \
    static void NAMED(dot_##ct)(const real *A, int64_t lda, const void *const *B, int64_t n_rows, int64_t v0,          \
                                int64_t v1, const rc_row_shape *shape, const char *ahead, ptrdiff_t step, vreal *sums) \
    {                                                                                                                  \
        NAMED(dot_tile)(ct, A, lda, B, n_rows, v0, v1, shape, ahead, step, sums);                                      \
    }
DOT_TILE(1)
DOT_TILE(2)
#if DOT_CLASSES > 2
DOT_TILE(3)
#endif
#if DOT_CLASSES > 3
DOT_TILE(4)
DOT_TILE(5)
DOT_TILE(6)
#endif

/* ---------------------------------------------------------------- outer */

RC_INLINE void NAMED(outer_tile)(const int ct, const int vt, const real *A, int64_t lda, const void *const *B,
                                 int64_t n, int64_t offset, int64_t last_offset, const char *ahead, ptrdiff_t step,
                                 real *out, int64_t ld)
{
    vreal acc[OUTER_ACCUMULATORS], x[OUTER_VECTORS_FEW];
    RC_UNROLL for (int i = 0; i < ct * vt; i++) acc[i] = v_set(0);
    for (int64_t k = 0; k < n; k++) {
        const STORED *b = B[k];
        RC_UNROLL for (int v = 0; v < vt - 1; v++) x[v] = LOAD_STORED(b + offset + v * LANES);
        x[vt - 1] = LOAD_STORED(b + last_offset);
        RC_UNROLL for (int v = 0; v < vt; v++) v_pin(x[v]);
        ahead = prefetch_ahead(PREFETCHES(ct), ahead, step);
        RC_UNROLL for (int c = 0; c < ct; c++)
        {
            vreal a = v_set(A[c * lda + k]);
            v_pin(a);
            RC_UNROLL for (int v = 0; v < vt; v++) acc[c * vt + v] += a * x[v];
        }
    }
    /* all loads before the first store, which might overlap them: compilers then see neighbours side by side */
    RC_UNROLL for (int c = 0; c < ct; c++) RC_UNROLL for (int v = 0; v < vt; v++) acc[c * vt + v] +=
        v_load(out + c * ld + v * LANES);
    RC_UNROLL for (int c = 0; c < ct; c++) RC_UNROLL for (int v = 0; v < vt; v++)
        v_store(out + c * ld + v * LANES, acc[c * vt + v]);
}

#define OUTER_TILE(ct, vt)                                                                                             \
    static void NAMED(outer_##ct##x##vt)(const real *A, int64_t lda, const void *const *B, int64_t n, int64_t offset,  \
                                         int64_t last_offset, const char *ahead, ptrdiff_t step, real *out,            \
                                         int64_t ld)                                                                   \
    {                                                                                                                  \
        NAMED(outer_tile)(ct, vt, A, lda, B, n, offset, last_offset, ahead, step, out, ld);                            \
    }
OUTER_TILES_FEW(1)
OUTER_TILES_FEW(2)
OUTER_TILES_FEW(3)
OUTER_TILES_MANY(4)
OUTER_TILES_MANY(5)
OUTER_TILES_MANY(6)
#if OUTER_CLASSES > OUTER_CLASSES_MANY
OUTER_TILES_2(7)
OUTER_TILES_2(8)
OUTER_TILES_2(9)
OUTER_TILES_2(10)
OUTER_TILES_2(11)
OUTER_TILES_2(12)
#endif

static const tile_table NAMED(tiles) = {{DOT_NAMES},
                                        {
                                            {OUTER_NAMES_FEW(1)},
                                            {OUTER_NAMES_FEW(2)},
                                            {OUTER_NAMES_FEW(3)},
                                            {OUTER_NAMES_MANY(4)},
                                            {OUTER_NAMES_MANY(5)},
                                            {OUTER_NAMES_MANY(6)},
#if OUTER_CLASSES > OUTER_CLASSES_MANY
                                            {OUTER_NAMES_2(7)},
                                            {OUTER_NAMES_2(8)},
                                            {OUTER_NAMES_2(9)},
                                            {OUTER_NAMES_2(10)},
                                            {OUTER_NAMES_2(11)},
                                            {OUTER_NAMES_2(12)},
#endif
                                        }};

#undef DOT_TILE
#undef OUTER_TILE
#undef STORED
#undef LOAD_STORED
#undef NAMED
#undef STORAGE
