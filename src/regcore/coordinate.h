/*
 * Coordinate descent on a quadratic model of the loss, a column of X at a time: see coordinate.c.
 *
 * X's columns come in the compute type; everything about the samples is held in double, so that float32 columns lose
 * nothing but their own digits.  With t = delta x the change of the scores of one class, the model's slopes v follow
 * from what is kept:
 *
 *     one output       v = u                        u += h t
 *     cross_entropy    v_c = u_c - p_c m            u_c += q_c t,  m += q_c t         (q = weight p)
 *     squared_hinge    v_c = u_c - k_c z - e_c r    u_c += h_c t,  z += e_c t,  r += k_c t
 *
 * The second is the whole matrix weight (diag(p) - p p'), not its diagonal, for one more array: m = sum_c q_c ds_c.  In
 * the third, e_c is 1 for the samples of class c and k_c 2 weight for those of other classes that class c violates the
 * margin of; z and r are the changes of the own score and of the others', weighted.
 */
#ifndef REGCORE_COORDINATE_H
#define REGCORE_COORDINATE_H

#include "kernels.h"
#include "simd.h"

/* ---------------------------------------------------------------- dense columns, a multiple of LANES long */

RC_INLINE vdouble wide_column(const rc_column *x, int64_t i) { return d_load_reals((const real *)x->values + i); }

RC_INLINE vdouble wide_slope(const rc_model_class *q, const int form, int64_t i)
{
    vdouble v = d_load(q->slope + i);
    if (form == RC_CROSS_ENTROPY_MODEL) v -= d_load(q->share + i) * d_load(q->mean + i);
    if (form == RC_SQUARED_HINGE_MODEL)
        v -= d_load(q->share + i) * d_load(q->mean + i) + d_load(q->own + i) * d_load(q->pull + i);
    return v;
}

RC_INLINE vdouble wide_curvature(const rc_model_class *q, const int form, int64_t i)
{
    const vdouble h = d_load(q->curvature + i);
    return form == RC_CROSS_ENTROPY_MODEL ? h - h * d_load(q->share + i) : h;
}

RC_INLINE double dense_slope(const rc_column *x, const rc_model_class *q, const int form, double *curvature)
{
    vdouble sum[2] = {d_set(0), d_set(0)}, square[2] = {d_set(0), d_set(0)};
    int64_t i = 0;
    if (curvature) {
        for (; i + 2 * DOUBLES <= x->n; i += 2 * DOUBLES) RC_UNROLL for (int u = 0; u < 2; u++)
            {
                const vdouble xi = wide_column(x, i + u * DOUBLES);
                sum[u] += xi * wide_slope(q, form, i + u * DOUBLES);
                square[u] += xi * xi * wide_curvature(q, form, i + u * DOUBLES);
            }
        for (; i < x->n; i += DOUBLES) {
            const vdouble xi = wide_column(x, i);
            sum[0] += xi * wide_slope(q, form, i);
            square[0] += xi * xi * wide_curvature(q, form, i);
        }
        *curvature = d_sum(square[0] + square[1]);
        return d_sum(sum[0] + sum[1]);
    }
    for (; i + 2 * DOUBLES <= x->n; i += 2 * DOUBLES)
        RC_UNROLL for (int u = 0; u < 2; u++) sum[u] +=
            wide_column(x, i + u * DOUBLES) * wide_slope(q, form, i + u * DOUBLES);
    for (; i < x->n; i += DOUBLES) sum[0] += wide_column(x, i) * wide_slope(q, form, i);
    return d_sum(sum[0] + sum[1]);
}

RC_INLINE void dense_step(const rc_column *x, const rc_model_class *q, const int form, double delta)
{
    for (int64_t i = 0; i < x->n; i += DOUBLES) {
        const vdouble t = wide_column(x, i) * delta, bent = d_load(q->curvature + i) * t;
        d_store(q->slope + i, d_load(q->slope + i) + bent);
        d_store(q->change + i, d_load(q->change + i) + t);
        if (form == RC_CROSS_ENTROPY_MODEL) d_store(q->mean + i, d_load(q->mean + i) + bent);
        if (form == RC_SQUARED_HINGE_MODEL) {
            d_store(q->mean + i, d_load(q->mean + i) + d_load(q->own + i) * t);
            d_store(q->pull + i, d_load(q->pull + i) + d_load(q->share + i) * t);
        }
    }
}

/* ---------------------------------------------------------------- nonzeros */

RC_INLINE double slope_at(const rc_model_class *q, const int form, int64_t i)
{
    double v = q->slope[i];
    if (form == RC_CROSS_ENTROPY_MODEL) v -= q->share[i] * q->mean[i];
    if (form == RC_SQUARED_HINGE_MODEL) v -= q->share[i] * q->mean[i] + q->own[i] * q->pull[i];
    return v;
}

