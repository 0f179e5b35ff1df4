/*
 * Dual coordinate ascent for the hinges: what one sample does, a block of samples a call.
 *
 * A sample has slopes g_j, the derivative of its loss in its scores: g_j = u_j for j != y and g_y = -sum_{j != y} u_j,
 * with 0 <= u_j <= 1 (hinge), or u_j >= 0 and sum u_j <= 1 (crammer_singer).  With its scores s, and q = weight
 * (curvature x^T metric x + intercept) an upper bound of what a unit of its slopes changes them by, it solves
 *
 *     min_u  q/2 ||g - t||^2 - sum_{j != y} u_j,    t = g_old + s / q
 *
 * exactly: u_j = clip(t_j + 1/q - theta, 0, 1) with theta = t_y + sum u, or max(0, .) instead of clip and a theta that
 * keeps the sum at most 1.  Either way theta is the root of an increasing, piecewise linear function (Crammer and
 * Singer, JMLR 2, 2001; Keerthi et al., "A sequential dual method for large scale multi-class linear SVMs", KDD 2008).
 *
 * The scores are s = curvature prox(A) metric x + b, where A = centre - sum_i weight_i g_i x_i^T, prox is the threshold
 * of the penalty and metric is diagonal; A changes by -weight (g - g_old) x^T, the intercept b by -intercept weight (g
 * - g_old).
 */
#ifndef REGCORE_DUAL_H
#define REGCORE_DUAL_H

#include <math.h>

#include "dual_softmax.h"
#include "kernels.h"
#include "parameters.h"
#include "simd.h"
#include "sparse.h"
#include "stochastic.h"

enum { NEWTON_STEPS = 100, MOST_PATIENCE = 31 };

/* of a sum of dual variables, which are at most 1 */
#define ROOT_TOLERANCE (RC_REAL_BITS == 32 ? 1e-9 : 1e-14)

#if LANES == 1
#define DUAL_CLASSES 4
#elif RC_VECTOR_BYTES == 64
#define DUAL_CLASSES 12
#else
#define DUAL_CLASSES 8
#endif

/* ---------------------------------------------------------------- the problem of one sample */

/* The classes of a sample are held in double, padded to whole vectors. */
RC_INLINE int64_t padded_classes(int64_t C) { return (C + DOUBLES - 1) / DOUBLES * DOUBLES; }

/* The root of theta - t_y - sum_j clip(a_j - theta, 0, 1); a_y is -infinity */
static double box_root(const double *a, int64_t n, double t_y, double theta)
{
    double low = t_y, high = t_y + (double)n;
    const vdouble one = d_set(1);
    for (int step = 0; step < NEWTON_STEPS; step++) {
        vdouble sums = d_set(0), slopes = d_set(0);
        for (int64_t j = 0; j < n; j += DOUBLES) {
            const vdouble u = d_load(a + j) - theta;
            sums += d_where(u >= 1, one) + d_where((u > 0) & (u < 1), u);
            slopes += d_where((u > 0) & (u < 1), one);
        }
        const double slope = 1 + d_sum(slopes), value = theta - t_y - d_sum(sums), next = theta - value / slope;
        if (next == theta || !(high - low > 0)) break;
        if (value > 0)
            high = theta;
        else
            low = theta;
        theta = next > low && next < high ? next : low + (high - low) / 2;
        if (fabs(value) <= ROOT_TOLERANCE) break;
    }
    return theta;
}

/* The root of min(1, theta - t_y) - sum_j max(a_j - theta, 0), which is concave: Newton's method comes from the left */
static double simplex_root(const double *a, int64_t n, double t_y, double theta)
{
    double last = -HUGE_VAL;
    const vdouble one = d_set(1);
    for (int step = 0; step < NEWTON_STEPS; step++) {
        vdouble sums = d_set(0), slopes = d_set(0);
        for (int64_t j = 0; j < n; j += DOUBLES) {
            const vdouble u = d_load(a + j) - theta;
            sums += d_where(u > 0, u);
            slopes += d_where(u > 0, one);
        }
        const double room = theta - t_y, slope = d_sum(slopes) + (room < 1);
        if (slope == 0) {
            theta = t_y; /* too far to the right */
            continue;
        }
        const double next = theta - ((room < 1 ? room : 1) - d_sum(sums)) / slope;
        if (next == theta || (step > 1 && next <= last)) break;
        last = theta = next;
    }
    return theta;
}

