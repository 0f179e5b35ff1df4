/*
 * The convex conjugates of the losses, loss*(u) = sup_s <u, s> - loss(s), on class-major blocks with lanes along the
 * rows.  Every loss depends on differences of scores alone and grows with those of the other classes, so that loss* is
 * finite only where sum_c u_c = 0 and u_j >= 0 for j != y.  With q = -u_y = sum_{j != y} u_j:
 *
 *     cross_entropy    sum_{j != y} u_j log u_j + (1 - q) log(1 - q)       q <= 1; 0 log 0 = 0
 *     hinge            -q                                                  each u_j <= 1
 *     squared_hinge    sum_{j != y} (u_j^2 / 4 - u_j)
 *     crammer_singer   -q                                                  q <= 1
 *
 * The binary form with the score s of label 1 is that of two classes with the scores 0 and s: u is the second one's
 * number, q = u for label 0 and -u for label 1.
 *
 * With soft targets t a sample is as much as copies of it with the labels c and the weights t_c, so that with p = u + t
 * the conjugate of cross_entropy is sum_c p_c log p_c - T log T, finite where p_c >= 0 sum to T = sum_c t_c, which is 1
 * up to rounding.
 *
 * The slopes of a loss lie in that domain.  A block is moved along by what an rc_dual_shift says while it is read:
 * nothing is stored.  (1 - q) log(1 - q) is -(1 - q) log1p(q / (1 - q)): a well fitted sample has q << 1.
 */
#ifndef REGCORE_CONJUGATES_H
#define REGCORE_CONJUGATES_H

#include <float.h>

#include "kernels.h"
#include "losses.h"
#include "simd.h"

#define LARGEST_PART REAL_C(1e20) /* of a probability: many of them have a finite sum */
#if RC_REAL_BITS == 32
#define SMALLEST_NORMAL FLT_MIN
#define LARGEST_REAL FLT_MAX
#else
#define SMALLEST_NORMAL DBL_MIN
#define LARGEST_REAL DBL_MAX
#endif

#define DEFINE_CONJUGATE(name)                                                                                         \
    static double name(const void *U, int64_t ld, int64_t C, int64_t n_padded, const void *y, const void *w,           \
                       const rc_dual_shift *shift)                                                                     \
    {                                                                                                                  \
        vwide sum = w_zero();                                                                                          \
        for (int64_t r = 0; r < n_padded; r += LANES)                                                                  \
            sum += v_widen(v_load((const real *)w + r)) *                                                              \
                   name##_rows((const real *)U + r, ld, C, v_load((const real *)y + r), shift);                        \
        return w_sum(sum);                                                                                             \
    }
#define CONJUGATE_ROWS(name)                                                                                           \
    RC_INLINE vwide name##_rows(const real *u, int64_t ld, int64_t C, vreal label, const rc_dual_shift *shift)

/* x log x, 0 at 0 */
RC_INLINE vreal v_xlogx(vreal x) { return v_select(x >= v_set(SMALLEST_NORMAL), x * v_log_normal(x), v_set(0)); }

/* (1 - q) log(1 - q) for 0 <= q <= 1, 0 at 1 */
RC_INLINE vreal v_rest_log_rest(vreal q)
{
    const vreal rest = REAL_C(1.0) - q;
    const vmask some = rest > v_set(0);
    const vreal ratio = v_max(q, v_set(0)) / v_select(some, rest, v_set(1));
    return v_select(some, -rest * v_log1p_nonnegative(ratio), v_set(0));
}

/* q = -u_y after the shift, and lose_y */
RC_INLINE vreal own_part(const real *u, int64_t ld, int64_t C, vreal label, const rc_dual_shift *shift, vreal *lose)
{
    vreal own = v_set(0), given = v_set(0);
    for (int64_t c = 0; c < C; c++) {
        const vmask is_own = label == (real)c;
        own = v_select(is_own, v_load(u + c * ld), own);
        if (shift->lose) given = v_select(is_own, v_set((real)shift->lose[c]), given);
    }
    *lose = given;
    return given * (real)shift->gain_sum - own * (real)shift->shrink;
}

/* u_c after the shift, 0 at the label */
RC_INLINE vreal other_part(const real *u, int64_t ld, int64_t c, vreal label, const rc_dual_shift *shift, vreal lose)
{
    const real gain = shift->gain ? (real)shift->gain[c] : 0;
    return v_select(label == (real)c, v_set(0), v_load(u + c * ld) * (real)shift->shrink + lose * gain);
}

CONJUGATE_ROWS(conjugate_cross_entropy)
{
    vreal lose;
    const vreal q = own_part(u, ld, C, label, shift, &lose);
    vwide sum = v_widen(v_rest_log_rest(q));
    for (int64_t first = 0; first < C; first += CLASS_RUN) {
        vreal run = v_set(0);
        for (int64_t c = first; c < C && c < first + CLASS_RUN; c++)
            run += v_xlogx(other_part(u, ld, c, label, shift, lose));
        sum += v_widen(run);
    }
    return sum;
}
DEFINE_CONJUGATE(conjugate_cross_entropy)

