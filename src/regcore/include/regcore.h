/*
 * regcore: loss and gradient of regularised linear classifiers, fused into one pass over the data.
 *
 *     objective(W, b) = (1/sum w) sum_i w_i loss(y_i, W x_i + b) + R(W)
 *
 * N samples, D features, C classes.  X is (N, D), W is (C, D), b is (C,); C = 1 means the binary form.  A stack holds M
 * models: W is (M, C, D), b is (M, C), and each model may have sample weights of its own.
 *
 * The label y_i may be a distribution t_i over the classes (soft targets, and smoothed labels), for which the loss is
 * cross_entropy, -sum_c t_ic log p_ic.
 *
 * Every function returns a status; unless it is RC_OK, outputs of rc_evaluate are untouched and those of rc_predict
 * void.  The same call gives the same bits with any number of threads.  The functions hold no state: any number of host
 * threads may call them.
 */
#ifndef REGCORE_H
#define REGCORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RC_API_VERSION 1

typedef enum {
    RC_OK = 0,
    RC_ERROR_ARGUMENT,   /* rc_error.argument breaks a rule */
    RC_ERROR_NOT_FINITE, /* a NaN or an infinity in rc_error.argument at (row, column) */
    RC_ERROR_OVERFLOW,   /* finite inputs, but a score beyond the compute type */
    RC_ERROR_MEMORY,
    RC_INTERRUPTED /* rc_control.poll asked to stop */
} rc_status;

typedef enum {
    RC_FLOAT32,
    RC_FLOAT64,
    RC_FLOAT16,
    RC_UINT8,
    RC_INT8,
    RC_INT16,
    RC_UINT16,
    RC_INT32,
    RC_UINT32,
    RC_INT64,
    RC_UINT64
} rc_dtype;

typedef enum { RC_CROSS_ENTROPY, RC_HINGE, RC_SQUARED_HINGE, RC_CRAMMER_SINGER, RC_N_LOSSES } rc_loss;

/* What went wrong, in the terms of the argument; message is a static string. */
typedef struct {
    const char *argument;
    const char *message;
    int64_t row, column; /* -1 where they say nothing */
    double value;
} rc_error;

/* A strided array of `n` numbers; data = NULL: absent. The stride is in bytes. */
typedef struct {
    const void *data;
    rc_dtype dtype;
    int64_t stride;
} rc_vector;

/* X: dense with any strides (bytes), or CSR (indices != NULL; row_stride and column_stride unused). */
typedef struct {
    const void *data;
    rc_dtype dtype;
    int64_t n_rows, n_columns;
    int64_t row_stride, column_stride;
    const void *indices, *indptr;
    rc_dtype index_dtype; /* RC_INT32 or RC_INT64, of indices and indptr alike */
    int64_t nnz;          /* length of data and indices */
} rc_matrix;

/* Probabilities of the classes for each row: floats of any strides (bytes); data = NULL: absent. */
typedef struct {
    const void *data;
    rc_dtype dtype; /* RC_FLOAT32 or RC_FLOAT64 */
    int64_t row_stride, column_stride;
} rc_targets;

/* Penalty R(W) = l1 sum|W| + l2 sum W^2 + group sum_features ||W[:, feature]||_2 */
typedef struct {
    double l1, l2, group;
} rc_penalty;

typedef struct {
    rc_matrix X;
    rc_vector y;                  /* integers in [0, max(n_classes, 2)); NULL: scores only, or targets */
    rc_targets targets;           /* (n_rows, max(n_classes, 2)) in the place of y; for cross_entropy */
    double label_smoothing;       /* e in [0, 1): targets (1 - e) t + e / max(n_classes, 2); for cross_entropy */
    rc_vector weights;            /* RC_FLOAT32 or RC_FLOAT64; NULL: all 1 */
    int64_t weights_model_stride; /* bytes between the weights of two models; 0: shared */
    const int32_t *weights_of;    /* (M,): whose weights each model has; NULL: model m has the m-th */
    int is_stack;                 /* a model's bits must not depend on how many others there are (dense X) */
    rc_loss loss;
    int64_t n_classes; /* rows of W; 1: binary form */
    int64_t n_models;  /* M; 1 unless a stack */
} rc_problem;

/* The rows of an evaluation: n of them, start + i*step, or index[i]. */
typedef struct {
    const int64_t *index;
    int64_t start, step, n;
} rc_rows;

