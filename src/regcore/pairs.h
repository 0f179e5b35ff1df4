/*
 * The two loops of a quasi-Newton direction, a pair at a time: see pairs.c.
 *
 * Everything is in double, whatever the real type of the table.
 */
#ifndef REGCORE_PAIRS_H
#define REGCORE_PAIRS_H

#include "coordinate.h"
#include "kernels.h"
#include "simd.h"

enum { PLAIN_PAIR, BENT_PAIR, MASKED_PAIR };

RC_INLINE vwide wide_step(const rc_pair *p, const int form, int64_t i)
{
    const vwide s = w_load(p->s + i);
    return form == MASKED_PAIR ? s * w_load(p->free + i) : s;
}

RC_INLINE vwide wide_change(const rc_pair *p, const int form, int64_t i)
{
    const vwide y = w_load(p->y + i);
    if (form == BENT_PAIR) return y + w_load(p->bend + i) * w_load(p->s + i);
    return form == MASKED_PAIR ? y * w_load(p->free + i) : y;
}

RC_INLINE double one_step(const rc_pair *p, const int form, int64_t i)
{
    return form == MASKED_PAIR ? p->s[i] * p->free[i] : p->s[i];
}

RC_INLINE double one_change(const rc_pair *p, const int form, int64_t i)
{
    if (form == BENT_PAIR) return p->y[i] + p->bend[i] * p->s[i];
    return form == MASKED_PAIR ? p->y[i] * p->free[i] : p->y[i];
}

RC_INLINE void sums_of_pair(const rc_pair *p, const int form, const double *r, int64_t n, rc_pair_sums *sums)
{
    vwide sr = w_zero(), sy = w_zero(), ss = w_zero(), yy = w_zero();
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vwide s = wide_step(p, form, i), y = wide_change(p, form, i);
        sr += s * w_load(r + i), sy += s * y, ss += s * s, yy += y * y;
    }
    *sums = (rc_pair_sums){w_sum(sr), w_sum(sy), w_sum(ss), w_sum(yy)};
    for (; i < n; i++) {
        const double s = one_step(p, form, i), y = one_change(p, form, i);
        sums->sr += s * r[i], sums->sy += s * y, sums->ss += s * s, sums->yy += y * y;
    }
}

RC_INLINE void subtract_change(const rc_pair *p, const int form, double share, int64_t n, double *r)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) w_store(r + i, w_load(r + i) - share * wide_change(p, form, i));
    for (; i < n; i++) r[i] -= share * one_change(p, form, i);
}

RC_INLINE double along_change(const rc_pair *p, const int form, const double *z, int64_t n)
{
    vwide sum[2] = {w_zero(), w_zero()};
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES)
        RC_UNROLL for (int u = 0; u < 2; u++) sum[u] += w_load(z + i + u * LANES) * wide_change(p, form, i + u * LANES);
    double found = w_sum(sum[0] + sum[1]);
    for (; i < n; i++) found += z[i] * one_change(p, form, i);
    return found;
}

RC_INLINE void add_step(const rc_pair *p, const int form, double share, int64_t n, double *z)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) w_store(z + i, w_load(z + i) + share * wide_step(p, form, i));
    for (; i < n; i++) z[i] += share * one_step(p, form, i);
}

#define OF_EACH_FORM(call)                                                                                             \
    if (p->free) {                                                                                                     \
        enum { form = MASKED_PAIR };                                                                                   \
        call;                                                                                                          \
    } else if (p->bend) {                                                                                              \
        enum { form = BENT_PAIR };                                                                                     \
        call;                                                                                                          \
    } else {                                                                                                           \
        enum { form = PLAIN_PAIR };                                                                                    \
        call;                                                                                                          \
    }

static void pair_sums(const rc_pair *p, const double *r, int64_t n, rc_pair_sums *sums)
{
    OF_EACH_FORM(sums_of_pair(p, form, r, n, sums))
}

static void pair_subtract(const rc_pair *p, double share, int64_t n, double *r)
{
    OF_EACH_FORM(subtract_change(p, form, share, n, r))
}

static double pair_along(const rc_pair *p, const double *z, int64_t n)
{
    OF_EACH_FORM(return along_change(p, form, z, n))
}

static void pair_add(const rc_pair *p, double share, int64_t n, double *z)
{
    OF_EACH_FORM(add_step(p, form, share, n, z))
}

#undef OF_EACH_FORM

#endif