/* The binary form of `solve_classes` */
static int solve_one(rc_dual_work *w, int64_t i, double q, double *s)
{
    real *g = (real *)w->dual + i;
    const double sign = w->label[i] ? -1 : 1, u = sign * *g, margin = 1 + sign * *s;
    w->gap += w->weight[i] * ((margin > 0 ? margin : 0) - u * margin);
    const double best = u + margin / q;
    const real after = (real)(sign * (best < 0 ? 0 : best > 1 ? 1 : best));
    *s = (double)after - *g;
    *g = after;
    return *s != 0;
}

/* s, of padded_classes: the scores become the change of the slopes; 0: there is none, and s is void */
static int solve_classes(rc_dual_work *w, int64_t i, double q, double *RC_RESTRICT s)
{
    const int64_t C = w->C, padded = padded_classes(C), y = w->label[i];
    const int box = w->loss == RC_HINGE;
    const double s_y = s[y];
    real *RC_RESTRICT slopes = (real *)w->dual + i * C;
    double *RC_RESTRICT a = w->scratch, *RC_RESTRICT g = a + padded;

    for (int64_t j = 0; j < C; j++) {
        g[j] = slopes[j];
        a[j] = 1 + s[j] - s_y; /* the margins */
    }
    for (int64_t j = C; j < padded; j++) g[j] = 0, a[j] = s[j] = -HUGE_VAL;
    const double g_y = g[y];
    a[y] = -HUGE_VAL;
    vdouble loss = d_set(0), product = d_set(0), most = d_set(-HUGE_VAL);
    for (int64_t j = 0; j < padded; j += DOUBLES) {
        const vdouble margin = d_load(a + j), u = d_load(g + j), larger = d_where(margin > most, margin);
        loss += d_where(margin > 0, margin);
        product += d_where((u != 0) & (margin > -HUGE_VAL), u * margin);
        most = larger + d_where(margin <= most, most);
    }
    const double top = d_largest(most), largest = top > 0 ? top : 0;
    w->gap += w->weight[i] * ((box ? d_sum(loss) : largest) - d_sum(product));
    if (g_y == 0 && !(largest > 0)) return 0;

    /* Relative to the largest score beside y's: without an intercept q is as good as 0 for a sample of zeros, and what
     * is divided by it would have no digits left for the slopes. The root is not below -1, as some a_j is not below 0.
     */
    const double inverse = 1 / q, origin = box ? s_y - 1 : s_y - 1 + top;
    for (int64_t j = 0; j < padded; j++) a[j] = g[j] + (s[j] - origin) * inverse;
    a[y] = -HUGE_VAL;
    const double t = box ? g_y : g_y - top * inverse;
    const double theta = box ? box_root(a, padded, t, 0) : simplex_root(a, padded, t, fmax(t - g_y, -1));
    g[y] = 0;
    vdouble sums = d_set(0), changes = d_set(0);
    for (int64_t j = 0; j < padded; j += DOUBLES) {
        vdouble u = d_load(a + j) - theta;
        u = d_where(u > 0, u);
        if (box) u = d_where(u < 1, u) + d_where(u >= 1, d_set(1));
        d_store(a + j, u);
    }
    for (int64_t j = 0; j < padded; j++) a[j] = (double)(real)a[j];
    for (int64_t j = 0; j < padded; j += DOUBLES) {
        const vdouble after = d_load(a + j), change = after - d_load(g + j);
        d_store(s + j, change);
        sums += after;
        changes += d_where(change != 0, d_set(1));
    }
    const real after = (real)-d_sum(sums);
    for (int64_t j = 0; j < C; j++) slopes[j] = (real)a[j];
    slopes[y] = after;
    s[y] = (double)after - g_y;
    return d_sum(changes) > 0;
}

