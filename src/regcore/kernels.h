/*
 * The table of kernels: one per real type and CPU level, chosen when the library is loaded.
 *
 * Kernels allocate nothing, hold no state, know no threads and trust their input.  `void *` stands for the real type of
 * the table.  A block of scores S is class-major: S[c*ld + r] is class c of row r, so that a loss works on LANES rows
 * at a time and needs no horizontal operation.  Rows from n to the next multiple of `lanes` hold finite numbers and
 * have weight 0.
 *
 * A block of X comes in one of two views:
 *   rows     x[r] points to a row of D consecutive reals (D >= lanes);
 *   columns  x[d] points to feature d of consecutive rows, readable and finite up to a multiple of `lanes`.
 */
#ifndef REGCORE_KERNELS_H
#define REGCORE_KERNELS_H

#include "include/regcore.h"

static inline int64_t rc_item_size(rc_dtype dtype)
{
    static const int8_t sizes[] = {4, 8, 2, 1, 1, 2, 2, 4, 4, 8, 8};
    return sizes[dtype];
}

/* Whether the labels are distributions: soft targets, or smoothed */
static inline int rc_is_soft(const rc_problem *p)
{
    const int is_float = p->y.dtype == RC_FLOAT32 || p->y.dtype == RC_FLOAT64;
    return p->targets.data || p->label_smoothing != 0 || (p->y.data && is_float);
}

/* Row i of an evaluation, as a row of X */
/* Which weights model m has */
static inline int64_t rc_weights_of(const rc_problem *problem, int64_t m)
{
    return problem->weights_of ? problem->weights_of[m] : m;
}

static inline int64_t rc_row_at(const rc_rows *rows, int64_t i)
{
    return rows->index ? rows->index[i] : rows->start + i * rows->step;
}

/* What the caller will read next: the products prefetch `step` bytes of it in each inner iteration, so that memory is
 * never idle while they compute.  step = 0: nothing to prefetch. */
typedef struct {
    const char *next, *end;
    ptrdiff_t step;
} rc_ahead;

/* The last vector of a row ends with the row: it overlaps its neighbour instead of reading past the end.  A packed
 * weight matrix holds zeros in the lanes seen twice, a packed gradient holds sums that unpacking drops. */
typedef struct {
    int64_t n_vectors, last_offset, packed; /* packed: the length of a packed row, n_vectors * lanes or more */
} rc_row_shape;

enum { TRANSPOSED_FEATURES = 128, TRANSPOSED_ROWS = 64, TRANSPOSED_LD = 80 };
enum { CHOLESKY_BLOCK = 64 }; /* columns that are factored together; a multiple of `lanes` and of `row_tile` */

/*
 * The columns that occur in the rows of a CSR problem, where they are few among many: their tables have rows for them
 * alone.  Column d occurs if bit d % 64 of bits[d / 64] is set; before[i] is how many of the columns below 64 i occur.
 */
typedef struct {
    int64_t n;
    const int32_t *columns; /* (n,), ascending */
    const uint64_t *bits;
    const uint32_t *before;
} rc_occurring;

/* The row of the tables that column d has, or the first after it */
static inline int64_t rc_row_of_column(const rc_occurring *o, int64_t d)
{
    uint64_t word = o->bits[d / 64] & (((uint64_t)1 << d % 64) - 1);
#if defined(__GNUC__) || defined(__clang__)
    return o->before[d / 64] + __builtin_popcountll(word);
#else
    int64_t n = o->before[d / 64];
    for (; word; word &= word - 1) n++;
    return n;
#endif
}

typedef struct {
    const void *data;
    const void *indices;
    const void *indptr;
    rc_dtype dtype, index_dtype;
    int64_t nnz;                   /* length of data and indices */
    const rc_occurring *occurring; /* NULL: the tables have a row for each column */
} rc_csr;

/*
 * A row for each feature of a CSR problem: weights or gradient, transposed.  Panel by panel, where the panel of classes
 * from c on begins at data + c * panel_step and its rows follow each other (stride 0); or all classes of a feature side
 * by side (panel_step 1), where rows are `stride` long.
 */
typedef struct {
    void *data;
    int64_t panel_step, stride;
} rc_table;

/* A stochastic step: length, momentum, and the penalty's threshold and shrink; group: they are of a column's norm. */
typedef struct {
    double step, momentum, threshold, shrink;
    int group;
} rc_step;