/* Memory kept from one call to the next, so that the pages of a large one are not made anew each time. Two calls at
 * once are safe: the second one allocates its own. */
typedef struct rc_workspace rc_workspace;
rc_workspace *rc_workspace_new(void); /* NULL: no memory */
void rc_workspace_free(rc_workspace *workspace);

typedef struct {
    int n_threads;       /* at most; the work decides whether they are woken */
    int (*poll)(void *); /* called now and then by the calling thread; non-zero: stop. NULL: never */
    void *poll_context;
    rc_workspace *workspace; /* NULL: none is kept */
} rc_control;

/* Parameters, all C-contiguous and of the compute type `real` (RC_FLOAT32 or RC_FLOAT64). */
typedef struct {
    rc_dtype real;
    const void *W;                /* (M, C, D) */
    const void *b;                /* (M, C) or NULL: no intercept */
    const double *center, *scale; /* (D,): features are (x - center) / scale; NULL: as they are */
    rc_penalty penalty;           /* added to value and gradient */
    const double *weight_sums;    /* (M,): sum of the weights over the rows; NULL: computed */
} rc_parameters;

/* Outputs of rc_evaluate; NULL: not wanted. */
typedef struct {
    double *value; /* (M,) */
    void *grad_W;  /* (M, C, D) of `real` */
    void *grad_b;  /* (M, C) of `real` */
} rc_gradient;

/* Outputs of rc_predict, by row; NULL: not wanted. Row strides in bytes, unit column stride. */
typedef struct {
    void *scores; /* (n, M*C) of `real` */
    int64_t scores_stride;
    void *probabilities; /* (n, M*max(C, 2)) of `real` */
    int64_t probabilities_stride;
    int64_t *labels; /* (n, M) */
} rc_prediction;

/* Checks what a problem says of its arrays: pointers, shapes, types, labels, weights, CSR structure. One pass over y,
 * weights and indices; the values of X are checked by the evaluation that reads them. */
rc_status rc_check_problem(const rc_problem *problem, rc_error *error);

rc_status rc_evaluate(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                      const rc_control *control, rc_gradient *out, rc_error *error);

/*
 * Dual points, for certificates.  For any u_i in the domain of the loss's convex conjugate loss*, the objective is
 * nowhere below
 *
 *     -(1/sum w) sum_i w_i loss*(y_i, u_i) - R*(-V),   V = (1/sum w) sum_i w_i u_i x_i^T
 *
 * provided that (1/sum w) sum_i w_i u_i = 0 where there is an intercept.  u_i has one number a row of W.  The point
 * that rc_conjugate means is made from a first one, v_i, by what its class y = y_i has to give to other classes:
 *
 *     u_ij = shrink v_ij + lose_y gain_j   for j != y,   u_iy = shrink v_iy - lose_y sum_j gain_j
 *
 * (binary form: the same of two classes, of which u_i is the second one's).
 */
typedef struct {
    const void *u;        /* v: (N, M*C) of `real`, with unit column stride, by rows of X; each is moved into the domain
                           * (below 0: 0, above a bound: the bound, u_iy from the others). NULL: the slopes at W and b */
    int64_t u_stride;     /* bytes from a row to the next */
    const double *shrink; /* (M,), or NULL: 1, and nothing is given */
    const double *lose;   /* (M, max(C, 2)) */
    const double *gain;   /* (M, max(C, 2)), 0 where lose is not */
} rc_dual_point;

/* value[m] = (1/sum w) sum_i w_i loss*(y_i, u_i); parameters->penalty is ignored. One pass over X, or none if u is
 * given. */
rc_status rc_conjugate(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                       const rc_control *control, const rc_dual_point *point, double *value, rc_error *error);

/* V into grad_W and (1/sum w) sum_i w_i u_i into grad_b, with u as in rc_dual_point; NULL: u_i is 1 at y_i and else 0,
 * so that V holds the sums of the classes. Of `parameters`, W, b and the penalty are ignored. */
rc_status rc_adjoint(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                     const rc_control *control, const void *u, int64_t u_stride, rc_gradient *out, rc_error *error);

rc_status rc_predict(const rc_problem *problem, const rc_rows *rows, const rc_parameters *parameters,
                     const rc_control *control, rc_prediction *out, rc_error *error);

/* Column means and standard deviations of X (population, ddof 0), weighted by problem->weights if there are any.
 * CSR: zeros count. mean, scale: (D,) */
rc_status rc_column_statistics(const rc_problem *problem, const rc_control *control, double *mean, double *scale,
                               rc_error *error);