/* Solves sample i at the scores s (overwritten by the change of its slopes); 0: nothing has changed. */
RC_INLINE int dual_solve(rc_dual_work *w, int64_t i, double *RC_RESTRICT s)
{
    const double weight = w->weight[i];
    const double q = fmax(weight * w->spread * (w->curvature * w->square[i] + w->intercept), 1e-300);
    int changed;
    if (w->loss == RC_CROSS_ENTROPY)
        changed = w->C == 1 ? solve_logistic(w, i, q, s) : solve_softmax(w, i, q, s);
    else
        changed = w->C == 1 ? solve_one(w, i, q, s) : solve_classes(w, i, q, s);
    if (!changed) {
        /* it may sleep, the longer the oftener it had nothing to do */
        const int patience = 2 * w->patience[i] + 1;
        w->patience[i] = w->wait[i] = (uint8_t)(patience < MOST_PATIENCE ? patience : MOST_PATIENCE);
        return 0;
    }
    w->patience[i] = 0;
    for (int64_t c = 0; c < w->C; c++) {
        w->residual[c] += weight * s[c];
        w->b[c] -= w->intercept * weight * w->spread * s[c];
    }
    return 1;
}

/* ---------------------------------------------------------------- dense rows */

/* out[c] = A[c] . x for n classes, in `ways` independent sums each */
RC_INLINE void dot_classes(const int n, const int ways, const real *RC_RESTRICT A, int64_t ld,
                           const real *RC_RESTRICT x, int64_t n_vectors, double scale, double *RC_RESTRICT out)
{
    vreal sum[(DUAL_CLASSES + LANES) * 2];
    RC_UNROLL for (int c = 0; c < n * ways; c++) sum[c] = v_set(0);
    int64_t v = 0;
    for (; v + ways <= n_vectors; v += ways) RC_UNROLL for (int u = 0; u < ways; u++)
        {
            vreal xv = v_load(x + (v + u) * LANES);
            v_pin(xv);
            RC_UNROLL for (int c = 0; c < n; c++) sum[u * n + c] += v_load(A + c * ld + (v + u) * LANES) * xv;
        }
    for (; v < n_vectors; v++) {
        const vreal xv = v_load(x + v * LANES);
        RC_UNROLL for (int c = 0; c < n; c++) sum[c] += v_load(A + c * ld + v * LANES) * xv;
    }
    RC_UNROLL for (int u = 1; u < ways; u++) RC_UNROLL for (int c = 0; c < n; c++) sum[c] += sum[u * n + c];
    RC_UNROLL for (int c = 0; c < n; c += LANES)
    {
        vreal part[LANES];
        real lanes[LANES];
        RC_UNROLL for (int i = 0; i < LANES; i++) part[i] = c + i < n ? sum[c + i] : v_set(0);
        v_store(lanes, v_sums(part));
        for (int i = 0; i < LANES && c + i < n; i++) out[c + i] = scale * lanes[i];
    }
}

#define DOT_CASE(n)                                                                                                    \
    case n: dot_classes(n, (n) < 6 ? 2 : 1, A, ld, x, n_vectors, scale, out); break;

static void dot_some(int64_t n, const real *A, int64_t ld, const real *x, int64_t n_vectors, double scale, double *out)
{
    switch (n) {
        DOT_CASE(1)
        DOT_CASE(2)
        DOT_CASE(3)
        DOT_CASE(4)
#if DUAL_CLASSES > 4
        DOT_CASE(5)
        DOT_CASE(6)
        DOT_CASE(7)
        DOT_CASE(8)
#endif
#if DUAL_CLASSES > 8
        DOT_CASE(9)
        DOT_CASE(10)
        DOT_CASE(11)
        DOT_CASE(12)
#endif
    }
}

/* A += change x, and, where there is a threshold, W = soft(A) */
RC_INLINE void add_row(real change, const real *RC_RESTRICT x, int64_t n_vectors, real threshold, real *RC_RESTRICT A,
                       real *RC_RESTRICT W)
{
    const vreal f = v_set(change);
    if (!W) {
        for (int64_t v = 0; v < n_vectors; v++)
            v_store(A + v * LANES, v_load(A + v * LANES) + f * v_load(x + v * LANES));
        return;
    }
    const vreal t = v_set(threshold);
    for (int64_t v = 0; v < n_vectors; v++) {
        const vreal a = v_load(A + v * LANES) + f * v_load(x + v * LANES);
        v_store(A + v * LANES, a);
        v_store(W + v * LANES, a - v_min(v_max(a, -t), t));
    }
}

