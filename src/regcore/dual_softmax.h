/*
 * Dual coordinate ascent for cross_entropy: what one sample does.
 *
 * A sample's slopes are g = p - e_y with p in the simplex, and the conjugate of its loss is sum_j p_j log p_j.  With
 * its scores s, and q an upper bound of what a unit of its slopes changes them by, its step is the minimum of
 *
 *     sum_j p_j log p_j - <s, p> + q/2 ||p - p_old||^2
 *
 * over the simplex.  There p = softmax(r) at the scores r that are left after the step, r + q p = z with z = s + q
 * p_old: the minimum of  ||r - z||^2 / 2 + q log sum_j e^{r_j}.  Newton's method finds it in one to three iterations,
 * as I + q (diag(p) - p p') is solved by a division and a rank one correction, and needs no logarithm.  Since p is the
 * softmax of something at every end of it, no step leaves the simplex, or ends on its border.  (Shalev-Shwartz and
 * Zhang, "Stochastic dual coordinate ascent methods for regularized loss minimization", JMLR 14, 2013; Yu, Huang and
 * Lin, "Dual coordinate descent methods for logistic regression and maximum entropy models", Machine Learning 85,
 * 2011.)
 */
#ifndef REGCORE_DUAL_SOFTMAX_H
#define REGCORE_DUAL_SOFTMAX_H

#include <math.h>

#include "kernels.h"
#include "simd.h"

enum { SOFTMAX_STEPS = 50 };
#define SOFTMAX_TOLERANCE 1e-2 /* of a sample's step */
#define SOFTMAX_ROUNDING (RC_REAL_BITS == 32 ? 4e-6 : 1e-14)
#define NO_CLASS REAL_C(-1e30)     /* a score */
#define SMALLEST_SUM REAL_C(1e-30) /* of two probabilities */

RC_INLINE int64_t whole_vectors(int64_t C) { return (C + LANES - 1) / LANES * LANES; }

RC_INLINE real v_total(vreal v)
{
    real lanes[LANES];
    memcpy(lanes, &v, sizeof lanes);
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) lanes[i] += lanes[i + n];
    return lanes[0];
}

RC_INLINE real v_top(vreal v)
{
    real lanes[LANES];
    memcpy(lanes, &v, sizeof lanes);
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) lanes[i] = lanes[i] > lanes[i + n] ? lanes[i] : lanes[i + n];
    return lanes[0];
}

/* p = softmax(r) of n scores, whole vectors; returns log sum_j e^{r_j} */
RC_INLINE double softmax_of(const real *RC_RESTRICT r, int64_t n, real *RC_RESTRICT p)
{
    vreal most = v_load(r), sum = v_set(0);
    for (int64_t j = LANES; j < n; j += LANES) most = v_max(most, v_load(r + j));
    const real top = v_top(most);
    for (int64_t j = 0; j < n; j += LANES) {
        const vreal e = v_exp_nonpositive(v_load(r + j) - top);
        v_store(p + j, e);
        sum += e;
    }
    const real total = v_total(sum), share = 1 / total;
    for (int64_t j = 0; j < n; j += LANES) v_store(p + j, v_load(p + j) * share);
    return (double)top + log((double)total);
}

/* The binary form of `solve_softmax` */
static int solve_logistic(rc_dual_work *w, int64_t i, double q, double *s)
{
    real *g = (real *)w->dual + i;
    const double sign = w->label[i] ? -1 : 1, old = sign * *g, score = sign * *s; /* of the other class */
    const double z = score + q * old, at_start = 1 / (1 + exp(-score)), d = at_start - old;
    double low = z - q, high = z, r = score < low ? low : score > high ? high : score, p = 1 / (1 + exp(-r));
    w->gap += w->weight[i] * d * d * (1 / (at_start + old + 1e-300) + 1 / (2 - at_start - old + 1e-300));
    for (int iteration = 0; iteration < SOFTMAX_STEPS; iteration++) {
        const double missing = r + q * p - z;
        if (missing > 0)
            high = r;
        else
            low = r;
        const double next = r - missing / (1 + q * p * (1 - p));
        r = next > low && next < high ? next : low + (high - low) / 2;
        p = 1 / (1 + exp(-r));
        if (fabs(r + q * p - z) <= SOFTMAX_TOLERANCE * q * fabs(p - old)) break;
    }
    const real after = (real)(sign * p);
    *s = (double)after - *g;
    *g = after;
    return *s != 0;
}