/* Penalties on W of shape (n_models, n_classes, n_features), C-contiguous; out may be W. */
rc_status rc_penalty_value(rc_dtype real, const void *W, int64_t n_models, int64_t n_classes, int64_t n_features,
                           const rc_penalty *penalty, double *value);
rc_status rc_penalty_gradient(rc_dtype real, const void *W, int64_t n_models, int64_t n_classes, int64_t n_features,
                              const rc_penalty *penalty, void *out);
/* argmin_V 1/2 ||V - W||^2 + step R(V) */
rc_status rc_penalty_prox(rc_dtype real, const void *W, int64_t n_models, int64_t n_classes, int64_t n_features,
                          const rc_penalty *penalty, double step, void *out);

/*
 * Small dense matrices, for models of the curvature: C-contiguous, of type `real`, and trusted.  Their scratch is less
 * than 600 kB a thread, for rc_cholesky_solve 8 K reals, for rc_cholesky_blocks 64 K reals a thread or for each of at
 * most 4 n_threads matrices.  Outputs must not overlap inputs; after a status that is not RC_OK they are void.
 */
/* out[b] += Z^T diag(H[:, b]) Z.  Z (n, K), H (n, B) of weights, out (B, K, K): symmetric, before and after. */
rc_status rc_gram_blocks(rc_dtype real, const void *Z, const double *H, int64_t n, int64_t K, int64_t B,
                         const rc_control *control, void *out, rc_error *error);
/* out[b] = L, L L^T = A[b] + diag(extra[b]), of which the lower triangles are read; zeros above.  A (B, K, K),
 * extra (B, K) or NULL.  definite[b] = 0: the matrix is not positive definite to working precision, and out[b] void. */
rc_status rc_cholesky_blocks(rc_dtype real, const void *A, const double *extra, int64_t B, int64_t K,
                             const rc_control *control, void *out, uint8_t *definite, rc_error *error);
/* out[i] = (L L^T)^-1 r[i] with L[i], or with one L for all.  L (B, K, K), lower; r and out (n, K); B = n or 1. */
rc_status rc_cholesky_solve(rc_dtype real, const void *L, int64_t B, int64_t K, const double *r, int64_t n,
                            const rc_control *control, double *out, rc_error *error);

/*
 * From w, the minimum of g . d + 1/2 d . H d + l1 sum |w + d| + l2 sum (w + d)^2 over w + d, which replaces w; the
 * penalty is of the first n_weights of the n numbers alone.  H (n, n), symmetric.  enough: the largest H_jj d_j^2 of a
 * sweep at which sweeps end.  is_definite = 0: H is not positive definite to working precision, and w is void.
 */
rc_status rc_minimise_quadratic(const double *H, int64_t n, int64_t n_weights, const double *g, double l1, double l2,
                                double enough, double *w, int *is_definite, rc_error *error);

/*
 * The pairs of a quasi-Newton method, oldest first: steps s and the changes y of the gradient along them, vectors of n
 * doubles.  With `bend` a change is y + bend s; with `free`, of ones and zeros, only the coordinates at the ones count.
 * At most one of the two is not NULL.  One thread: a pair takes microseconds.
 */
typedef struct {
    const double *const *steps;
    const double *const *changes;
    int64_t n_pairs;
    int64_t n;
    const double *bend;
    const double *free;
} rc_pairs;
/* r = the product of the updates' transposes with r; products (n_pairs,) and shares (n_pairs,) are for the way up.  A
 * product <s, y> too small beside |s| |y| to tell a curvature is 0, and its pair left out. */
void rc_pairs_down(const rc_pairs *pairs, double *r, double *products, double *shares);
/* z = the product of the updates with z, to which the caller applied the matrix that they update */
void rc_pairs_up(const rc_pairs *pairs, const double *products, const double *shares, double *z);

/*
 * Mini-batch proximal stochastic gradient descent, an epoch a call.  Step t = 0, 1, ... on a batch B of the shuffled
 * rows:
 *
 *     eta = eta0 (1 + rate t)^-power,  share = |B| / batch_size  (less than 1 for an epoch's last batch)
 *     V = momentum V + share * mean gradient over B,  W = prox_{eta share R}(W - eta V),  b = b - eta intercept_rate
 * V_b
 *
 * with the weights scaled to a mean of 1 over all rows.  One thread; the bits depend on the seed alone.  On CSR a step
 * without momentum costs the nonzeros of its batch, whatever the penalty.
 */