/* W = A max(0, 1 - group / ||A[:, d]||) for all features */
static void group_rows(const real *A, int64_t C, int64_t ld, int64_t n_vectors, real group, real *W)
{
    for (int64_t v = 0; v < n_vectors; v++) {
        const real *a = A + v * LANES;
        real factor[LANES];
        vreal square = v_set(0);
        for (int64_t c = 0; c < C; c++) square += v_load(a + c * ld) * v_load(a + c * ld);
        v_store(factor, square);
        RC_UNROLL for (int i = 0; i < LANES; i++)
        {
            const real norm = RC_REAL_BITS == 32 ? (real)sqrtf((float)factor[i]) : (real)sqrt((double)factor[i]);
            factor[i] = norm > group ? 1 - group / norm : 0;
        }
        const vreal f = v_load(factor);
        for (int64_t c = 0; c < C; c++) v_store(W + c * ld + v * LANES, f * v_load(a + c * ld));
    }
}

/* out[r] = metric * x[r] */
static void multiply_rows(const void *x, const void *metric, int64_t n, int64_t ld, void *out)
{
    const real *m = metric;
    for (int64_t r = 0; r < n; r++)
        for (int64_t d = 0; d < ld; d++) ((real *)out)[r * ld + d] = m[d] * ((const real *)x)[r * ld + d];
}

/* A, W are (C, ldw), x and metric_x (n, ldw): all padded with zeros to whole vectors */
static void dual_rows(rc_dual_work *w, const int64_t *rows, int64_t n, const void *x, const void *metric_x)
{
    const int64_t C = w->C, ld = w->ldw, n_vectors = w->n_vectors;
    const int64_t n_pieces = (C + DUAL_CLASSES - 1) / DUAL_CLASSES;
    real *A = w->A, *W = w->W ? w->W : A;
    double *s = w->scratch + 2 * padded_classes(C);
    for (int64_t r = 0; r < n; r++) {
        const real *xr = (const real *)x + r * ld, *scored = (const real *)metric_x + r * ld;
        const int64_t i = rows[r];
        for (int64_t p = 0; p < n_pieces; p++) {
            const int64_t c = C * p / n_pieces, m = C * (p + 1) / n_pieces - c;
            dot_some(m, W + c * ld, ld, scored, n_vectors, w->curvature, s + c);
        }
        for (int64_t c = 0; c < C; c++) s[c] += w->b[c];
        if (!dual_solve(w, i, s)) continue;
        for (int64_t c = 0; c < C; c++)
            if (s[c] != 0)
                add_row((real)(-w->weight[i] * s[c]), xr, n_vectors, (real)w->l1, A + c * ld,
                        w->l1 > 0 ? W + c * ld : NULL);
        if (w->group > 0) group_rows(A, C, ld, n_vectors, (real)w->group, W);
    }
}

/* ---------------------------------------------------------------- CSR */

/* Nonzeros [first, end), or as many as fit in the buffer, with the columns' factors; scores are added to `row` */
RC_INLINE sparse_run dual_load(const rc_csr *x, int64_t first, int64_t end, const double *factor, sparse_buffer *buffer,
                               real *row)
{
    const int direct = has_native_values(x) && has_native_columns(x) && !factor;
    const int64_t n = direct || end - first < SPARSE_RUN ? end - first : SPARSE_RUN;
    sparse_run run = {.start = row, .row = row};
    buffer->n = 0;
    load_run(x, first, n, buffer, &run);
    run.ahead = 0; /* what follows in memory is not what comes next */
    for (int64_t i = 0; i < n && factor; i++) buffer->values[i] = run.values[i] * (real)factor[run.columns[i]];
    if (factor) run.values = buffer->values;
    return run;
}

/* row += values * prox(A[columns]): the threshold is taken as the weights are read. `row` is padded to whole vectors.
 */
