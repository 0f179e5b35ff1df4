/*
 * What a stochastic step does to W: gradient step, penalty and averaging fused, one pass over what the batch touched.
 *
 *     V = momentum V + G,  W = shrink * soft(W - step V, threshold),  sum += W,  G = 0      (V = G without momentum)
 *
 * On CSR a column that no sample of a batch has moves by its penalty alone, and k such steps have a closed form; see
 * sgd.c.  These kernels therefore work on lists of columns of Wt (D, ldw), each with a threshold and a shrink of its
 * own.
 */
#ifndef REGCORE_STOCHASTIC_H
#define REGCORE_STOCHASTIC_H

#include <math.h>

#include "kernels.h"
#include "simd.h"

RC_INLINE real soft(real w, real t)
{
    const real low = w < -t ? -t : w; /* a NaN stays one */
    return w - (low > t ? t : low);
}

RC_INLINE void step_run(const int has_velocity, const int has_sum, real *RC_RESTRICT W, real *RC_RESTRICT G,
                        real *RC_RESTRICT V, double *RC_RESTRICT sum, int64_t n, real step, real momentum,
                        real threshold, real shrink)
{
    for (int64_t i = 0; i < n; i++) {
        real g = G[i];
        if (has_velocity) V[i] = g = momentum * V[i] + g;
        G[i] = 0;
        const real w = shrink * soft(W[i] - step * g, threshold);
        W[i] = w;
        if (has_sum) sum[i] += w;
    }
}

static void step_either(real *W, real *G, real *V, double *sum, int64_t n, real step, real momentum, real threshold,
                        real shrink)
{
    if (V && sum)
        step_run(1, 1, W, G, V, sum, n, step, momentum, threshold, shrink);
    else if (V)
        step_run(1, 0, W, G, V, sum, n, step, momentum, threshold, shrink);
    else if (sum)
        step_run(0, 1, W, G, V, sum, n, step, momentum, threshold, shrink);
    else
        step_run(0, 0, W, G, V, sum, n, step, momentum, threshold, shrink);
}

/* Rows of W, V and sum are ldw apart, those of G ldg; the last `tail` of the D numbers of a row end with it. */
static void sgd_step(void *W, int64_t ldw, void *G, int64_t ldg, void *V, double *sum, int64_t C, int64_t D,
                     int64_t tail, const rc_step *s)
{
    const real step = (real)s->step, momentum = (real)s->momentum, threshold = (real)s->threshold;
    const real shrink = (real)s->shrink;
    for (int64_t c = 0; c < C; c++) {
        real *w = (real *)W + c * ldw, *g = (real *)G + c * ldg, *v = V ? (real *)V + c * ldw : NULL;
        double *u = sum ? sum + c * ldw : NULL;
        step_either(w, g, v, u, D - tail, step, momentum, threshold, shrink);
        if (!tail) continue;
        const int64_t i = ldw - tail, j = ldg - tail;
        step_either(w + i, g + j, v ? v + i : NULL, u ? u + i : NULL, tail, step, momentum, threshold, shrink);
        /* the lanes of the last vector that its neighbour has already summed */
        for (int64_t k = D - tail; k < j; k++) g[k] = 0;
    }
}

/* ---------------------------------------------------------------- columns */

/* What the group penalty's proximal map multiplies a column with; 1 / (1 + 2 step l2) is in `shrink` */
RC_INLINE real group_factor(const real *w, int64_t n, double threshold, double shrink)
{
    double square = 0;
    for (int64_t i = 0; i < n; i++) square += (double)w[i] * w[i];
    const double norm = sqrt(square);
    return (real)(norm > threshold ? shrink * (1 - threshold / norm) : norm - norm); /* 0, and NaN for NaN */
}

RC_INLINE void prox_run(const int64_t *columns, int64_t n, const double *threshold, const double *shrink, int group,
                        real *Wt, const int64_t ldw)
{
    for (int64_t i = 0; i < n; i++) {
        real *w = Wt + columns[i] * ldw, t = (real)threshold[i], f = (real)shrink[i];
        if (threshold[i] == 0 && shrink[i] == 1) continue;
        if (group) {
            f = group_factor(w, ldw, threshold[i], shrink[i]);
            t = 0;
        }
        for (int64_t k = 0; k < ldw; k++) w[k] = f * soft(w[k], t);
    }
}

RC_INLINE void step_columns_run(const int64_t *columns, int64_t n, real *Wt, real *Gt, real *Vt, double *sum,
                                const int64_t ldw, const rc_step *s)
{
    const real step = (real)s->step, momentum = (real)s->momentum;
    const real threshold = s->group ? 0 : (real)s->threshold, shrink = s->group ? 1 : (real)s->shrink;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = columns[i] * ldw;
        real *w = Wt + at, *g = Gt + at;
        for (int64_t k = 0; k < ldw; k++) {
            real slope = g[k];
            if (Vt) Vt[at + k] = slope = momentum * Vt[at + k] + slope;
            g[k] = 0;
            w[k] = shrink * soft(w[k] - step * slope, threshold);
        }
        if (s->group) {
            const real f = group_factor(w, ldw, s->threshold, s->shrink);
            for (int64_t k = 0; k < ldw; k++) w[k] *= f;
        }
        if (sum)
            for (int64_t k = 0; k < ldw; k++) sum[at + k] += w[k];
    }
}