typedef struct rc_sgd rc_sgd;

typedef struct {
    rc_dtype real;
    rc_penalty penalty;           /* l1 or group, not both */
    const double *center, *scale; /* as in rc_parameters; borrowed. Dense X only */
    int64_t batch_size;
    double eta0, rate, power;
    double momentum;       /* in [0, 1) */
    double intercept_rate; /* 0: no intercept */
    double dropout;        /* probability that a feature of a sample is 0 for a step, the others / (1 - dropout) */
    int64_t average_from;  /* W and b of the steps from this one on are averaged; negative: never */
    uint64_t seed;         /* order of the rows, dropout */
} rc_sgd_options;

/* Borrows the problem's arrays; W (C, D) and b (C,) or NULL (zeros) are copied. One model. */
rc_status rc_sgd_create(const rc_problem *problem, const rc_sgd_options *options, const void *W, const void *b,
                        rc_sgd **sgd, rc_error *error);
void rc_sgd_free(rc_sgd *sgd);
/* value: mean loss of the samples, each as its batch met it, + R(W) at the end. An interrupted epoch is not resumed;
 * what it has done so far counts. */
rc_status rc_sgd_epoch(rc_sgd *sgd, const rc_control *control, double *value, rc_error *error);
/* Changes eta0 for the steps to come. */
void rc_sgd_set_eta0(rc_sgd *sgd, double eta0);
/* The parameters, or their average (the parameters if nothing has been averaged yet); b may be NULL. */
void rc_sgd_parameters(rc_sgd *sgd, int averaged, void *W, void *b);

/* What one epoch hands on to the next, besides the options: an rc_sgd made from the same problem and options that is
 * given the state of another one goes on as that would, bit for bit. */
typedef struct {
    void *W, *b;        /* (C, D) and (C,) of `real` */
    void *V;            /* (C, D) of `real`, the velocity; untouched without momentum */
    double *V_b;        /* (C,) */
    double *sum;        /* (C, D), of the averaged steps; untouched without averages */
    double *sum_b;      /* (C,) */
    int64_t epoch, t;   /* how many there have been, of epochs and of steps */
    int64_t n_averaged; /* steps in `sum` */
} rc_sgd_state;
void rc_sgd_get_state(const rc_sgd *sgd, rc_sgd_state *state);
void rc_sgd_set_state(rc_sgd *sgd, const rc_sgd_state *state);

/* Curvature of the data, from at most n_rows random rows x (standardised, times the square roots of the weights): the
 * largest eigenvalue of mean x x^T by power iteration, and the mean and the largest of ||x||^2. */
rc_status rc_sgd_curvature(const rc_problem *problem, const double *center, const double *scale, uint64_t seed,
                           int64_t n_rows, double curvature[3], rc_error *error);

/*
 * Dual coordinate ascent for the hinges and cross_entropy, an epoch a call: the dual of the objective around a centre,
 *
 *     sum_i w_i loss_i / sum w + R(W) + ||W - W_c||^2 / (2 step) + ||b - b_c||^2 / (2 intercept_step),
 *
 * in the slopes g_i of the samples' losses in their scores.  One thread, or two on large CSR matrices; the bits depend
 * on the seed alone.
 */
typedef struct rc_dual rc_dual;

typedef struct {
    rc_dtype real;
    rc_penalty penalty;           /* l1 or group, not both */
    const double *center, *scale; /* as in rc_parameters; borrowed. CSR: scale only */
    int proximal;                 /* whether W has a centre; without one the penalty must have an L2 part */
    const double *metric;         /* (D,): the step of W is step * metric. NULL: ones. Borrowed; only without L2 part */
    uint64_t seed;                /* order of the samples */
} rc_dual_options;

/* Borrows the problem's arrays; starts at slopes of 0, with no intercept. One model; any loss but
 * RC_SQUARED_HINGE, of labels. */
rc_status rc_dual_create(const rc_problem *problem, const rc_dual_options *options, const rc_control *control,
                         rc_dual **dual, rc_error *error);
void rc_dual_free(rc_dual *dual);
/* Moves the centre, of W (C, D) of `real` and of b (C,) or NULL (zeros); intercept_step = 0: no intercept. */
void rc_dual_set_centre(rc_dual *dual, const void *W, const double *b, double step, double intercept_step);
/* Moves the centre n_centres times to W and b, after n_epochs each.  An epoch visits the samples that are awake;
 * n_visits: all of them.  gap: an estimate, from the last epoch, of the duality gap of the problem around its centre,
 * summed over the samples as they were met. An interrupted run leaves a valid state. */