/* What the labels of a row give in all, and their sum */
RC_INLINE vreal given_part(const real *t, int64_t ldt, int64_t n_labels, const rc_dual_shift *shift, vreal *total)
{
    vwide given = w_zero(), sum = w_zero();
    for (int64_t c = 0; c < n_labels; c++) {
        const vwide target = v_widen(v_load(t + c * ldt));
        if (shift->lose) given += target * shift->lose[c];
        sum += target;
    }
    *total = v_narrow(sum);
    return v_narrow(given);
}

/* p_c after the shift; rounding may have left it a little below 0 */
RC_INLINE vreal soft_part(vreal u, vreal target, vreal given, int64_t c, const rc_dual_shift *shift)
{
    vreal p = target + u * (real)shift->shrink;
    if (shift->lose) p += given * (real)shift->gain[c] - target * (real)(shift->lose[c] * shift->gain_sum);
    return v_max(p, v_set(0));
}

static double soft_conjugate(const void *U, int64_t ld, int64_t C, int64_t n_padded, const void *T, int64_t ldt,
                             const void *w, const rc_dual_shift *shift)
{
    vwide sum = w_zero();
    for (int64_t r = 0; r < n_padded; r += LANES) {
        const real *u = (const real *)U + r, *t = (const real *)T + r;
        vreal total;
        const vreal given = given_part(t, ldt, C > 1 ? C : 2, shift, &total);
        vwide row = -v_widen(v_xlogx(total));
        for (int64_t c = 0; c < (C > 1 ? C : 2); c++) {
            const vreal slope = C > 1 ? v_load(u + c * ld) : c ? v_load(u) : -v_load(u);
            row += v_widen(v_xlogx(soft_part(slope, v_load(t + c * ldt), given, c, shift)));
        }
        sum += v_widen(v_load((const real *)w + r)) * row;
    }
    return w_sum(sum);
}

/* hinge and crammer_singer */
CONJUGATE_ROWS(conjugate_linear)
{
    vreal lose;
    return -v_widen(own_part(u, ld, C, label, shift, &lose));
}
DEFINE_CONJUGATE(conjugate_linear)

CONJUGATE_ROWS(conjugate_squared_hinge)
{
    vreal lose;
    vwide sum = -v_widen(own_part(u, ld, C, label, shift, &lose));
    for (int64_t c = 0; c < C; c++) {
        const vwide other = v_widen(other_part(u, ld, c, label, shift, lose));
        sum += 0.25 * other * other;
    }
    return sum;
}
DEFINE_CONJUGATE(conjugate_squared_hinge)

/* q of the binary form after the shift: label 1 gives lose_1 gain_0, label 0 gives lose_0 gain_1 */
RC_INLINE vreal binary_part(const real *u, vreal label, const rc_dual_shift *shift)
{
    const vmask is_one = label > v_set(0);
    const vreal q = v_select(is_one, -v_load(u), v_load(u)) * (real)shift->shrink;
    if (!shift->lose) return q;
    return q + v_select(is_one, v_set((real)(shift->lose[1] * shift->gain[0])),
                        v_set((real)(shift->lose[0] * shift->gain[1])));
}

CONJUGATE_ROWS(binary_conjugate_cross_entropy)
{
    (void)ld, (void)C;
    const vreal q = binary_part(u, label, shift);
    return v_widen(v_xlogx(q) + v_rest_log_rest(q));
}
DEFINE_CONJUGATE(binary_conjugate_cross_entropy)

CONJUGATE_ROWS(binary_conjugate_hinge)
{
    (void)ld, (void)C;
    return -v_widen(binary_part(u, label, shift));
}
DEFINE_CONJUGATE(binary_conjugate_hinge)

CONJUGATE_ROWS(binary_conjugate_squared_hinge)
{
    (void)ld, (void)C;
    const vwide q = v_widen(binary_part(u, label, shift));
    return 0.25 * q * q - q;
}
DEFINE_CONJUGATE(binary_conjugate_squared_hinge)

/* ---------------------------------------------------------------- dual points that a caller gives */

/* U[c][r] = number c of row first + r, then zeros. Stride in bytes. */
static void load_scores(const void *u, int64_t stride, const rc_rows *rows, int64_t first, int64_t n, int64_t n_padded,
                        int64_t C, void *U, int64_t ld)
{
    real *out = U;
    for (int64_t r = 0; r < n; r++) {
        const real *row = (const real *)(const void *)((const char *)u + rc_row_at(rows, first + r) * stride);
        for (int64_t c = 0; c < C; c++) out[c * ld + r] = row[c];
    }
    for (int64_t c = 0; c < C; c++)
        for (int64_t r = n; r < n_padded; r++) out[c * ld + r] = 0;
}