static void prox_scores(const rc_dual_work *w, const sparse_run *run)
{
    const real *metric = w->metric;
    const vreal t = v_set((real)w->l1);
    for (int64_t i = 0; i < run->n; i++) {
        const real *a = (const real *)w->A + (int64_t)run->columns[i] * w->ldw;
        real value = run->values[i] * (metric ? metric[run->columns[i]] : 1);
        if (w->group > 0) value *= group_factor(a, w->ldw, w->group, 1);
        const vreal v = v_set(value);
        for (int64_t k = 0; k < w->ldw; k += LANES) {
            const vreal in = v_load(a + k), kept = v_min(v_max(in, -t), t);
            v_store(run->row + k, v_load(run->row + k) + v * (w->l1 > 0 ? in - kept : in));
        }
    }
}

/* Asks memory for what the next sample will read, while this one is solved: which columns come is not to be guessed */
RC_INLINE void dual_fetch(const rc_csr *x, int64_t row, const real *A, int64_t ldw)
{
    const int64_t end = index_at(x->indptr, x->index_dtype, row + 1);
    for (int64_t k = index_at(x->indptr, x->index_dtype, row); k < end; k++) {
        const real *a = A + index_at(x->indices, x->index_dtype, k) * ldw;
        prefetch_to_write(a);
        prefetch_to_write(a + ldw - 1);
    }
}

/* The first n of `rows`; all `n_known` of them may be read. A is (D, ldw), its rows padded as sparse.h pads a table's
 */
static void dual_csr(rc_dual_work *w, const int64_t *rows, int64_t n, int64_t n_known, const rc_csr *x,
                     const double *factor)
{
    const int64_t C = w->C, ldw = w->ldw;
    const rc_table table = {w->A, 1, ldw};
    double *s = w->scratch + 2 * padded_classes(C);
    real *acc = (real *)(void *)(s + padded_classes(C));
    const int plain = w->l1 == 0 && w->group == 0 && !w->metric;
    sparse_buffer buffer;
    for (int64_t r = 0; r < n; r++) {
        const int64_t i = rows[r];
        const int64_t first = index_at(x->indptr, x->index_dtype, i), end = index_at(x->indptr, x->index_dtype, i + 1);
        for (int64_t c = 0; c < ldw + LANES; c++) acc[c] = 0;
        for (int64_t k = first; k < end;) {
            if (!plain) {
                const sparse_run run = dual_load(x, k, end, factor, &buffer, acc);
                prox_scores(w, &run);
                k += run.n;
                continue;
            }
            int64_t done = 0;
            for (int64_t c = 0, at = 0; c < C;) {
                const sparse_strip strip = first_strip(C - c);
                const sparse_panels panels = panels_at(&table, at, &strip);
                const sparse_run run = dual_load(x, k, end, factor, &buffer, acc + at);
                form_for(&strip, &panels).scores(&run, 1, &panels);
                done = run.n;
                c += strip.width;
                at += strip.full * LANES + strip.tail;
            }
            k += done;
        }
        for (int64_t c = 0; c < C; c++) s[c] = w->curvature * acc[c] + w->b[c];
        if (r + 1 < n_known) dual_fetch(x, rows[r + 1], w->A, ldw);
        if (!dual_solve(w, i, s)) continue;
        for (int64_t c = 0; c < C; c++) acc[c] = (real)(-w->weight[i] * w->spread * s[c]);
        for (int64_t c = C; c < ldw; c++) acc[c] = 0;
        for (int64_t k = first; k < end;) {
            int64_t done = 0;
            for (int64_t c = 0, at = 0; c < C;) {
                const sparse_strip strip = first_strip(C - c);
                const sparse_panels panels = panels_at(&table, at, &strip);
                const sparse_run run = dual_load(x, k, end, factor, &buffer, acc + at);
                form_for(&strip, &panels).gradient(&run, 1, &panels);
                done = run.n;
                c += strip.width;
                at += strip.full * LANES + strip.tail;
            }
            k += done;
        }
    }
}

enum { JOINED = 1024 }; /* numbers whose products are summed in the compute type */

/* What two blocks of samples have made of A comes together; see kernels.h */
static void join_blocks(void *A, void *one, void *other, int64_t n, double spread, double *product, double *squares)
{
    const vreal share = v_set((real)(1 / spread));
    real *a = A, *p = one, *q = other;
    for (int64_t first = 0; first < n; first += JOINED) {
        const int64_t end = n - first < JOINED ? n : first + JOINED;
        vreal both = v_set(0), each = v_set(0);
        for (int64_t i = first; i < end; i += LANES) {
            const vreal before = v_load(a + i), d = v_load(p + i) - before, e = v_load(q + i) - before;
            const vreal after = before + share * (d + e);
            both += d * e;
            each += d * d + e * e;
            v_store(a + i, after);
            v_store(p + i, after);
            v_store(q + i, after);
        }
        *product += w_sum(v_widen(both));
        *squares += w_sum(v_widen(each));
    }
}