rc_status rc_dual_run(rc_dual *dual, const rc_control *control, int64_t n_centres, int64_t n_epochs, double *gap,
                      int64_t *n_visits, rc_error *error);
/* Computes the weights anew from the slopes, in double, and what a certificate needs: V = sum_i w_i g_i x_i^T (C, D) or
 * NULL, residual = sum_i w_i g_i (C,), linear = sum_i w_i sum_{j != y_i} g_ij, and the largest inner sum of a sample,
 * with w scaled to a sum of 1.  X is standardised in it. */
rc_status rc_dual_refresh(rc_dual *dual, const rc_control *control, double *V, double *residual, double *linear,
                          double *largest, rc_error *error);
/* shares (C,) of the weights that each label has, and the sums sum_{i: y_i = c} w_i x_i (C, D); two labels if C = 1 */
rc_status rc_dual_class_sums(rc_dual *dual, const rc_control *control, double *shares, double *sums, rc_error *error);
/* W (C, D) of `real` and b (C,) as the slopes have them, or the average of the last run's centres */
void rc_dual_parameters(const rc_dual *dual, int averaged, void *W, double *b);
/* What a certificate hands on to the epochs that follow; arrays of the caller's. */
typedef struct {
    void *slopes;             /* (n_rows, C) of `real` */
    void *centre;             /* (C, D) of `real`: centre / step; zeros without a centre */
    void *A;                  /* (C, D) of `real`: centre / step - V */
    double *centre_b;         /* (C,) */
    double *residual;         /* (C,) */
    uint8_t *wait, *patience; /* (n_rows,) */
    double curvature, inverse_step, intercept, spread;
    int64_t epoch;
} rc_dual_state;
void rc_dual_get_state(const rc_dual *dual, rc_dual_state *state);
/* Goes on from such a state; if its slopes were changed, an rc_dual_refresh is to follow. */
void rc_dual_set_state(rc_dual *dual, const rc_dual_state *state);
/* The slopes alone, (n_rows, C) of `real` */
void rc_dual_slopes(const rc_dual *dual, void *slopes);

/*
 * Proximal Newton steps for the smooth losses on a working set of columns, by coordinate descent; see coordinate.c.
 * The columns are copied.  One thread.
 */
typedef struct rc_coordinate rc_coordinate;

typedef struct {
    rc_dtype real;                /* of the copied columns */
    const double *center, *scale; /* as in rc_parameters; borrowed */
    int intercept;                /* whether there is one */
} rc_coordinate_options;

/* The weights that take part in a step: of class c, those of columns[starts[c]] .. columns[starts[c + 1] - 1], in the
 * order in which the columns were added; with a group penalty whole columns, columns[starts[0]] .. columns[starts[1] -
 * 1].  All others must be zero. */
typedef struct {
    const int64_t *columns, *starts;
    rc_penalty penalty;         /* l1 or group, not both */
    double reduction;           /* of the steps of the first sweep, at which sweeps end */
    int64_t max_sweeps;         /* >= 1, of a step */
    int64_t max_steps;          /* >= 1 */
    double violation, residual; /* where a step met no more than these it is the last */
} rc_coordinate_work;

typedef struct {
    double loss, penalty;       /* where the step has led to */
    double violation, residual; /* largest slopes that the first sweep met: of weights less what the penalty allows; of
                                 * intercepts */
    double share;               /* of the direction that was taken; 0: the objective does not fall along it */
    int64_t n_sweeps, n_steps;
    double numbers; /* of the columns, as often as they were visited */
} rc_coordinate_progress;

/* What the next step needs; arrays of the caller's */
typedef struct {
    double *scores; /* (C, n_samples) */
    double *W;      /* (n_columns, C) */
    double *b;      /* (C,) of the columns as they are held */
} rc_coordinate_state;

/* Borrows the problem's arrays.  One model, RC_CROSS_ENTROPY or RC_SQUARED_HINGE; without columns yet. */
rc_status rc_coordinate_create(const rc_problem *problem, const rc_coordinate_options *options, rc_coordinate **out,
                               rc_error *error);
void rc_coordinate_free(rc_coordinate *coordinate);
/* Adds columns of X, with weights of zero; those that are there stay where they are.  After an error or an interrupt
 * none has been added. */
