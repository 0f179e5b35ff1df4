/*
 * The two loops that multiply a gradient by a quasi-Newton method's inverse (Nocedal, "Updating quasi-Newton matrices
 * with limited storage", 1980): down from the newest pair to the oldest, and, when the caller has applied the matrix
 * that the pairs update, up again.  A pair is a step s and the change y of the gradient along it.
 */
#include <math.h>

#include "kernels.h"

/* <s, y> below this share of |s| |y| tells no curvature */
static const double least_cosine = 1e-10;

static rc_pair pair_at(const rc_pairs *pairs, int64_t k)
{
    return (rc_pair){pairs->steps[k], pairs->changes[k], pairs->bend, pairs->free};
}

void rc_pairs_down(const rc_pairs *pairs, double *r, double *products, double *shares)
{
    const rc_kernels *kernels = rc_kernels_for(RC_FLOAT64);
    for (int64_t k = pairs->n_pairs - 1; k >= 0; k--) {
        const rc_pair pair = pair_at(pairs, k);
        rc_pair_sums sums;
        kernels->pair_sums(&pair, r, pairs->n, &sums);
        products[k] = sums.sy > least_cosine * sqrt(sums.ss * sums.yy) ? sums.sy : 0;
        if (products[k] == 0) continue;
        shares[k] = sums.sr / products[k];
        kernels->pair_subtract(&pair, shares[k], pairs->n, r);
    }
}

void rc_pairs_up(const rc_pairs *pairs, const double *products, const double *shares, double *z)
{
    const rc_kernels *kernels = rc_kernels_for(RC_FLOAT64);
    for (int64_t k = 0; k < pairs->n_pairs; k++) {
        if (products[k] == 0) continue;
        const rc_pair pair = pair_at(pairs, k);
        kernels->pair_add(&pair, shares[k] - kernels->pair_along(&pair, z, pairs->n) / products[k], pairs->n, z);
    }
}