/* Into the domain: u_j = min(max(u_j, 0), most) for j != y, all of them divided by their sum if that is above most_sum,
 * and u_y = minus their sum. A NaN becomes 0. */
RC_INLINE void project(void *U, int64_t ld, int64_t C, int64_t n_padded, const void *y, vreal most, vreal most_sum)
{
    for (int64_t r = 0; r < n_padded; r += LANES) {
        real *u = (real *)U + r;
        const vreal label = v_load((const real *)y + r);
        vwide wide_sum = w_zero();
        for (int64_t c = 0; c < C; c++) {
            const vreal other = v_min(v_max(v_load(u + c * ld), v_set(0)), most);
            v_store(u + c * ld, v_select(label == (real)c, v_set(0), other));
            wide_sum += v_widen(v_load(u + c * ld));
        }
        const vreal sum = v_narrow(wide_sum);
        const vreal factor = v_select(sum > most_sum, most_sum / sum, v_set(1));
        for (int64_t c = 0; c < C; c++)
            v_store(u + c * ld, v_select(label == (real)c, -sum, v_load(u + c * ld)) * factor);
    }
}
#define DEFINE_PROJECT(name, most, most_sum)                                                                           \
    static void name(void *U, int64_t ld, int64_t C, int64_t n_padded, const void *y)                                  \
    {                                                                                                                  \
        project(U, ld, C, n_padded, y, v_set(most), v_set(most_sum));                                                  \
    }
DEFINE_PROJECT(project_sum, LARGEST_REAL, 1)                 /* cross_entropy, crammer_singer */
DEFINE_PROJECT(project_each, 1, LARGEST_REAL)                /* hinge */
DEFINE_PROJECT(project_positive, LARGEST_REAL, LARGEST_REAL) /* squared_hinge */

#define DEFINE_BINARY_PROJECT(name, most)                                                                              \
    static void name(void *U, int64_t ld, int64_t C, int64_t n_padded, const void *y)                                  \
    {                                                                                                                  \
        (void)ld, (void)C;                                                                                             \
        for (int64_t r = 0; r < n_padded; r += LANES) {                                                                \
            const vreal sign = REAL_C(1.0) - 2 * v_load((const real *)y + r);                                          \
            const vreal q = v_min(v_max(sign * v_load((real *)U + r), v_set(0)), v_set(most));                         \
            v_store((real *)U + r, sign * q);                                                                          \
        }                                                                                                              \
    }
DEFINE_BINARY_PROJECT(binary_project_capped, 1)
DEFINE_BINARY_PROJECT(binary_project_positive, LARGEST_REAL)

/* p = u + t without what is negative, scaled to the sum of t */
static void soft_project(void *U, int64_t ld, int64_t C, int64_t n_padded, const void *T, int64_t ldt)
{
    for (int64_t r = 0; r < n_padded; r += LANES) {
        real *u = (real *)U + r;
        const real *t = (const real *)T + r;
        if (C == 1) {
            const vreal most = v_load(t) + v_load(t + ldt);
            const vreal p = v_min(v_max(v_load(u) + v_load(t + ldt), v_set(0)), most);
            v_store(u, p - v_load(t + ldt));
            continue;
        }
        vwide wide_sum = w_zero(), wide_total = w_zero();
        for (int64_t c = 0; c < C; c++) {
            v_store(u + c * ld, v_min(v_max(v_load(u + c * ld) + v_load(t + c * ldt), v_set(0)), v_set(LARGEST_PART)));
            wide_sum += v_widen(v_load(u + c * ld));
            wide_total += v_widen(v_load(t + c * ldt));
        }
        const vreal sum = v_narrow(wide_sum), factor = v_narrow(wide_total) / sum;
        for (int64_t c = 0; c < C; c++) {
            const vreal target = v_load(t + c * ldt);
            v_store(u + c * ld, v_select(sum > v_set(0), v_load(u + c * ld) * factor - target, v_set(0)));
        }
    }
}

static void weigh(void *U, int64_t ld, int64_t C, int64_t n_padded, const void *w)
{
    for (int64_t c = 0; c < C; c++)
        for (int64_t r = 0; r < n_padded; r += LANES)
            v_store((real *)U + c * ld + r, v_load((real *)U + c * ld + r) * v_load((const real *)w + r));
}

/* U[c][r] = weight if c is the row's label, else 0 */
static void one_hot(void *U, int64_t ld, int64_t C, int64_t n_padded, const void *y, const void *w)
{
    for (int64_t c = 0; c < C; c++)
        for (int64_t r = 0; r < n_padded; r += LANES) {
            const vmask is_own = v_load((const real *)y + r) == (real)c;
            v_store((real *)U + c * ld + r, v_select(is_own, v_load((const real *)w + r), v_set(0)));
        }
}

#endif