/* The penalty steps since weights were last brought up to date, see sgd.c; `now` is the last one. */
typedef struct {
    int64_t now;
    double *scale, *drop, *scale_sum, *product_sum;
} rc_lazy;

#define DUAL_SCRATCH(C) (10 * ((C) + 32))

/* Dual coordinate ascent, see dual.h; everything belongs to the caller. */
typedef struct {
    rc_loss loss;
    int64_t C, ldw, n_vectors;   /* n_vectors: of a dense row */
    void *A, *W;                 /* dense (C, ldw), CSR (D, ldw); W: prox(A) where a dense problem has a threshold */
    double curvature, l1, group; /* of the map from A to the weights: curvature * metric * prox(A) */
    const void *metric;          /* (D,) or NULL: ones; dense rows come with a copy that is multiplied by it */
    double intercept;            /* curvature of the intercept; 0: there is none */
    double *b, *residual;        /* (C,): intercept, and the sum of weight * slopes */
    void *dual;                  /* (n_samples, C): slopes */
    double *weight, *square;     /* (n_samples,): of the mean; sum of metric * x^2 */
    int32_t *label;
    uint8_t *wait, *patience; /* (n_samples,): epochs that a sample sleeps, and how long it did */
    double *scratch;          /* DUAL_SCRATCH(C) doubles */
    double gap;               /* sum of weight * (loss + conjugate - product) as the samples were met */
    double spread;            /* of a change, as long as other blocks of samples have not seen it; else 1 */
} rc_dual_work;

/* A step of a quasi-Newton method and the change of the gradient along it: see rc_pairs in regcore.h. */
typedef struct {
    const double *s, *y;
    const double *bend, *free;
} rc_pair;

/* <s, r>, <s, y>, <s, s> and <y, y> */
typedef struct {
    double sr, sy, ss, yy;
} rc_pair_sums;

/* A column of X in the compute type: padded with zeros to whole vectors (rows NULL), or its n nonzeros. */
typedef struct {
    const void *values;
    const int32_t *rows;
    int64_t n;
} rc_column;

/* One class of a quadratic model of the loss, see coordinate.h; arrays over the samples, padded to whole vectors. */
typedef enum { RC_ONE_OUTPUT_MODEL, RC_CROSS_ENTROPY_MODEL, RC_SQUARED_HINGE_MODEL } rc_model_form;
typedef struct {
    rc_model_form form;
    double *slope, *curvature, *change;
    const double *share, *own;
    double *mean, *pull; /* of all classes together */
} rc_model_class;

/* What makes a dual point from a first one, for one model; see rc_dual_point. gain_sum is the sum of gain. */
typedef struct {
    double shrink;
    const double *lose, *gain; /* NULL: nothing is given */
    double gain_sum;
} rc_dual_shift;