/* The widths of few classes are constants to the compiler. */
#define FOR_WIDTH(call)                                                                                                \
    switch (ldw) {                                                                                                     \
    case 1: call(1); break;                                                                                            \
    case 2: call(2); break;                                                                                            \
    case 4: call(4); break;                                                                                            \
    case 8: call(8); break;                                                                                            \
    default: call(ldw);                                                                                                \
    }

static void prox_columns(const int64_t *columns, int64_t n, const double *threshold, const double *shrink, int group,
                         void *Wt, int64_t ldw)
{
#define PROX_RUN(width) prox_run(columns, n, threshold, shrink, group, Wt, width)
    FOR_WIDTH(PROX_RUN)
}

static void step_columns(const int64_t *columns, int64_t n, void *Wt, void *Gt, void *Vt, double *sum, int64_t ldw,
                         const rc_step *s){
#define STEP_RUN(width) step_columns_run(columns, n, Wt, Gt, Vt, sum, width, s)
    FOR_WIDTH(STEP_RUN)}

/*
 * Sum over the steps in (from, now] of a weight of size `size` after step `from`: with v = size / scale_from +
 * drop_from it is the sum of scale_t (v - drop_t) over the steps before v - drop_t reaches 0, the last of which is
 * found by bisection.
 */
RC_INLINE double lazy_sum(const rc_lazy *z, int64_t from, double size)
{
    const double v = z->drop[from] + size / z->scale[from];
    int64_t low = from, high = z->now;
    if (z->drop[high] < v) low = high;
    while (high - low > 1) { /* drop[low] < v <= drop[high], or low = from */
        const int64_t middle = low + (high - low) / 2;
        if (z->drop[middle] < v)
            low = middle;
        else
            high = middle;
    }
    return v * (z->scale_sum[low] - z->scale_sum[from]) - (z->product_sum[low] - z->product_sum[from]);
}

/* sum += what the columns have been since each was up to date; before prox_columns */
static void average_columns(const int64_t *columns, int64_t n, const int64_t *up_to, const rc_lazy *z, int group,
                            const void *Wt, int64_t ldw, double *sum)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = up_to[columns[i]];
        const real *w = (const real *)Wt + columns[i] * ldw;
        double *u = sum + columns[i] * ldw;
        if (from == z->now) continue;
        const double scales = (z->scale_sum[z->now] - z->scale_sum[from]) / z->scale[from];
        if (z->drop[z->now] == z->drop[from]) { /* no threshold: every weight shrank alike */
            for (int64_t k = 0; k < ldw; k++) u[k] += scales * w[k];
        } else if (group) {
            double square = 0;
            for (int64_t k = 0; k < ldw; k++) square += (double)w[k] * w[k];
            const double norm = sqrt(square), factor = norm > 0 ? lazy_sum(z, from, norm) / norm : 0;
            for (int64_t k = 0; k < ldw; k++) u[k] += factor * w[k];
        } else {
            /* weights beyond `limit` are alive to the end */
            const double limit = z->scale[from] * (z->drop[z->now] - z->drop[from]);
            const double lost = z->product_sum[z->now] - z->product_sum[from] - z->drop[from] * z->scale[from] * scales;
            for (int64_t k = 0; k < ldw; k++) {
                const double size = w[k] < 0 ? -(double)w[k] : (double)w[k];
                if (size == 0) continue;
                const double s = size > limit ? size * scales - lost : lazy_sum(z, from, size);
                u[k] += w[k] < 0 ? -s : s;
            }
        }
    }
}

/* ---------------------------------------------------------------- rows before a step */

/* x = (x - center) * factor in place; NULL: not that part. by_columns: x[d] is a feature, else a row. */
static void standardize_block(void *const *x, int64_t n, int64_t D, int by_columns, const double *center,
                              const double *factor)
{
    if (by_columns) {
        for (int64_t d = 0; d < D; d++)
            for (int64_t r = 0; r < n; r++) {
                const real shift = center ? (real)center[d] : 0, scale = factor ? (real)factor[d] : 1;
                ((real *)x[d])[r] = (((real *)x[d])[r] - shift) * scale;
            }
        return;
    }
    for (int64_t r = 0; r < n; r++) {
        real *row = x[r];
        if (center)
            for (int64_t d = 0; d < D; d++) row[d] -= (real)center[d];
        if (factor)
            for (int64_t d = 0; d < D; d++) row[d] *= (real)factor[d];
    }
}

/* A 32-bit mix whose every output bit depends on every input bit: two rounds of shift, xor and multiply. */
RC_INLINE uint32_t mix(uint32_t h)
{
    h = (h ^ (h >> 16)) * 0x7feb352du;
    h = (h ^ (h >> 15)) * 0x846ca68bu;
    return h ^ (h >> 16);
}

/* values[i] becomes 0 with probability threshold / 2^32, else values[i] * keep; the same for a key and a feature
 * wherever it stands. features = NULL: i itself. */
static void drop_features(void *values, const int64_t *features, int64_t n, int64_t stride, uint32_t key,
                          uint32_t threshold, double keep)
{
    real *v = values;
    const real factor = (real)keep;
    if (!features && stride == 1)
        for (int64_t i = 0; i < n; i++) v[i] = mix(key + 0x9e3779b9u * (uint32_t)i) < threshold ? 0 : v[i] * factor;
    else
        for (int64_t i = 0; i < n; i++) {
            const uint32_t f = (uint32_t)(features ? features[i] : i);
            v[i * stride] = mix(key + 0x9e3779b9u * f) < threshold ? 0 : v[i * stride] * factor;
        }
}

#endif
