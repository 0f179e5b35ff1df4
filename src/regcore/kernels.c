/* One table of kernels.  Compiled once per real type and CPU level with RC_REAL_BITS, RC_VECTOR_BYTES and RC_LEVEL. */
#include "kernels.h"
#include "colours.h"
#include "conjugates.h"
#include "coordinate.h"
#include "dense.h"
#include "dual.h"
#include "limits.h"
#include "losses.h"
#include "packing.h"
#include "pairs.h"
#include "parameters.h"
#include "products.h"
#include "sparse.h"
#include "stochastic.h"

#define NAME__(bits, level) rc_kernels_f##bits##_##level
#define NAME_(bits, level) NAME__(bits, level)
#define STRING_(x) #x
#define STRING(x) STRING_(x)

extern const rc_kernels NAME_(RC_REAL_BITS, RC_LEVEL);
const rc_kernels NAME_(RC_REAL_BITS, RC_LEVEL) = {
    .level = STRING(RC_LEVEL),
    .lanes = LANES,
    .row_tile = DOT_ROWS,
    .real_size = sizeof(real),
    .pack_rows = pack_rows,
    .pack_columns = pack_columns,
    .transpose = transpose,
    .pack_weights = pack_weights,
    .load_vector = load_vector,
    .load_targets = load_targets,
    .scores_rows = scores_rows,
    .scores_columns = scores_columns,
    .scores_transposed = scores_transposed,
    .gradient_rows = gradient_rows,
    .gradient_columns = gradient_columns,
    .dot_iterations = dot_iterations,
    .outer_iterations = outer_iterations,
    .flush = flush,
    .loss = {cross_entropy, hinge, squared_hinge, crammer_singer},
    .binary_loss = {binary_cross_entropy, binary_hinge, binary_squared_hinge, NULL},
    .soft_loss = soft_cross_entropy,
    .soft_binary_loss = soft_binary_cross_entropy,
    .row_sums = row_sums,
    .load_scores = load_scores,
    .project = {project_sum, project_each, project_positive, project_sum},
    .binary_project = {binary_project_capped, binary_project_capped, binary_project_positive, NULL},
    .conjugate = {conjugate_cross_entropy, conjugate_linear, conjugate_squared_hinge, conjugate_linear},
    .binary_conjugate = {binary_conjugate_cross_entropy, binary_conjugate_hinge, binary_conjugate_squared_hinge, NULL},
    .soft_conjugate = soft_conjugate,
    .soft_project = soft_project,
    .weigh = weigh,
    .one_hot = one_hot,
    .check_scores = check_scores,
    .store_scores = store_scores,
    .probabilities = probabilities,
    .labels = labels,
    .csr_panel = sparse_panel,
    .csr_strip = sparse_strip_width,
    .transpose_weights = transpose_weights,
    .scores_csr = scores_csr,
    .gradient_csr = gradient_csr,
    .sum_panels = sum_panels,
    .flush_columns = flush_columns,
    .finish_gradient = finish_gradient,
    .penalty_value = penalty_value,
    .penalty_gradient = penalty_gradient,
    .penalty_prox = penalty_prox,
    .group_value = group_value,
    .group_gradient = group_gradient,
    .group_prox = group_prox,
    .sgd_step = sgd_step,
    .prox_columns = prox_columns,
    .step_columns = step_columns,
    .average_columns = average_columns,
    .standardize_block = standardize_block,
    .drop_features = drop_features,
    .dual_rows = dual_rows,
    .multiply_rows = multiply_rows,
    .dual_csr = dual_csr,
    .join_blocks = join_blocks,
    .recentre = recentre,
    .sum_rows = sum_rows,
    .sum_csr = sum_csr,
    .column_slope = column_slope,
    .column_step = column_step,
    .column_add = column_add,
    .column_weigh = column_weigh,
    .column_products = column_products,
    .column_moments = column_moments,
    .column_standardize = column_standardize,
    .column_spread = column_spread,
    .slope_excess = slope_excess,
    .find_beyond = find_beyond,
    .pair_sums = pair_sums,
    .pair_subtract = pair_subtract,
    .pair_along = pair_along,
    .pair_add = pair_add,
    .add_moments = add_moments,
    .copy_transposed = copy_transposed,
    .copy_weighted = copy_weighted,
    .add_symmetric = add_symmetric,
    .subtract = subtract,
    .add_diagonal = add_diagonal,
    .factor_diagonal = factor_diagonal,
    .solve_lower = solve_lower,
    .solve_upper = solve_upper,
    .read_all = read_all,
    .multiply_add = multiply_add,
    .colour_bins = colour_bins,
};