typedef struct {
    const char *level;
    int lanes;
    int row_tile; /* readable rows: x[] must be padded to a multiple */
    size_t real_size;

    /* --- dense: packing. src[r] is the start of a row in the storage type */
    void (*pack_rows)(const char *const *src, rc_dtype dtype, int64_t column_stride, int64_t n, int64_t D, void *dst,
                      int64_t ld);
    void (*pack_columns)(const char *const *src, rc_dtype dtype, int64_t column_stride, int64_t n, int64_t D, void *dst,
                         int64_t ld);
    /* dst[j*ld + i] = src[i][j], n_in >= lanes vectors of length n_out >= lanes */
    void (*transpose)(const void *const *src, int64_t n_in, int64_t n_out, void *dst, int64_t ld);
    void (*pack_weights)(const void *W, int64_t C, int64_t D, const rc_row_shape *shape, void *dst);
    /* n numbers of a vector as reals, then zeros up to `padded` */
    void (*load_vector)(const rc_vector *v, const rc_rows *rows, int64_t first, int64_t n, int64_t padded, void *dst);

    /* T[c*ld + r] = probability of class c for row first + r: targets, or 1 for its label y, smoothed; two classes for
     * the binary form. 0 in rows from n to `padded`. y: of the block, as reals */
    void (*load_targets)(const rc_problem *problem, const rc_rows *rows, int64_t first, int64_t n, int64_t padded,
                         const void *y, void *T, int64_t ld);

    /* --- dense: products */
    /* S[c][r] = b[c] + W[c] . x[r] with lanes along the features; W packed. x as reals, or as stored: FLOAT16, UINT8,
     * INT8 */
    void (*scores_rows)(const void *W, const void *b, int64_t C, const void *const *x, rc_dtype stored, int64_t n,
                        const rc_row_shape *shape, rc_ahead *ahead, void *S, int64_t ld);
    /* S[c][r] = b[c] + sum_d W[c][d] x[d][r] with lanes along the rows */
    void (*scores_columns)(const void *W, const void *b, int64_t C, int64_t D, const void *const *x, int64_t n_padded,
                           rc_ahead *ahead, void *S, int64_t ld);
    /* the same from rows, transposed a piece at a time into TRANSPOSED_FEATURES * TRANSPOSED_LD reals */
    void (*scores_transposed)(const void *W, const void *b, int64_t C, int64_t D, const void *const *x,
                              int64_t n_padded, rc_ahead *ahead, void *piece, void *S, int64_t ld);
    /* G[c] += sum_r S[c][r] x[r], G packed */
    void (*gradient_rows)(const void *S, int64_t ld, int64_t C, const void *const *x, rc_dtype stored, int64_t n,
                          const rc_row_shape *shape, rc_ahead *ahead, void *G);
    /* G[c][d] += sum_r S[c][r] x[d][r] */
    void (*gradient_columns)(const void *S, int64_t ld, int64_t C, int64_t D, const void *const *x, int64_t n_padded,
                             rc_ahead *ahead, void *G);
    /* inner iterations of the products that run along B (scores of rows, gradient of columns) and across it, of
     * (C, n_out) results from n_vectors each, or of n_vectors of results from n terms each */
    int64_t (*dot_iterations)(int64_t C, int64_t n_out, int64_t n_vectors);
    int64_t (*outer_iterations)(int64_t C, int64_t n, int64_t n_vectors);
    /* total += G / unit (double), G = 0; packed: G is packed by shape */
    void (*flush)(void *G, int64_t C, int64_t D, const rc_row_shape *shape, double unit, double *total);

    /* --- losses: sum of weight * loss; scores become weight * dloss/dscore. NaN in *check: a score was not finite */
    double (*loss[RC_N_LOSSES])(void *S, int64_t ld, int64_t C, int64_t n_padded, const void *y, const void *w,
                                double *check);
    /* loss[RC_CROSS_ENTROPY] with slopes changed by turns; `row` is the first of the block */
    double (*cross_entropy_by_turns)(void *S, int64_t ld, int64_t C, int64_t n_padded, const void *y, const void *w,
                                     int64_t row, double *check);
    double (*binary_loss[RC_N_LOSSES])(void *S, int64_t ld, int64_t C, int64_t n_padded, const void *y, const void *w,
                                       double *check);
    /* cross_entropy of soft targets, T[c*ldt + r] */
    double (*soft_loss)(void *S, int64_t ld, int64_t C, int64_t n_padded, const void *T, int64_t ldt, const void *w,
                        double *check);
    double (*soft_binary_loss)(void *S, int64_t ld, int64_t C, int64_t n_padded, const void *T, int64_t ldt,
                               const void *w, double *check);
    /* sums[c] += sum_r S[c][r] / unit: the gradient of the intercepts */
    void (*row_sums)(const void *S, int64_t ld, int64_t C, int64_t n_padded, double unit, double *sums);

    /* --- dual points, see conjugates.h: a block of them is held as scores are */
    void (*load_scores)(const void *u, int64_t stride, const rc_rows *rows, int64_t first, int64_t n, int64_t n_padded,
                        int64_t C, void *U, int64_t ld);
    void (*project[RC_N_LOSSES])(void *U, int64_t ld, int64_t C, int64_t n_padded, const void *y);
    void (*binary_project[RC_N_LOSSES])(void *U, int64_t ld, int64_t C, int64_t n_padded, const void *y);
    double (*conjugate[RC_N_LOSSES])(const void *U, int64_t ld, int64_t C, int64_t n_padded, const void *y,
                                     const void *w, const rc_dual_shift *shift);
    double (*binary_conjugate[RC_N_LOSSES])(const void *U, int64_t ld, int64_t C, int64_t n_padded, const void *y,
                                            const void *w, const rc_dual_shift *shift);
    double (*soft_conjugate)(const void *U, int64_t ld, int64_t C, int64_t n_padded, const void *T, int64_t ldt,
                             const void *w, const rc_dual_shift *shift);
    void (*soft_project)(void *U, int64_t ld, int64_t C, int64_t n_padded, const void *T, int64_t ldt);
    void (*weigh)(void *U, int64_t ld, int64_t C, int64_t n_padded, const void *w);
    void (*one_hot)(void *U, int64_t ld, int64_t C, int64_t n_padded, const void *y, const void *w);

    /* --- prediction from a block of scores */
    double (*check_scores)(const void *S, int64_t ld, int64_t C, int64_t n);
    void (*store_scores)(const void *S, int64_t ld, int64_t C, int64_t n, void *out, int64_t stride);
    void (*probabilities)(void *S, int64_t ld, int64_t C, int64_t n_padded);
    void (*labels)(const void *S, int64_t ld, int64_t C, int64_t n, int64_t *out, int64_t stride);

    /* --- CSR, see sparse.h. csr_panel: the width of the first panel of C classes, or of the last C */
    int64_t (*csr_panel)(int64_t C);
    int64_t (*csr_strip)(int64_t C); /* the width of the first strip */
    /* rows [first, end) of a table by panels; columns[i]: the feature of row i, NULL: i */
    void (*transpose_weights)(const void *W, int64_t C, int64_t D, const int32_t *columns, int64_t first, int64_t end,
                              const rc_table *Wt);
    void (*scores_csr)(const rc_csr *x, const int64_t *rows, int64_t n, const rc_table *Wt, const void *b, int64_t C,
                       void *S, int64_t ld);
    void (*gradient_csr)(const rc_csr *x, const int64_t *rows, int64_t n, const void *S, int64_t ld, int64_t C,
                         const rc_table *Gt);
    /* sums[k*ld + d] = row d, class k, of a panel, added up over the tables `step` reals apart; n <= ld rows */
    void (*sum_panels)(const void *panel, int64_t step, int64_t n_tables, int64_t n, int64_t width, double *sums,
                       int64_t ld);
    /* sums of the panel at c, from c * n_all on: row i += the table's row columns[i], which becomes 0 */
    void (*flush_columns)(const rc_table *Gt, int64_t C, const int32_t *columns, int64_t n, int64_t n_all,
                          double *sums);

    /* --- parameters: one pass over W; `group` has one norm a feature over the C classes */
    void (*finish_gradient)(const double *total, const void *W, int64_t n, double scale, double l1, double l2,
                            void *out);
    double (*penalty_value)(const void *W, int64_t n, double l1, double l2);
    void (*penalty_gradient)(const void *W, int64_t n, double l1, double l2, void *out);
    void (*penalty_prox)(const void *W, int64_t n, double threshold, double shrink, void *out);
    double (*group_value)(const void *W, int64_t C, int64_t D);
    void (*group_gradient)(const void *W, int64_t C, int64_t D, double group, void *out);
    void (*group_prox)(const void *W, int64_t C, int64_t D, double threshold, void *out);

    /* --- stochastic steps: see stochastic.h */
    void (*sgd_step)(void *W, int64_t ldw, void *G, int64_t ldg, void *V, double *sum, int64_t C, int64_t D,
                     int64_t tail, const rc_step *step);
    void (*prox_columns)(const int64_t *columns, int64_t n, const double *threshold, const double *shrink, int group,
                         void *Wt, int64_t ldw);
    void (*step_columns)(const int64_t *columns, int64_t n, void *Wt, void *Gt, void *Vt, double *sum, int64_t ldw,
                         const rc_step *step);
    void (*average_columns)(const int64_t *columns, int64_t n, const int64_t *up_to, const rc_lazy *lazy, int group,
                            const void *Wt, int64_t ldw, double *sum);
    void (*standardize_block)(void *const *x, int64_t n, int64_t D, int by_columns, const double *center,
                              const double *factor);
    void (*drop_features)(void *values, const int64_t *features, int64_t n, int64_t stride, uint32_t key,
                          uint32_t threshold, double keep);

    /* --- dual coordinate ascent: see dual.h */
    void (*dual_rows)(rc_dual_work *w, const int64_t *rows, int64_t n, const void *x, const void *metric_x);
    void (*multiply_rows)(const void *x, const void *metric, int64_t n, int64_t ld, void *out);
    void (*dual_csr)(rc_dual_work *w, const int64_t *rows, int64_t n, int64_t n_known, const rc_csr *x,
                     const double *factor);
    /* A = one = other = A + (d + e) / spread, where d = one - A and e = other - A; product += d . e, and squares +=
     * ||d||^2 + ||e||^2 */
    void (*join_blocks)(void *A, void *one, void *other, int64_t n, double spread, double *product, double *squares);
    void (*recentre)(rc_dual_work *w, int64_t first, int64_t end, int sparse, double pull, void *centre, void *sum);
    void (*sum_rows)(const double *slopes, int64_t n, int64_t C, const void *x, int64_t ld, double *total);
    void (*sum_csr)(const double *slopes, int64_t row, int64_t C, const rc_csr *x, const double *factor, double *total);

    /* --- coordinate descent: see coordinate.h. The slope of the model along a column, and its curvature (NULL: not
     * wanted); a step along it; out += factor x; out = h x; the weighted sums of x and x^2; values = factor (values -
     * center); what is wanted of the slopes of all weights */
    double (*column_slope)(const rc_column *x, const rc_model_class *q, double *curvature);
    void (*column_step)(const rc_column *x, const rc_model_class *q, double delta);
    void (*column_add)(const rc_column *x, double factor, double *out);
    void (*column_weigh)(const rc_column *x, const double *h, double *out);
    void (*column_products)(const rc_column *const *x, int64_t n, const double *z, double *out); /* x[j] . z */
    double (*column_moments)(const rc_column *x, const double *w, double *square);
    void (*column_standardize)(void *values, int64_t n, double center, double factor);
    double (*slope_excess)(const void *V, const void *given, const void *M, double shrink, double gain, double lost,
                           double l1, int64_t n, double *squares);
    int64_t (*find_beyond)(const void *V, double bound, int64_t n, int64_t *places);

    /* --- quasi-Newton pairs: see pairs.h. All vectors are double: sums of a pair with r; r -= share y; <y, z>;
     * z += share s */
    void (*pair_sums)(const rc_pair *p, const double *r, int64_t n, rc_pair_sums *sums);
    void (*pair_subtract)(const rc_pair *p, double share, int64_t n, double *r);
    double (*pair_along)(const rc_pair *p, const double *z, int64_t n);
    void (*pair_add)(const rc_pair *p, double share, int64_t n, double *z);

    /* sum += w (x - shift), square += w (x - shift)^2: of a row, or of a column, see coordinate.h */
    double (*column_spread)(const void *x, const double *w, int64_t n_padded, double shift, double *square);
    void (*add_moments)(const void *x, const void *shift, double w, int64_t D, void *sum, void *square);

    /* --- dense algebra: see dense.h */
    /* dst[c*ldd + r] = factor * src[r*lds + c], src (n, m) */
    void (*copy_transposed)(const void *src, int64_t lds, int64_t n, int64_t m, double factor, void *dst, int64_t ldd);
    /* dst[r*ldd + c] = h[r] * src[r*lds + c], src (n, m); 0 in columns from m to `padded` */
    void (*copy_weighted)(const void *src, int64_t lds, const void *h, int64_t n, int64_t m, int64_t padded, void *dst,
                          int64_t ldd);
    /* out[r][c] += G[r][c - first] for c >= r, and the same into out[c][r]; rows from `row` on, out (K, K) */
    void (*add_symmetric)(const void *G, int64_t ldg, int64_t row, int64_t n_rows, int64_t first, int64_t n_columns,
                          void *out, int64_t K);
    /* y -= x */
    void (*subtract)(const void *x, int64_t n, void *y);
    void (*add_diagonal)(const double *extra, int64_t n, void *A, int64_t ld);
    /* The Cholesky factor of the n <= CHOLESKY_BLOCK rows and columns at A, into its lower triangle; 0: there is none.
     * U: scratch of CHOLESKY_BLOCK^2; inverse: of the factor's transpose, so many as well; NULL: not wanted */
    int (*factor_diagonal)(void *A, int64_t ld, int64_t n, void *U, void *inverse);
    /* x = L^-1 x, or L'^-1 x */
    void (*solve_lower)(const void *L, int64_t ld, int64_t n, void *x);
    void (*solve_upper)(const void *L, int64_t ld, int64_t n, void *x);

    /* --- the machine's limits */
    double (*read_all)(const void *data, int64_t n);
    double (*multiply_add)(int64_t n, int64_t *per_round);

    /* --- pictures: index[i] = the bin of pixel i, of red, green, blue and a byte that is not read */
    void (*colour_bins)(const unsigned char *pixels, int64_t n, const int32_t *bins, int32_t *index);
} rc_kernels;

/* check.c: 1 and an error with its row and column if a number of X in these rows is NaN or infinite */
int rc_find_not_finite(const rc_problem *problem, const rc_rows *rows, rc_error *error);

/* cpu.c: the one file that knows the levels */
const rc_kernels *rc_kernels_for(rc_dtype real);

#endif