RC_INLINE double curvature_at(const rc_model_class *q, const int form, int64_t i)
{
    return form == RC_CROSS_ENTROPY_MODEL ? q->curvature[i] * (1 - q->share[i]) : q->curvature[i];
}

RC_INLINE double sparse_slope(const rc_column *x, const rc_model_class *q, const int form, double *curvature)
{
    const real *values = x->values;
    double sum[4] = {0}, square = 0;
    int64_t j = 0;
    if (curvature) {
        for (; j < x->n; j++) {
            const double value = values[j];
            sum[0] += value * slope_at(q, form, x->rows[j]);
            square += value * value * curvature_at(q, form, x->rows[j]);
        }
        *curvature = square;
        return sum[0];
    }
    for (; j + 4 <= x->n; j += 4)
        RC_UNROLL for (int u = 0; u < 4; u++) sum[u] += values[j + u] * slope_at(q, form, x->rows[j + u]);
    for (; j < x->n; j++) sum[0] += values[j] * slope_at(q, form, x->rows[j]);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

RC_INLINE void sparse_step(const rc_column *x, const rc_model_class *q, const int form, double delta)
{
    const real *values = x->values;
    for (int64_t j = 0; j < x->n; j++) {
        const int64_t i = x->rows[j];
        const double t = values[j] * delta, bent = q->curvature[i] * t;
        q->slope[i] += bent;
        q->change[i] += t;
        if (form == RC_CROSS_ENTROPY_MODEL) q->mean[i] += bent;
        if (form == RC_SQUARED_HINGE_MODEL) {
            q->mean[i] += q->own[i] * t;
            q->pull[i] += q->share[i] * t;
        }
    }
}

/* ---------------------------------------------------------------- the table's entries */

#define FOR_MODEL(form, call)                                                                                          \
    switch (form) {                                                                                                    \
    case RC_ONE_OUTPUT_MODEL: call(RC_ONE_OUTPUT_MODEL);                                                               \
    case RC_CROSS_ENTROPY_MODEL: call(RC_CROSS_ENTROPY_MODEL);                                                         \
    case RC_SQUARED_HINGE_MODEL: call(RC_SQUARED_HINGE_MODEL);                                                         \
    }

static double column_slope(const rc_column *x, const rc_model_class *q, double *curvature)
{
#define COLUMN_SLOPE(form) return x->rows ? sparse_slope(x, q, form, curvature) : dense_slope(x, q, form, curvature)
    FOR_MODEL(q->form, COLUMN_SLOPE)
    return 0;
#undef COLUMN_SLOPE
}

static void column_step(const rc_column *x, const rc_model_class *q, double delta)
{
#define COLUMN_STEP(form)                                                                                              \
    if (x->rows)                                                                                                       \
        sparse_step(x, q, form, delta);                                                                                \
    else                                                                                                               \
        dense_step(x, q, form, delta);                                                                                 \
    break
    FOR_MODEL(q->form, COLUMN_STEP)
#undef COLUMN_STEP
}

/* out += factor x */
static void column_add(const rc_column *x, double factor, double *out)
{
    const real *values = x->values;
    if (x->rows)
        for (int64_t j = 0; j < x->n; j++) out[x->rows[j]] += factor * values[j];
    else
        for (int64_t i = 0; i < x->n; i += DOUBLES) d_store(out + i, d_load(out + i) + factor * wide_column(x, i));
}

/* out = h x, at the nonzeros */
static void column_weigh(const rc_column *x, const double *h, double *out)
{
    const real *values = x->values;
    if (x->rows)
        for (int64_t j = 0; j < x->n; j++) out[x->rows[j]] = h[x->rows[j]] * values[j];
    else
        for (int64_t i = 0; i < x->n; i += DOUBLES) d_store(out + i, d_load(h + i) * wide_column(x, i));
}

/* out[j] = x[j] . z */
static void column_products(const rc_column *const *x, int64_t n, const double *z, double *out)
{
    enum { AT_ONCE = 4 };
    const rc_model_class q = {.form = RC_ONE_OUTPUT_MODEL, .slope = (double *)(uintptr_t)z};
    for (int64_t j = 0; j < n;) {
        int dense = 0;
        while (dense < AT_ONCE && j + dense < n && !x[j + dense]->rows) dense++;
        if (dense < AT_ONCE) {
            out[j] = column_slope(x[j], &q, NULL);
            j++;
            continue;
        }
        vdouble sum[AT_ONCE];
        RC_UNROLL for (int u = 0; u < AT_ONCE; u++) sum[u] = d_set(0);
        for (int64_t i = 0; i < x[j]->n; i += DOUBLES) {
            const vdouble zi = d_load(z + i);
            RC_UNROLL for (int u = 0; u < AT_ONCE; u++) sum[u] += wide_column(x[j + u], i) * zi;
        }
        RC_UNROLL for (int u = 0; u < AT_ONCE; u++) out[j + u] = d_sum(sum[u]);
        j += AT_ONCE;
    }
}

/* Weighted sum of x and of x^2 */
static double column_moments(const rc_column *x, const double *w, double *square)
{
    const real *values = x->values;
    double first = 0, second = 0;
    if (x->rows) {
        for (int64_t j = 0; j < x->n; j++) {
            const double value = values[j], share = w[x->rows[j]];
            first += share * value;
            second += share * value * value;
        }
    } else {
        vdouble sum = d_set(0), squares = d_set(0);
        for (int64_t i = 0; i < x->n; i += DOUBLES) {
            const vdouble value = wide_column(x, i), share = d_load(w + i) * value;
            sum += share;
            squares += share * value;
        }
        first = d_sum(sum);
        second = d_sum(squares);
    }
    *square = second;
    return first;
}

/* Weighted sums of x - shift and of its square; x and w are readable up to n_padded numbers. What lies behind the rows
 * has a weight of 0, and must not become an infinity before it meets it. */
static double column_spread(const void *x, const double *w, int64_t n_padded, double shift, double *square)
{
    vdouble sum[2] = {d_set(0), d_set(0)}, squares[2] = {d_set(0), d_set(0)};
    int64_t i = 0;
    for (; i + 2 * DOUBLES <= n_padded; i += 2 * DOUBLES) RC_UNROLL for (int u = 0; u < 2; u++)
        {
            const vdouble above = d_load_reals((const real *)x + i + u * DOUBLES) - shift;
            const vdouble share = d_load(w + i + u * DOUBLES) * above;
            sum[u] += share;
            squares[u] += share * above;
        }
    for (; i < n_padded; i += DOUBLES) {
        const vdouble above = d_load_reals((const real *)x + i) - shift, share = d_load(w + i) * above;
        sum[0] += share;
        squares[0] += share * above;
    }
    *square = d_sum(squares[0] + squares[1]);
    return d_sum(sum[0] + sum[1]);
}

/* ---------------------------------------------------------------- slopes of all weights */

/* Of v = shrink V + gain given - lost M (given NULL: shrink V): the largest |v|, and in *squares the sum of the squares
 * of what is beyond l1 */
static double slope_excess(const void *V, const void *given, const void *M, double shrink, double gain, double lost,
                           double l1, int64_t n, double *squares)
{
    const real *x = V, *g = given, *m = M, s = (real)shrink, a = (real)gain, b = (real)lost, t = (real)l1;
    vreal largest = v_set(0);
    vwide sum = w_zero();
    double most = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vreal v = s * v_load(x + i);
        if (g) v += a * v_load(g + i) - b * v_load(m + i);
        v = v_max(v, -v);
        largest = v_max(v, largest);
        if (!squares) continue;
        const vwide beyond = v_widen(v_max(v - t, v_set(0)));
        sum += beyond * beyond;
    }
    double square = w_sum(sum);
    real lanes[LANES];
    v_store(lanes, largest);
    for (int j = 0; j < LANES; j++) most = lanes[j] > most ? lanes[j] : most;
    for (; i < n; i++) {
        real v = s * x[i];
        if (g) v += a * g[i] - b * m[i];
        v = v < 0 ? -v : v;
        const double beyond = v > t ? v - t : 0;
        most = v > most ? v : most;
        square += beyond * beyond;
    }
    if (squares) *squares += square;
    return most;
}

/* Writes the places of |V| > bound into `places`, ascending; returns how many there are. */
static int64_t find_beyond(const void *V, double bound, int64_t n, int64_t *places)
{
    enum { RUN = 4 * LANES };
    const real *x = V;
    int64_t found = 0;
    for (int64_t first = 0; first < n; first += RUN) {
        const int64_t end = first + RUN < n ? first + RUN : n;
        if (end - first == RUN) { /* mostly there is none */
            vreal largest = v_set(0);
            RC_UNROLL for (int u = 0; u < 4; u++)
            {
                const vreal v = v_load(x + first + u * LANES);
                largest = v_max(v_max(v, -v), largest);
            }
            real lanes[LANES];
            int some = 0;
            v_store(lanes, largest);
            for (int j = 0; j < LANES; j++) some |= lanes[j] > bound;
            if (!some) continue;
        }
        for (int64_t i = first; i < end; i++)
            if (x[i] > bound || -x[i] > bound) places[found++] = i;
    }
    return found;
}

/* values = factor (values - center) */
static void column_standardize(void *values, int64_t n, double center, double factor)
{
    real *x = values;
    for (int64_t i = 0; i < n; i++) x[i] = (real)(factor * (x[i] - center));
}

#endif
