/*
 * Passes over W: what closes a gradient, and the separable penalties l1 sum|W| + l2 sum W^2, whose proximal map is a
 * soft threshold followed by a shrink:
 *     argmin_v 1/2 (v - w)^2 + step (l1 |v| + l2 v^2) = sign(w) max(|w| - step l1, 0) / (1 + 2 step l2)
 */
#ifndef REGCORE_PARAMETERS_H
#define REGCORE_PARAMETERS_H

#include <math.h>

#include "kernels.h"
#include "simd.h"

RC_INLINE real sign_of(real w) { return (real)((w > 0) - (w < 0)); }

/* out = scale * total + 2 l2 W + l1 sign(W) */
static void finish_gradient(const double *total, const void *W, int64_t n, double scale, double l1, double l2,
                            void *out)
{
    const real *w = W;
    real *o = out;
    if (l1 == 0 && l2 == 0)
        for (int64_t i = 0; i < n; i++) o[i] = (real)(scale * total[i]);
    else
        for (int64_t i = 0; i < n; i++) o[i] = (real)(scale * total[i] + 2 * l2 * w[i] + l1 * sign_of(w[i]));
}

static double penalty_value(const void *W, int64_t n, double l1, double l2)
{
    const real *w = W;
    vwide absolute = w_zero(), squared = w_zero();
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vwide x = v_widen(v_load(w + i));
        absolute += v_widen(v_max(v_load(w + i), -v_load(w + i)));
        squared += x * x;
    }
    double sum_absolute = w_sum(absolute), sum_squared = w_sum(squared);
    for (; i < n; i++) {
        sum_absolute += w[i] < 0 ? -(double)w[i] : (double)w[i];
        sum_squared += (double)w[i] * w[i];
    }
    /* 0 * infinity must not spoil the other term */
    return (l1 != 0 ? l1 * sum_absolute : 0) + (l2 != 0 ? l2 * sum_squared : 0);
}

static void penalty_gradient(const void *W, int64_t n, double l1, double l2, void *out)
{
    const real *w = W;
    real *o = out;
    for (int64_t i = 0; i < n; i++) o[i] = (real)(2 * l2 * w[i] + l1 * sign_of(w[i]));
}

static void penalty_prox(const void *W, int64_t n, double threshold, double shrink, void *out)
{
    const real *w = W, t = (real)threshold, f = (real)shrink;
    real *o = out;
    for (int64_t i = 0; i < n; i++) {
        const real above = w[i] - t, below = w[i] + t;
        o[i] = f * (above > 0 ? above : below < 0 ? below : w[i] - w[i]); /* 0, and NaN for NaN */
    }
}

/*
 * The row-wise group penalty sum_d ||W[:, d]||_2 (Yuan and Lin, 2006), a run of features at a time with their norms in
 * double.  Its proximal map scales each feature by max(0, 1 - threshold / norm); its gradient is 0 where the norm is.
 */
#define GROUP_RUN 256

static void group_norms(const real *W, int64_t C, int64_t D, int64_t first, int64_t n, double *norms)
{
    for (int64_t i = 0; i < n; i++) norms[i] = 0;
    for (int64_t c = 0; c < C; c++)
        for (int64_t i = 0; i < n; i++) norms[i] += (double)W[c * D + first + i] * W[c * D + first + i];
    for (int64_t i = 0; i < n; i++) norms[i] = sqrt(norms[i]);
}

static double group_value(const void *W, int64_t C, int64_t D)
{
    double norms[GROUP_RUN], sum = 0;
    for (int64_t first = 0; first < D; first += GROUP_RUN) {
        const int64_t n = D - first < GROUP_RUN ? D - first : GROUP_RUN;
        group_norms(W, C, D, first, n, norms);
        for (int64_t i = 0; i < n; i++) sum += norms[i];
    }
    return sum;
}

/* out += group * W[:, d] / norm */
static void group_gradient(const void *W, int64_t C, int64_t D, double group, void *out)
{
    double norms[GROUP_RUN];
    for (int64_t first = 0; first < D; first += GROUP_RUN) {
        const int64_t n = D - first < GROUP_RUN ? D - first : GROUP_RUN;
        group_norms(W, C, D, first, n, norms);
        for (int64_t i = 0; i < n; i++) norms[i] = norms[i] > 0 ? group / norms[i] : 0;
        for (int64_t c = 0; c < C; c++)
            for (int64_t i = 0; i < n; i++)
                ((real *)out)[c * D + first + i] += (real)(norms[i] * ((const real *)W)[c * D + first + i]);
    }
}

static void group_prox(const void *W, int64_t C, int64_t D, double threshold, void *out)
{
    double factors[GROUP_RUN];
    for (int64_t first = 0; first < D; first += GROUP_RUN) {
        const int64_t n = D - first < GROUP_RUN ? D - first : GROUP_RUN;
        group_norms(W, C, D, first, n, factors);
        for (int64_t i = 0; i < n; i++) factors[i] = factors[i] <= threshold ? 0 : 1 - threshold / factors[i];
        for (int64_t c = 0; c < C; c++)
            for (int64_t i = 0; i < n; i++)
                ((real *)out)[c * D + first + i] = (real)(factors[i] * ((const real *)W)[c * D + first + i]);
    }
}

#endif
