/*
 * The machine's limits, as the kernels could use them at best: reading memory once, and multiply-adds on registers.
 */
#ifndef REGCORE_LIMITS_H
#define REGCORE_LIMITS_H

#include "simd.h"

/* Reads n reals; the result depends on all of them. */
static double read_all(const void *data, int64_t n)
{
    enum { STREAMS = 8 };
    const real *p = data;
    vreal sum[STREAMS];
    RC_UNROLL for (int i = 0; i < STREAMS; i++) sum[i] = v_set(0);
    for (int64_t k = 0; k + STREAMS * LANES <= n; k += STREAMS * LANES)
        RC_UNROLL for (int i = 0; i < STREAMS; i++) sum[i] += v_load(p + k + i * LANES);
    vreal total = v_set(0);
    RC_UNROLL for (int i = 0; i < STREAMS; i++) total += sum[i];
    return w_sum(v_widen(total));
}

/* n rounds of independent multiply-adds, *per_round of them each */
static double multiply_add(int64_t n, int64_t *per_round)
{
    enum { CHAINS = 12 };
    vreal acc[CHAINS];
    const vreal factor = v_set(REAL_C(0.999));
    /* not from 1, which these numbers leave as it is: the compiler would drop that chain, and count one too many */
    RC_UNROLL for (int i = 0; i < CHAINS; i++)
    {
        acc[i] = v_set((real)(i + 2));
        v_pin(acc[i]);
    }
    for (int64_t k = 0; k < n; k++) RC_UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = acc[i] * factor + REAL_C(0.001);
    vreal total = v_set(0);
    RC_UNROLL for (int i = 0; i < CHAINS; i++) total += acc[i];
    *per_round = (int64_t)CHAINS * LANES;
    return w_sum(v_widen(total));
}

#endif