rc_status rc_coordinate_add(rc_coordinate *coordinate, const int64_t *features, int64_t n, const rc_control *control,
                            rc_error *error);
int64_t rc_coordinate_n_columns(const rc_coordinate *coordinate);
int64_t rc_coordinate_n_samples(const rc_coordinate *coordinate); /* with a weight */
/* Weights (n_columns, C) and intercepts (C,) of the standardised features, and the mean loss there */
rc_status rc_coordinate_set(rc_coordinate *coordinate, const double *W, const double *b, double *loss, rc_error *error);
void rc_coordinate_get(const rc_coordinate *coordinate, double *W, double *b);
/* Steps, of which `progress` tells the last, with the sweeps of all.  After an interrupt the point is what it was
 * before the step that was under way. */
rc_status rc_coordinate_step(rc_coordinate *coordinate, const rc_coordinate_work *work, const rc_control *control,
                             rc_coordinate_progress *progress, rc_error *error);
/* The slopes of the data term in all weights, by a pass over X, for what follows.  Where all weights are zero and the
 * loss is cross_entropy, from the sums of the classes (n_labels, n_features) of `real`: see rc_adjoint without u. */
rc_status rc_coordinate_look(rc_coordinate *coordinate, const rc_control *control, rc_error *error);
rc_status rc_coordinate_look_at_zero(rc_coordinate *coordinate, const void *class_sums, rc_error *error);
/* They, (C, n_features) and (C,) of `real` */
void rc_coordinate_gradient(const rc_coordinate *coordinate, void *V, void *r);
/* An upper bound of value less the minimum, by those slopes; the sums of the classes and their shares of the weights,
 * (n_labels,), are needed with an intercept alone. */
rc_status rc_coordinate_gap(rc_coordinate *coordinate, const rc_penalty *penalty, double value, const void *class_sums,
                            const double *shares, double *gap, rc_error *error);
/* Lists for the next steps the weights that are not zero and, of those whose slopes lie beyond (1 - margin) times the
 * penalty's strength, the foremost: at most `most`, or as many as are not zero.  Their columns are added.  outside: by
 * which part of the strength the largest slope exceeds it. */
rc_status rc_coordinate_choose(rc_coordinate *coordinate, const rc_penalty *penalty, double margin, int64_t most,
                               const rc_control *control, double *outside, int64_t *n_listed, rc_error *error);
/* The list, as rc_coordinate_work wants it; NULL: there is none */
void rc_coordinate_list(const rc_coordinate *coordinate, const int64_t **columns, const int64_t **starts);
const int64_t *rc_coordinate_features(const rc_coordinate *coordinate); /* (n_columns,) */
/* Rounds weights and intercepts to `real`, and evaluates there. */
rc_status rc_coordinate_settle(rc_coordinate *coordinate, const rc_penalty *penalty, double *value, rc_error *error);
/* Writes the weights of the columns into W (C, n_features), and b (C,) or NULL, of `real`. */
void rc_coordinate_write(const rc_coordinate *coordinate, void *W, void *b);
/* Slopes of the losses in the scores, (n_rows, C) of `real`; 0 for samples without a weight */
void rc_coordinate_slopes(const rc_coordinate *coordinate, void *u);
void rc_coordinate_get_state(const rc_coordinate *coordinate, rc_coordinate_state *state);
rc_status rc_coordinate_set_state(rc_coordinate *coordinate, const rc_coordinate_state *state, rc_error *error);

/*
 * Counts of pixels by colour: `bins` equal parts of hue [0, 180), saturation [0, 256) and value [0, 256), value's
 * fastest, into counts (bins[0] * bins[1] * bins[2]).  A pixel is four bytes: red, green, blue, and one that is not
 * read.  One thread.
 */
rc_status rc_colour_counts(const unsigned char *pixels, int64_t n, const int32_t bins[3], int64_t *counts,
                           rc_error *error);

/* The machine's limits at the active level: sequential reads, and multiply-adds (two operations each). About a second.
 */
rc_status rc_measure_limits(rc_dtype real, int n_threads, double *bytes_per_second, double *flops_per_second);

/* CPU levels */
const char *rc_isa_active(void);
int rc_isa_available(const char *names[], int capacity); /* best first; returns how many */
rc_status rc_isa_select(const char *name);               /* NULL: the best. Not while other calls run */
int rc_has_openmp(void);
const char *rc_threading(void);
int rc_default_threads(void);
const char *rc_status_message(rc_status status);

#ifdef __cplusplus
}
#endif
#endif
