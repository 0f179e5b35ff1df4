/* rc_adjoint where the threads share the features, not the samples: see features.c. */
#ifndef REGCORE_BY_FEATURES_H
#define REGCORE_BY_FEATURES_H

#include "kernels.h"

/* Whether that pays: X is dense with at least as many features as samples. */
int rc_shares_features(const rc_problem *problem, const rc_rows *rows);

/* As rc_adjoint, after its checks; scale: (n_models,), 1 / sum of the weights. */
rc_status rc_adjoint_by_features(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                                 const rc_control *control, const void *u, int64_t u_stride, const double *scale,
                                 rc_gradient *out);

#endif
