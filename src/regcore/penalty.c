/* Penalties: the public calls around the kernels' passes over W. */
#include <string.h>

#include "kernels.h"

rc_status rc_penalty_value(rc_dtype real, const void *W, int64_t n_models, int64_t n_classes, int64_t n_features,
                           const rc_penalty *penalty, double *value)
{
    const rc_kernels *k = rc_kernels_for(real);
    const int64_t n = n_classes * n_features;
    for (int64_t m = 0; m < n_models; m++) {
        const void *w = (const char *)W + m * n * (int64_t)k->real_size;
        value[m] = k->penalty_value(w, n, penalty->l1, penalty->l2);
        if (penalty->group != 0) value[m] += penalty->group * k->group_value(w, n_classes, n_features);
    }
    return RC_OK;
}

rc_status rc_penalty_gradient(rc_dtype real, const void *W, int64_t n_models, int64_t n_classes, int64_t n_features,
                              const rc_penalty *penalty, void *out)
{
    const rc_kernels *k = rc_kernels_for(real);
    const int64_t n = n_classes * n_features;
    for (int64_t m = 0; m < n_models; m++) {
        const int64_t at = m * n * (int64_t)k->real_size;
        k->penalty_gradient((const char *)W + at, n, penalty->l1, penalty->l2, (char *)out + at);
        if (penalty->group != 0)
            k->group_gradient((const char *)W + at, n_classes, n_features, penalty->group, (char *)out + at);
    }
    return RC_OK;
}

/* Soft threshold, group shrink, shrink: with f the map of one of them, each later one is the prox of its term at the
 * point scaled as f scaled it (Yu, 2013), so the three in this order are the prox of the sum:
 * step' = step / (1 + 2 step l2) for the first two applied to W / (1 + 2 step l2). */
rc_status rc_penalty_prox(rc_dtype real, const void *W, int64_t n_models, int64_t n_classes, int64_t n_features,
                          const rc_penalty *penalty, double step, void *out)
{
    const rc_kernels *k = rc_kernels_for(real);
    const int64_t n = n_classes * n_features;
    const double shrink = 1 / (1 + 2 * step * penalty->l2);
    for (int64_t m = 0; m < n_models; m++) {
        const int64_t at = m * n * (int64_t)k->real_size;
        k->penalty_prox((const char *)W + at, n, step * penalty->l1, shrink, (char *)out + at);
        if (penalty->group != 0)
            k->group_prox((char *)out + at, n_classes, n_features, step * penalty->group * shrink, (char *)out + at);
    }
    return RC_OK;
}