/* s, the scores, become the change of the slopes; 0: there is none */
static int solve_softmax(rc_dual_work *w, int64_t i, double q_wide, double *RC_RESTRICT s)
{
    const int64_t C = w->C, n = whole_vectors(C), y = w->label[i];
    const real q = (real)q_wide;
    real *RC_RESTRICT slopes = (real *)w->dual + i * C;
    real *RC_RESTRICT r = (real *)(void *)(w->scratch + 4 * (C + 32)), *RC_RESTRICT z = r + n, *RC_RESTRICT p = z + n;
    real *RC_RESTRICT step = p + n, *RC_RESTRICT old = step + n;

    for (int64_t j = 0; j < C; j++) {
        r[j] = (real)s[j];
        old[j] = slopes[j];
    }
    old[y] += 1;
    for (int64_t j = C; j < n; j++) r[j] = NO_CLASS, old[j] = 0;
    for (int64_t j = 0; j < n; j += LANES) v_store(z + j, v_load(r + j) + q * v_load(old + j));
    double lowest = HUGE_VAL, length = 1;
    for (int iteration = 0; iteration < SOFTMAX_STEPS; iteration++) {
        const double log_sum = softmax_of(r, n, p);
        vreal squares = v_set(0), error = v_set(0), moved = v_set(0), inner = v_set(0), share = v_set(0);
        vreal divergence = v_set(0);
        for (int64_t j = 0; j < n; j += LANES) {
            const vreal left = v_load(z + j) - v_load(r + j), now = v_load(p + j), before = v_load(old + j);
            const vreal e = left - q * now, kept = now / (q * now + REAL_C(1.0)), change = q * before - left;
            squares += left * left;
            error += e * e;
            moved += change * change;
            inner += kept * e;
            share += kept;
            const vreal d = now - before;
            divergence += d * d / (now + before + SMALLEST_SUM);
        }
        if (iteration == 0) w->gap += w->weight[i] * (v_total(divergence) + 0 * log_sum);
        const double missing = v_total(error), value = v_total(squares) / 2 + q_wide * log_sum;
        if (iteration > 0) {
            if (missing <= SOFTMAX_TOLERANCE * SOFTMAX_TOLERANCE * v_total(moved)) break;
            if (value > lowest + SOFTMAX_ROUNDING * (1 + fabs(lowest)) && length > SOFTMAX_ROUNDING) {
                length /= 2; /* too far */
                for (int64_t j = 0; j < n; j += LANES) v_store(r + j, v_load(r + j) - (real)length * v_load(step + j));
                continue;
            }
        }
        if (value >= lowest) break; /* rounding */
        lowest = value;
        length = 1;
        const vreal joint = v_set(q * v_total(inner) / v_total(share));
        for (int64_t j = 0; j < n; j += LANES) {
            const vreal at = v_load(r + j), now = v_load(p + j), e = v_load(z + j) - at - q * now;
            const vreal change = (e + joint * now) / (q * now + REAL_C(1.0));
            v_store(step + j, change);
            v_store(r + j, at + change);
        }
    }
    real rest = 0;
    p[y] = 0;
    for (int64_t j = 0; j < C; j++) rest += p[j];
    p[y] = -rest;
    int some = 0;
    for (int64_t j = 0; j < C; j++) {
        s[j] = (double)p[j] - slopes[j];
        slopes[j] = p[j];
        some |= s[j] != 0;
    }
    return some;
}

#endif