/* ---------------------------------------------------------------- the centre */

/* Adds the n weights that `prox` stands for to `sum`, and moves the centre there; centre = NULL: there is none */
RC_INLINE void recentre_run(const real *prox, int64_t n, real curvature, real pull, const real *metric, int64_t step,
                            real *A, real *centre, real *sum)
{
    for (int64_t i = 0; i < n; i++) {
        const real p = prox[i];
        sum[i] += curvature * (metric ? metric[i * step] : 1) * p;
        if (centre) {
            const real moved = pull * p;
            A[i] += moved - centre[i];
            centre[i] = moved;
        }
    }
}

/* The features from `first` to `end`. pull: curvature / step. Afterwards W is to be made anew. */
static void recentre(rc_dual_work *w, int64_t first, int64_t end, int sparse, double pull, void *centre, void *sum)
{
    const real curvature = (real)w->curvature, *metric = w->metric;
    real *A = w->A, *t = centre, *u = sum;
    if (!sparse) {
        const real *W = w->W ? w->W : A;
        for (int64_t c = 0; c < w->C; c++) {
            const int64_t at = c * w->ldw + first, D = end - first;
            if (metric && t)
                recentre_run(W + at, D, curvature, (real)pull, metric + first, 1, A + at, t + at, u + at);
            else if (t)
                recentre_run(W + at, D, curvature, (real)pull, NULL, 0, A + at, t + at, u + at);
            else
                recentre_run(W + at, D, curvature, 0, NULL, 0, A + at, NULL, u + at);
        }
        return;
    }
    if (w->l1 == 0 && w->group == 0 && !metric) {
        const int64_t at = first * w->ldw, n = end * w->ldw - at;
        recentre_run(A + at, n, curvature, (real)pull, NULL, 0, A + at, t ? t + at : NULL, u + at);
        return;
    }
    real *row = (real *)(void *)w->scratch;
    for (int64_t d = first; d < end; d++) {
        const int64_t at = d * w->ldw;
        const real f = w->group > 0 ? group_factor(A + at, w->ldw, w->group, 1) : 1;
        for (int64_t k = 0; k < w->ldw; k++) row[k] = f * soft(A[at + k], (real)w->l1);
        recentre_run(row, w->ldw, curvature, (real)pull, metric ? metric + d : NULL, 0, A + at, t ? t + at : NULL,
                     u + at);
    }
}

/* ---------------------------------------------------------------- sums over the samples */

/* total[c] += slopes[r][c] x[r] in double; a row whose slopes are 0 costs nothing */
static void sum_rows(const double *slopes, int64_t n, int64_t C, const void *x, int64_t ld, double *total)
{
    for (int64_t r = 0; r < n; r++) {
        const real *RC_RESTRICT xr = (const real *)x + r * ld;
        for (int64_t c = 0; c < C; c++) {
            const double f = slopes[r * C + c];
            double *RC_RESTRICT t = total + c * ld;
            if (f == 0) continue;
            for (int64_t d = 0; d < ld; d++) t[d] += f * xr[d];
        }
    }
}

/* the same of one CSR row; total is (D, C) */
static void sum_csr(const double *slopes, int64_t row, int64_t C, const rc_csr *x, const double *factor, double *total)
{
    const int64_t end = index_at(x->indptr, x->index_dtype, row + 1);
    sparse_buffer buffer;
    sparse_run run;
    for (int64_t k = index_at(x->indptr, x->index_dtype, row); k < end; k += run.n) {
        run = dual_load(x, k, end, factor, &buffer, NULL);
        for (int64_t i = 0; i < run.n; i++) {
            double *RC_RESTRICT t = total + (int64_t)run.columns[i] * C;
            const double value = run.values[i];
            for (int64_t c = 0; c < C; c++) t[c] += value * slopes[c];
        }
    }
}

#endif
