/*
 * Proximal Newton steps on a working set of weights, each by coordinate descent on a quadratic model.
 *
 * At scores S the loss has the slopes g and the curvature H of the samples' losses in their scores (of all classes at
 * once, not of each class by itself).  A step minimises
 *
 *     g . dS + 1/2 dS . H dS + R(W + dW),   dS = dW X' + db
 *
 * over the weights of the working set and b, a weight (or, with a group penalty, the weights of a feature) at a time,
 * and then goes along the direction as far as the objective itself falls (Friedman, Hastie and Tibshirani,
 * "Regularization paths for generalized linear models via coordinate descent", Journal of Statistical Software 33,
 * 2010; Yuan, Ho and Lin, "An improved GLMNET for L1-regularized logistic regression", JMLR 13, 2012).  The first sweep
 * visits the whole working set, the others the weights that are not zero.  After every few sweeps the iterates are
 * extrapolated (Bertrand and Massias, "Anderson acceleration of coordinate descent", AISTATS 2021), and the result is
 * taken if it lowers the model.
 *
 * The columns of the working set are copied out of X, standardised: dense ones to whole vectors, with an intercept
 * centered to their mean besides, which b makes up for; of CSR the nonzeros, with their mean left to b, or, of a column
 * that has many, a dense copy as well.  Samples of
 * weight zero are left out.  One thread.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "descent.h"

enum {
    GATHERED_ROWS = 256, /* rows of a dense X whose columns are copied together */
    MOST_HALVINGS = 40,
    MOST_NORM_STEPS = 50,
    DENSE_SHARE = 6, /* a column of CSR with more than this part of the samples is as fast dense, and can be centered */
    ALIGNMENT = 64
};
#define ARMIJO 0.01
#define ROUNDING 1e-14        /* of an objective */
#define GRAM_REDUCTION 1e-10  /* as the squared reduction of a step's moves, where they cost little */
#define LONGEST_MOVE 1e3      /* of the scores, by a step in one weight: root mean square */
#define LEAST_SPREAD_32 1e-12 /* variance of a centered column against its mean square: below, it is constant */
#define LEAST_SPREAD_64 1e-26
#define EXTRAPOLATION_SHIFT 1e-15

/* ---------------------------------------------------------------- the loss and its model */

/* Loss of a (C, ld) array of scores, which become weighted slopes; NaN if a score is not finite */
static double loss_of(const rc_coordinate *s, double *scores)
{
    const rc_kernels *k = s->wide;
    const rc_loss loss = s->problem.loss;
    double check = 0, value;
    if (s->is_soft)
        value = (s->C == 1 ? k->soft_binary_loss : k->soft_loss)(scores, s->ld, s->C, s->ld, s->targets, s->ld,
                                                                 s->weight, &check);
    else
        value = (s->C == 1 ? k->binary_loss : k->loss)[loss](scores, s->ld, s->C, s->ld, s->label, s->weight, &check);
    return check == 0 ? value : NAN;
}

/* Curvature of one output: of the cross entropy by p = slope / weight + target, so that 1 - p keeps its digits. */
static void model_of_one(rc_coordinate *s)
{
    for (int64_t i = 0; i < s->ld; i++) {
        const double w = s->weight[i];
        if (s->problem.loss == RC_SQUARED_HINGE) {
            const double z = s->label[i] != 0 ? s->scores[i] : -s->scores[i];
            s->curvature[i] = z < 1 ? 2 * w : 0;
        } else {
            const double slope = s->gradient[i] * s->inverse[i];
            const double target = s->is_soft ? s->targets[s->ld + i] : s->label[i];
            const double p = slope + target, rest = 1 - target - slope;
            s->curvature[i] = p > 0 && rest > 0 ? w * p * rest : 0;
        }
    }
}

static void model_of_cross_entropy(rc_coordinate *s)
{
    const int64_t ld = s->ld;
    for (int64_t c = 0; c < s->C; c++) {
        double *p = s->share + c * ld, *q = s->curvature + c * ld;
        const double *g = s->gradient + c * ld, *t = s->is_soft ? s->targets + c * ld : s->own + c * ld;
        for (int64_t i = 0; i < ld; i++) {
            const double x = g[i] * s->inverse[i] + t[i];
            p[i] = x < 0 ? 0 : x > 1 ? 1 : x;
            q[i] = s->weight[i] * p[i];
        }
    }
}

static void model_of_squared_hinge(rc_coordinate *s)
{
    const int64_t ld = s->ld;
    double *violated = s->trial; /* by class: 2 weight */
    for (int64_t i = 0; i < ld; i++) violated[i] = 0;
    for (int64_t c = 0; c < s->C; c++)
        for (int64_t i = 0; i < ld; i++) {
            const double own = s->scores[(int64_t)s->label[i] * ld + i], e = s->own[c * ld + i];
            const double h = e == 0 && s->scores[c * ld + i] + 1 > own ? 2 * s->weight[i] : 0;
            s->share[c * ld + i] = s->curvature[c * ld + i] = h;
            violated[i] += h;
        }
    for (int64_t c = 0; c < s->C; c++)
        for (int64_t i = 0; i < ld; i++)
            if (s->own[c * ld + i] != 0) s->curvature[c * ld + i] = violated[i];
}

/* The quadratic model at the scores, with nothing moved yet */
static void make_model(rc_coordinate *s)
{
    const size_t all = (size_t)(s->C * s->ld) * sizeof(double);
    if (s->form == RC_ONE_OUTPUT_MODEL)
        model_of_one(s);
    else if (s->form == RC_CROSS_ENTROPY_MODEL)
        model_of_cross_entropy(s);
    else
        model_of_squared_hinge(s);
    memcpy(s->slope, s->gradient, all);
    memset(s->change, 0, all);
    memset(s->mean, 0, (size_t)s->ld * sizeof(double));
    memset(s->pull, 0, (size_t)s->ld * sizeof(double));
}

/* What the change of the scores adds to the loss, by the model: the mean of the slopes before and after, times it */
static double model_change(const rc_coordinate *s)
{
    double sum = 0;
    for (int64_t c = 0; c < s->C; c++) {
        const rc_model_class q = model_class(s, c);
        const double *g = s->gradient + c * s->ld;
        double part = 0;
        for (int64_t i = 0; i < s->ld; i++) {
            double v = q.slope[i];
            if (s->form == RC_CROSS_ENTROPY_MODEL) v -= q.share[i] * q.mean[i];
            if (s->form == RC_SQUARED_HINGE_MODEL) v -= q.share[i] * q.mean[i] + q.own[i] * q.pull[i];
            part += (g[i] + v) * q.change[i];
        }
        sum += part / 2;
    }
    return sum;
}

/* ---------------------------------------------------------------- the working set's penalty */

static double penalty_of(const rc_coordinate *s, const step *t, double share)
{
    const rc_penalty *r = &t->todo->penalty;
    const int64_t *starts = t->todo->starts;
    double absolute = 0, square = 0, norms = 0;
    for (int64_t list = 0; list < (t->in_groups ? 1 : s->C); list++)
        for (int64_t j = starts[list]; j < starts[list + 1]; j++) {
            double norm = 0;
            for (int64_t g = 0; g < (t->in_groups ? s->C : 1); g++) {
                const int64_t c = t->in_groups ? g : list, at = t->in_groups ? j * s->C + g : j;
                const double w = t->old[at] + share * (*weight_at(s, t->todo->columns[j], c) - t->old[at]);
                absolute += fabs(w);
                norm += w * w;
            }
            square += norm;
            norms += sqrt(norm);
        }
    return (r->l1 != 0 ? r->l1 * absolute : 0) + (r->l2 != 0 ? r->l2 * square : 0) +
           (r->group != 0 ? r->group * norms : 0);
}

/* ---------------------------------------------------------------- sweeps */

static void move(rc_coordinate *s, const rc_column *x, const rc_model_class *q, double *w, double to)
{
    s->k->column_step(x, q, to - *w);
    *w = to;
}

/* A curvature for which a step is not absurdly long: the model has none where all samples are far from the others */
static double bounded_below(double curvature, double slope, double square)
{
    const double least = fabs(slope) * sqrt(square) / LONGEST_MOVE;
    const double bounded = curvature > least ? curvature : least;
    return bounded > 0 ? bounded : 1;
}

static void visit_intercept(rc_coordinate *s, step *t, int64_t c, int first)
{
    if (!s->options.intercept) return;
    const rc_model_class q = model_class(s, c);
    const double slope = s->k->column_slope(&s->ones, &q, first ? &s->curvature_b[c] : NULL);
    if (first) s->curvature_b[c] = bounded_below(s->curvature_b[c], slope, s->ones_square);
    const double delta = -slope / s->curvature_b[c];
    t->residual = larger(t->residual, fabs(slope));
    t->moved = larger(t->moved, -slope * delta);
    if (delta != 0) move(s, &s->ones, &q, &s->b[c], s->b[c] + delta);
}

/* How far the least subgradient along a weight is from zero */
static double violation_of(double slope, double w, double l1)
{
    return w > 0 ? fabs(slope + l1) : w < 0 ? fabs(slope - l1) : larger(fabs(slope) - l1, 0);
}

/* The same of all weights of a feature */
static double group_violation(const double *slopes, const double *w, int64_t C, double group)
{
    double norm = 0, square = 0, violation = 0;
    for (int64_t c = 0; c < C; c++) {
        norm += w[c] * w[c];
        square += slopes[c] * slopes[c];
    }
    if (norm == 0) return larger(sqrt(square) - group, 0);
    norm = sqrt(norm);
    for (int64_t c = 0; c < C; c++) {
        const double g = slopes[c] + group * w[c] / norm;
        violation += g * g;
    }
    return sqrt(violation);
}

/* The weight of class c in column j of the list: the least of the model along it, exactly */
static void visit(rc_coordinate *s, step *t, const rc_model_class *q, int64_t c, int64_t j, int first)
{
    const int64_t column = t->todo->columns[j];
    const double l1 = t->todo->penalty.l1, l2 = t->todo->penalty.l2;
    const rc_column *x = &s->columns[column];
    double *w = weight_at(s, column, c);
    if (first) t->old[j] = *w;
    if (s->square[column] == 0) {
        if (*w != 0) *w = 0;
        return;
    }
    const double slope = s->k->column_slope(x, q, first ? &t->curvature[j] : NULL) + 2 * l2 * *w;
    if (first) t->curvature[j] = bounded_below(t->curvature[j], slope, s->square[column]) + 2 * l2;
    const double h = t->curvature[j], aim = h * *w - slope;
    const double to = aim > l1 ? (aim - l1) / h : aim < -l1 ? (aim + l1) / h : 0;
    t->violation = larger(t->violation, violation_of(slope, *w, l1));
    t->moved = larger(t->moved, h * (to - *w) * (to - *w));
    if (to != *w) move(s, x, q, w, to);
}

/* The r for which sum_c (aim_c / (h_c r + group))^2 = 1, the norm of the minimiser; 0 where it is zero */
static double group_norm(const double *aim, const double *h, int64_t C, double group)
{
    double square = 0, r = 0;
    for (int64_t c = 0; c < C; c++) square += aim[c] * aim[c];
    if (square <= group * group) return 0;
    for (int i = 0; i < MOST_NORM_STEPS; i++) { /* convex and falling: Newton's steps stay on its left */
        double value = -1, slope = 0;
        for (int64_t c = 0; c < C; c++) {
            const double part = aim[c] / (h[c] * r + group);
            value += part * part;
            slope -= 2 * part * part * h[c] / (h[c] * r + group);
        }
        const double next = r - value / slope;
        if (!(next > r * (1 + 1e-15))) break;
        r = next;
    }
    return r;
}

/* All weights of a feature: the model with twice its diagonal, which bounds it (its rows sum to zero) */
static void visit_group(rc_coordinate *s, step *t, int64_t j, int first)
{
    const int64_t column = t->todo->columns[j], C = s->C;
    const double group = t->todo->penalty.group, l2 = t->todo->penalty.l2;
    const rc_column *x = &s->columns[column];
    double *w = weight_at(s, column, 0), *h = t->curvature + j * C, *old = t->old + j * C;
    for (int64_t c = 0; c < C && first; c++) old[c] = w[c];
    if (s->square[column] == 0) {
        for (int64_t c = 0; c < C; c++) w[c] = 0;
        return;
    }
    for (int64_t c = 0; c < C; c++) {
        const rc_model_class q = model_class(s, c);
        t->slopes[c] = s->k->column_slope(x, &q, first ? &h[c] : NULL) + 2 * l2 * w[c];
        if (first) h[c] = bounded_below((C > 1 ? 2 : 1) * h[c], t->slopes[c], s->square[column]) + 2 * l2;
        t->curvatures[c] = h[c] * w[c] - t->slopes[c]; /* the aim */
    }
    t->violation = larger(t->violation, group_violation(t->slopes, w, C, group));
    const double r = group_norm(t->curvatures, h, C, group);
    for (int64_t c = 0; c < C; c++) {
        const double to = r > 0 ? t->curvatures[c] * r / (h[c] * r + group) : 0, delta = to - w[c];
        t->moved = larger(t->moved, h[c] * delta * delta);
        if (delta == 0) continue;
        const rc_model_class q = model_class(s, c);
        move(s, x, &q, &w[c], to);
    }
}

/* One visit to every weight that takes part, or, after the first, that is not zero; 1: asked to stop */
static int sweep(rc_coordinate *s, const rc_control *control, step *t, int first)
{
    const int64_t *starts = first ? t->todo->starts : t->active_starts;
    t->violation = t->residual = t->moved = 0;
    for (int64_t c = 0; c < s->C; c++) {
        visit_intercept(s, t, c, first);
        if (t->in_groups) continue;
        const rc_model_class q = model_class(s, c);
        for (int64_t i = starts[c]; i < starts[c + 1]; i++) {
            const int64_t j = first ? i : t->active[i];
            visit(s, t, &q, c, j, first);
            t->numbers += (double)s->columns[t->todo->columns[j]].n;
            if (worked(s, control, (double)s->columns[t->todo->columns[j]].n + 8)) return 1;
        }
    }
    for (int64_t i = t->in_groups ? starts[0] : 0; t->in_groups && i < starts[1]; i++) {
        const int64_t j = first ? i : t->active[i];
        visit_group(s, t, j, first);
        t->numbers += (double)(s->columns[t->todo->columns[j]].n * s->C);
        if (worked(s, control, (double)(s->columns[t->todo->columns[j]].n * 2 + 8) * (double)s->C)) return 1;
    }
    return worked(s, control, (double)(s->ld * s->C));
}

/* The weights that are not zero, for the sweeps to come, and the intercepts */
static void choose_active(rc_coordinate *s, step *t)
{
    const int64_t *starts = t->todo->starts, n_lists = t->in_groups ? 1 : s->C, width = t->in_groups ? s->C : 1;
    int64_t n = 0;
    t->n_moving = 0;
    for (int64_t list = 0; list < n_lists; list++) {
        t->active_starts[list] = n;
        for (int64_t j = starts[list]; j < starts[list + 1]; j++) {
            const int64_t column = t->todo->columns[j], first = t->in_groups ? 0 : list;
            double *w = weight_at(s, column, first);
            int is_active = 0;
            for (int64_t g = 0; g < width; g++) is_active |= w[g] != 0;
            if (!is_active) continue;
            t->active[n++] = j;
            for (int64_t g = 0; g < width; g++)
                t->moving[t->n_moving++] = (moving){&s->columns[column], w + g, first + g, t->curvature[j * width + g]};
        }
    }
    t->active_starts[n_lists] = n;
    for (int64_t c = 0; c < (s->options.intercept ? s->C : 0); c++)
        t->moving[t->n_moving++] = (moving){&s->ones, &s->b[c], c, s->curvature_b[c]};
}

/* ---------------------------------------------------------------- extrapolation */

static void remember(step *t, int64_t row)
{
    for (int64_t i = 0; i < t->n_moving; i++) t->history[row * t->n_moving + i] = *t->moving[i].w;
}

static void move_all(rc_coordinate *s, const step *t, const double *to)
{
    for (int64_t i = 0; i < t->n_moving; i++) {
        const moving *m = &t->moving[i];
        if (to[i] == *m->w) continue;
        const rc_model_class q = model_class(s, m->c);
        move(s, m->x, &q, m->w, to[i]);
    }
}

/* Of the weights that move */
static double moving_penalty(const rc_coordinate *s, const step *t)
{
    const rc_penalty *r = &t->todo->penalty;
    const int64_t n = t->n_moving - (s->options.intercept ? s->C : 0), width = t->in_groups ? s->C : 1;
    double absolute = 0, square = 0, norms = 0;
    for (int64_t i = 0; i < n; i += width) {
        double norm = 0;
        for (int64_t g = 0; g < width; g++) {
            const double w = *t->moving[i + g].w;
            absolute += fabs(w);
            norm += w * w;
        }
        square += norm;
        norms += sqrt(norm);
    }
    return (r->l1 != 0 ? r->l1 * absolute : 0) + (r->l2 != 0 ? r->l2 * square : 0) +
           (r->group != 0 ? r->group * norms : 0);
}

/* Solves A z = 1 by elimination with pivots, A (n, n); 0: it is singular */
static int solve_ones(double A[EXTRAPOLATED][EXTRAPOLATED], double *z)
{
    enum { n = EXTRAPOLATED };
    for (int i = 0; i < n; i++) z[i] = 1;
    for (int i = 0; i < n; i++) {
        int pivot = i;
        for (int r = i + 1; r < n; r++)
            if (fabs(A[r][i]) > fabs(A[pivot][i])) pivot = r;
        if (!(fabs(A[pivot][i]) > 0)) return 0;
        for (int c = 0; c < n; c++) {
            const double other = A[i][c];
            A[i][c] = A[pivot][c];
            A[pivot][c] = other;
        }
        const double other = z[i];
        z[i] = z[pivot];
        z[pivot] = other;
        for (int r = i + 1; r < n; r++) {
            const double f = A[r][i] / A[i][i];
            for (int c = i; c < n; c++) A[r][c] -= f * A[i][c];
            z[r] -= f * z[i];
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int c = i + 1; c < n; c++) z[i] -= A[i][c] * z[c];
        z[i] /= A[i][i];
    }
    return 1;
}

/* The point that the last sweeps lead to; taken if the model is lower there. */
static void extrapolate(rc_coordinate *s, step *t)
{
    const int64_t n = t->n_moving;
    double A[EXTRAPOLATED][EXTRAPOLATED], z[EXTRAPOLATED], sum = 0, trace = 0;
    const double *h = t->history;
    for (int a = 0; a < EXTRAPOLATED; a++)
        for (int b = 0; b <= a; b++) {
            double product = 0;
            for (int64_t i = 0; i < n; i++)
                product += (h[(a + 1) * n + i] - h[a * n + i]) * (h[(b + 1) * n + i] - h[b * n + i]);
            A[a][b] = A[b][a] = product;
            trace += a == b ? product : 0;
        }
    for (int a = 0; a < EXTRAPOLATED; a++) A[a][a] += EXTRAPOLATION_SHIFT * trace;
    if (!(trace > 0) || !solve_ones(A, z)) return;
    for (int a = 0; a < EXTRAPOLATED; a++) sum += z[a];
    if (!(fabs(sum) > 0)) return;
    double *to = t->history, *last = t->history + EXTRAPOLATED * n; /* the first row is not needed any more */
    for (int64_t i = 0; i < n; i++) {
        double x = 0;
        for (int a = 0; a < EXTRAPOLATED; a++) x += z[a] / sum * h[(a + 1) * n + i];
        to[i] = isfinite(x) ? x : last[i];
    }
    const double before = model_change(s) + moving_penalty(s, t);
    move_all(s, t, to);
    if (!(model_change(s) + moving_penalty(s, t) < before)) move_all(s, t, last);
}

/* ---------------------------------------------------------------- a step */

static void take_back(rc_coordinate *s, const step *t, double share)
{
    const int64_t *starts = t->todo->starts;
    for (int64_t list = 0; list < (t->in_groups ? 1 : s->C); list++)
        for (int64_t j = starts[list]; j < starts[list + 1]; j++)
            for (int64_t g = 0; g < (t->in_groups ? s->C : 1); g++) {
                const int64_t at = t->in_groups ? j * s->C + g : j;
                double *w = weight_at(s, t->todo->columns[j], t->in_groups ? g : list);
                *w = share == 0 ? t->old[at] : t->old[at] + share * (*w - t->old[at]);
            }
    for (int64_t c = 0; c < s->C; c++)
        s->b[c] = share == 0 ? s->old_b[c] : s->old_b[c] + share * (s->b[c] - s->old_b[c]);
}

/* Goes along the direction until the objective falls; returns the share of it that was taken, 0: none */
static double line_search(rc_coordinate *s, const step *t)
{
    const int64_t n = s->C * s->ld;
    const double before = penalty_of(s, t, 0), whole = penalty_of(s, t, 1);
    double slope = whole - before;
    for (int64_t i = 0; i < n; i++) slope += s->gradient[i] * s->change[i];
    const double rounding = ROUNDING * (fabs(s->value) + before);
    if (!(slope < rounding)) return 0;
    double share = 1;
    for (int i = 0; i < MOST_HALVINGS; i++, share /= 2) {
        for (int64_t j = 0; j < n; j++) s->trial[j] = s->scores[j] + share * s->change[j];
        const double loss = loss_of(s, s->trial);
        const double rise = loss - s->value + penalty_of(s, t, share) - before;
        if (rise <= ARMIJO * share * slope + rounding) {
            for (int64_t j = 0; j < n; j++) s->scores[j] += share * s->change[j];
            double *spent = s->gradient;
            s->gradient = s->trial;
            s->trial = spent;
            s->value = loss;
            return share;
        }
    }
    return 0;
}

static void *carve(char *memory, size_t *used, int64_t n, size_t size)
{
    void *p = memory ? memory + *used : NULL;
    *used += ((size_t)n * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return p;
}

static size_t layout_step(const rc_coordinate *s, step *t, char *memory)
{
    const int64_t C = s->C, n_places = t->todo->starts[t->in_groups ? 1 : C];
    size_t used = 0;
    t->n = t->in_groups ? n_places * C : n_places;
    t->old = carve(memory, &used, t->n, sizeof(double));
    t->curvature = carve(memory, &used, t->n, sizeof(double));
    t->active = carve(memory, &used, n_places, sizeof(int64_t));
    t->moving = carve(memory, &used, t->n + C, sizeof(moving));
    t->active_starts = carve(memory, &used, C + 1, sizeof(int64_t));
    t->slopes = carve(memory, &used, C, sizeof(double));
    t->curvatures = carve(memory, &used, C, sizeof(double));
    t->history = carve(memory, &used, (EXTRAPOLATED + 1) * (t->n + C), sizeof(double));
    return used;
}

/* The largest slopes at the point, of the weights that take part less what the penalty allows, and of intercepts */
static void measure(const rc_coordinate *s, step *t, rc_coordinate_progress *out)
{
    enum { AT_ONCE = 64 };
    const rc_coordinate_work *work = t->todo;
    const rc_column *x[AT_ONCE];
    double slopes[AT_ONCE];
    out->violation = out->residual = 0;
    for (int64_t c = 0; c < (s->options.intercept ? s->C : 0); c++) {
        double sum = 0;
        for (int64_t i = 0; i < s->n_active; i++) sum += s->gradient[c * s->ld + i];
        out->residual = larger(out->residual, fabs(sum));
    }
    for (int64_t c = 0; c < (t->in_groups ? 0 : s->C); c++)
        for (int64_t j = work->starts[c], n; j < work->starts[c + 1]; j += n) {
            n = work->starts[c + 1] - j < AT_ONCE ? work->starts[c + 1] - j : AT_ONCE;
            for (int64_t i = 0; i < n; i++) x[i] = &s->columns[work->columns[j + i]];
            s->k->column_products(x, n, s->gradient + c * s->ld, slopes);
            for (int64_t i = 0; i < n; i++) {
                const int64_t column = work->columns[j + i];
                if (s->square[column] == 0) continue;
                const double w = *weight_at(s, column, c);
                out->violation =
                    larger(out->violation, violation_of(slopes[i] + 2 * work->penalty.l2 * w, w, work->penalty.l1));
                t->numbers += (double)x[i]->n;
            }
        }
    for (int64_t j = work->starts[0]; t->in_groups && j < work->starts[1]; j++) {
        const int64_t column = work->columns[j];
        const double *w = weight_at(s, column, 0);
        if (s->square[column] == 0) continue;
        x[0] = &s->columns[column];
        for (int64_t c = 0; c < s->C; c++) {
            s->k->column_products(x, 1, s->gradient + c * s->ld, &t->slopes[c]);
            t->slopes[c] += 2 * work->penalty.l2 * w[c];
        }
        out->violation = larger(out->violation, group_violation(t->slopes, w, s->C, work->penalty.group));
        t->numbers += (double)(x[0]->n * s->C);
    }
}

static rc_status take_step(rc_coordinate *s, step *t, const rc_control *control, rc_coordinate_progress *out,
                           rc_error *error)
{
    const rc_coordinate_work *work = t->todo;
    const int64_t n_lists = t->in_groups ? 1 : s->C;
    memcpy(s->old_b, s->b, (size_t)s->C * sizeof(double));
    for (int64_t i = 0; i < t->n; i++) t->old[i] = 0;
    for (int64_t list = 0; list < n_lists; list++)
        for (int64_t j = work->starts[list]; j < work->starts[list + 1]; j++)
            for (int64_t g = 0; g < (t->in_groups ? s->C : 1); g++)
                t->old[t->in_groups ? j * s->C + g : j] = *weight_at(s, work->columns[j], t->in_groups ? g : list);
    make_model(s);

    int stopped = sweep(s, control, t, 1);
    const double first_move = t->moved;
    int64_t n_sweeps = 1;
    choose_active(s, t);
    int64_t n_remembered = 0;
    int has_memory = 1;
    const double enough = work->reduction * work->reduction * first_move;
    /* sweeps of the samples until they have cost as much as the matrix would */
    int has_gram = work->max_sweeps > 1 && rc_descent_has_gram(s, t);
    while (!stopped && t->moved > enough && t->n_moving > 0 && n_sweeps < work->max_sweeps) {
        if (has_gram && n_sweeps >= rc_descent_gram_sweeps(t)) {
            const rc_gram_end end = rc_descent_by_gram(s, control, t, GRAM_REDUCTION * first_move);
            if (end == GRAM_DONE) break;
            stopped = end != GRAM_UNFIT;
            has_memory = end != GRAM_NO_MEMORY;
            has_gram = 0;
            continue;
        }
        if (n_remembered == 0) remember(t, n_remembered++);
        stopped = sweep(s, control, t, 0);
        n_sweeps++;
        remember(t, n_remembered++);
        if (!stopped && n_remembered == EXTRAPOLATED + 1) {
            if (t->moved > enough) extrapolate(s, t);
            n_remembered = 0;
        }
    }
    if (stopped) {
        take_back(s, t, 0);
        if (!has_memory) return fail(error, RC_ERROR_MEMORY, "", "out of memory");
        return fail(error, RC_INTERRUPTED, "", "interrupted");
    }
    out->share = line_search(s, t);
    out->penalty = penalty_of(s, t, out->share);
    if (out->share < 1) take_back(s, t, out->share);
    measure(s, t, out);
    out->loss = s->value;
    out->numbers = t->numbers;
    out->n_sweeps += n_sweeps;
    out->n_steps++;
    return RC_OK;
}

rc_status rc_coordinate_step(rc_coordinate *s, const rc_coordinate_work *work, const rc_control *control,
                             rc_coordinate_progress *out, rc_error *error)
{
    step t = {.todo = work, .in_groups = work->penalty.group > 0};
    const int64_t n_lists = t.in_groups ? 1 : s->C;
    if (!s->has_point) return fail(error, RC_ERROR_ARGUMENT, "W", "has not been set");
    if (work->penalty.l1 != 0 && work->penalty.group != 0)
        return fail(error, RC_ERROR_ARGUMENT, "penalty", "must not have an L1 and a group part at once");
    for (int64_t i = 0; i < work->starts[n_lists]; i++)
        if (work->columns[i] < 0 || work->columns[i] >= s->n_columns)
            return fail(error, RC_ERROR_ARGUMENT, "columns", "must be numbers of columns of the working set");
    const size_t bytes = layout_step(s, &t, NULL);
    if ((int64_t)bytes > s->room_size) {
        double *room = malloc(bytes);
        if (!room) return fail(error, RC_ERROR_MEMORY, "", "out of memory");
        free(s->room);
        s->room = room;
        s->room_size = (int64_t)bytes;
    }
    layout_step(s, &t, (char *)s->room);
    *out = (rc_coordinate_progress){.n_sweeps = 0};
    for (int64_t i = 0; i < work->max_steps; i++) {
        const rc_status status = take_step(s, &t, control, out, error);
        if (status != RC_OK) return status;
        if (out->share == 0 || (out->violation <= work->violation && out->residual <= work->residual)) break;
    }
    return RC_OK;
}

/* ---------------------------------------------------------------- points */

/* There may be no columns yet, and no memory for them. */
static void copy_doubles(double *to, const double *from, int64_t n)
{
    if (n > 0) memcpy(to, from, (size_t)n * sizeof(double));
}

rc_status rc_descent_evaluate(rc_coordinate *s, rc_error *error)
{
    for (int64_t c = 0; c < s->C; c++)
        for (int64_t i = 0; i < s->ld; i++) s->scores[c * s->ld + i] = s->b[c];
    for (int64_t k = 0; k < s->n_columns; k++)
        for (int64_t c = 0; c < s->C; c++) {
            const double w = *weight_at(s, k, c);
            if (w != 0) s->k->column_add(&s->columns[k], w, s->scores + c * s->ld);
        }
    memcpy(s->gradient, s->scores, (size_t)(s->C * s->ld) * sizeof(double));
    s->value = loss_of(s, s->gradient);
    s->has_point = isfinite(s->value) != 0;
    if (!s->has_point) return fail(error, RC_ERROR_OVERFLOW, "X", "finite, but the scores overflow the compute type");
    return RC_OK;
}

rc_status rc_coordinate_set(rc_coordinate *s, const double *W, const double *b, double *loss, rc_error *error)
{
    copy_doubles(s->W, W, s->n_columns * s->C);
    for (int64_t c = 0; c < s->C; c++) {
        s->b[c] = b ? b[c] : 0;
        for (int64_t k = 0; k < s->n_columns; k++) s->b[c] += *weight_at(s, k, c) * s->shift[k];
    }
    const rc_status status = rc_descent_evaluate(s, error);
    *loss = s->value;
    return status;
}

void rc_coordinate_get(const rc_coordinate *s, double *W, double *b)
{
    copy_doubles(W, s->W, s->n_columns * s->C);
    for (int64_t c = 0; c < s->C; c++) {
        b[c] = s->b[c];
        for (int64_t k = 0; k < s->n_columns; k++) b[c] -= *weight_at(s, k, c) * s->shift[k];
    }
}

void rc_coordinate_slopes(const rc_coordinate *s, void *u)
{
    const size_t size = s->k->real_size;
    memset(u, 0, (size_t)(s->N * s->C) * size);
    for (int64_t i = 0; i < s->n_active; i++)
        for (int64_t c = 0; c < s->C; c++) {
            const double x = s->gradient[c * s->ld + i] * s->inverse[i];
            const int64_t at = s->active[i] * s->C + c;
            if (s->options.real == RC_FLOAT32)
                ((float *)u)[at] = (float)x;
            else
                ((double *)u)[at] = x;
        }
}

void rc_coordinate_get_state(const rc_coordinate *s, rc_coordinate_state *state)
{
    for (int64_t c = 0; c < s->C; c++)
        memcpy(state->scores + c * s->n_active, s->scores + c * s->ld, (size_t)s->n_active * sizeof(double));
    copy_doubles(state->W, s->W, s->n_columns * s->C);
    memcpy(state->b, s->b, (size_t)s->C * sizeof(double));
}

rc_status rc_coordinate_set_state(rc_coordinate *s, const rc_coordinate_state *state, rc_error *error)
{
    copy_doubles(s->W, state->W, s->n_columns * s->C);
    memcpy(s->b, state->b, (size_t)s->C * sizeof(double));
    memset(s->scores, 0, (size_t)(s->C * s->ld) * sizeof(double));
    for (int64_t c = 0; c < s->C; c++)
        memcpy(s->scores + c * s->ld, state->scores + c * s->n_active, (size_t)s->n_active * sizeof(double));
    memcpy(s->gradient, s->scores, (size_t)(s->C * s->ld) * sizeof(double));
    s->value = loss_of(s, s->gradient);
    s->has_point = isfinite(s->value) != 0;
    return s->has_point ? RC_OK : fail(error, RC_ERROR_ARGUMENT, "state", "has scores that are not finite");
}

int64_t rc_coordinate_n_columns(const rc_coordinate *s) { return s->n_columns; }
int64_t rc_coordinate_n_samples(const rc_coordinate *s) { return s->n_active; }

/* ---------------------------------------------------------------- columns */

static int grow(void *pointer, int64_t n, size_t size)
{
    void **p = pointer, *bigger = realloc(*p, (size_t)(n ? n : 1) * size);
    if (bigger) *p = bigger;
    return bigger != NULL;
}

static rc_status reserve(rc_coordinate *s, int64_t n, rc_error *error)
{
    if (n <= s->capacity) return RC_OK;
    int64_t capacity = s->capacity ? s->capacity : 16;
    while (capacity < n) capacity *= 2;
    if (!grow(&s->features, capacity, sizeof *s->features) || !grow(&s->columns, capacity, sizeof *s->columns) ||
        !grow(&s->shift, capacity, sizeof(double)) || !grow(&s->square, capacity, sizeof(double)) ||
        !grow(&s->W, capacity * s->C, sizeof(double)))
        return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    s->capacity = capacity;
    return RC_OK;
}

static chunk *new_chunk(rc_coordinate *s, size_t bytes)
{
    chunk *memory = aligned_alloc(ALIGNMENT, (bytes + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (!memory) return NULL;
    memory->next = s->chunks;
    s->chunks = memory;
    return memory;
}

/* The columns from `first` on, without the standardisation; 1: asked to stop, -1: no memory */
static int gather_dense(rc_coordinate *s, int64_t first, const rc_control *control)
{
    const rc_matrix *X = &s->problem.X;
    const int64_t n = s->n_columns - first;
    const rc_rows rows = {s->active, 0, 1, s->n_active};
    const size_t size = s->k->real_size;
    chunk *memory = new_chunk(s, (size_t)(n * s->ld) * size);
    if (!memory) return -1;
    char *base = (char *)memory + ALIGNMENT;
    for (int64_t j = 0; j < n; j++) s->columns[first + j] = (rc_column){base + j * s->ld * (int64_t)size, NULL, s->ld};
    for (int64_t r = 0; r < s->n_active; r += GATHERED_ROWS) {
        const int64_t m = s->n_active - r < GATHERED_ROWS ? s->n_active - r : GATHERED_ROWS;
        const int64_t padded = r + m == s->n_active ? s->ld - r : m;
        for (int64_t j = 0; j < n; j++) {
            const rc_vector column = {(const char *)X->data + s->features[first + j] * X->column_stride, X->dtype,
                                      X->row_stride};
            s->k->load_vector(&column, &rows, r, m, padded, base + (j * s->ld + r) * (int64_t)size);
        }
        if (worked(s, control, (double)(m * n) * 4)) return 1;
    }
    return 0;
}

/* Nonzeros of the columns from `first` on */
static int gather_csr(rc_coordinate *s, int64_t first, const rc_control *control)
{
    const rc_matrix *X = &s->problem.X;
    const int64_t n = s->n_columns - first;
    const size_t size = s->k->real_size;
    int64_t *counts = calloc((size_t)n + 1, sizeof *counts), *last = malloc((size_t)n * sizeof *last + 1), total = 0;
    if (!counts || !last) {
        free(counts);
        free(last);
        return -1;
    }
    int stopped = 0;
    for (int64_t j = 0; j < n; j++) last[j] = -1;
    for (int64_t i = 0; i < s->n_active && !stopped; i++) {
        const int64_t begin = row_start(X, s->active[i]), end = row_start(X, s->active[i] + 1);
        for (int64_t p = begin; p < end; p++) {
            const int64_t j = s->slot[column_of(X, p)] - first;
            if (j >= 0 && last[j] != i) counts[j]++, last[j] = i; /* the columns of a row may repeat */
        }
        stopped = worked(s, control, (double)(end - begin));
    }
    for (int64_t j = 0; j < n; j++) total += counts[j] = (counts[j] + 1) / 2 * 2; /* so that values stay aligned */
    chunk *memory = stopped ? NULL : new_chunk(s, (size_t)total * (size + sizeof(int32_t)));
    if (memory) {
        char *values = (char *)memory + ALIGNMENT;
        int32_t *rows = (int32_t *)(values + (size_t)total * size);
        const rc_rows all = {NULL, 0, 1, X->nnz};
        memset(values, 0, (size_t)total * size);
        for (int64_t j = 0; j < n; j++) {
            s->columns[first + j] = (rc_column){values, rows, 0};
            values += counts[j] * (int64_t)size;
            rows += counts[j];
        }
        for (int64_t i = 0; i < s->n_active && !stopped; i++) {
            const int64_t begin = row_start(X, s->active[i]), end = row_start(X, s->active[i] + 1);
            for (int64_t p = begin; p < end; p++) {
                const int64_t j = s->slot[column_of(X, p)] - first;
                if (j < 0) continue;
                rc_column *x = &s->columns[first + j];
                int32_t *row = (int32_t *)(uintptr_t)x->rows;
                if (x->n == 0 || row[x->n - 1] != i) row[x->n++] = (int32_t)i;
                const rc_vector number = {(const char *)X->data, X->dtype, rc_item_size(X->dtype)};
                double value;
                s->wide->load_vector(&number, &all, p, 1, 1, &value);
                if (s->options.real == RC_FLOAT32)
                    ((float *)(uintptr_t)x->values)[x->n - 1] += (float)value;
                else
                    ((double *)(uintptr_t)x->values)[x->n - 1] += value;
            }
            stopped = worked(s, control, (double)(end - begin));
        }
    }
    free(counts);
    free(last);
    return stopped ? 1 : memory ? 0 : -1;
}

/* Spreads the nonzeros of a column over all rows */
static int make_dense(rc_coordinate *s, rc_column *x)
{
    const size_t size = s->k->real_size;
    chunk *memory = new_chunk(s, (size_t)s->ld * size);
    if (!memory) return 0;
    char *values = (char *)memory + ALIGNMENT;
    memset(values, 0, (size_t)s->ld * size);
    for (int64_t j = 0; j < x->n; j++) memcpy(values + x->rows[j] * (int64_t)size, offset(x->values, j, size), size);
    *x = (rc_column){values, NULL, s->ld};
    return 1;
}

/* Standardises column k, and finds what is not finite; 0: no memory */
static int standardize(rc_coordinate *s, int64_t k, double *check)
{
    rc_column *x = &s->columns[k];
    const int64_t d = s->features[k];
    const double given = s->options.center ? s->options.center[d] : 0;
    const double scale = s->options.scale ? s->options.scale[d] : 1;
    double square, center = given;
    const double mean = s->k->column_moments(x, s->weight, &square);
    *check += square * 0;
    if (x->rows && (x->n * DENSE_SHARE > s->n_active || (!s->options.intercept && given != 0)) && !make_dense(s, x))
        return 0;
    if (x->rows)
        center = 0;
    else if (s->options.intercept)
        center = mean;
    const double spread = square - 2 * center * mean + center * center;
    if (center != 0 || scale != 1)
        s->k->column_standardize((void *)(uintptr_t)x->values, x->rows ? x->n : s->n_active, center, 1 / scale);
    s->shift[k] = (center - given) / scale;
    s->k->column_moments(x, s->weight, &s->square[k]);
    *check += s->square[k] * 0;
    const double least = s->options.real == RC_FLOAT32 ? LEAST_SPREAD_32 : LEAST_SPREAD_64;
    if (s->options.intercept && !x->rows && spread <= least * square && s->square[k] * scale * scale <= least * square)
        s->square[k] = 0; /* constant: the intercept has it already */
    return 1;
}

rc_status rc_coordinate_add(rc_coordinate *s, const int64_t *features, int64_t n, const rc_control *control,
                            rc_error *error)
{
    const int64_t first = s->n_columns;
    double check = 0;
    for (int64_t j = 0; j < n; j++)
        if (features[j] < 0 || features[j] >= s->D)
            return fail(error, RC_ERROR_ARGUMENT, "features", "must be columns of X");
    rc_status status = reserve(s, first + n, error);
    if (status != RC_OK) return status;
    for (int64_t j = 0; j < n; j++)
        if (s->slot[features[j]] < 0) {
            s->slot[features[j]] = (int32_t)s->n_columns;
            s->features[s->n_columns++] = features[j];
        }
    if (s->n_columns == first) return RC_OK;
    memset(s->W + first * s->C, 0, (size_t)((s->n_columns - first) * s->C) * sizeof(double));
    const int found = s->problem.X.indices ? gather_csr(s, first, control) : gather_dense(s, first, control);
    int has_memory = found >= 0;
    for (int64_t k = first; k < s->n_columns && has_memory && !found; k++) has_memory = standardize(s, k, &check);
    if (has_memory && !found && check == 0) return RC_OK;
    for (int64_t k = first; k < s->n_columns; k++) s->slot[s->features[k]] = -1;
    s->n_columns = first;
    if (!has_memory) return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    if (found) return fail(error, RC_INTERRUPTED, "", "interrupted");
    const rc_rows seen = {s->active, 0, 1, s->n_active};
    if (rc_find_not_finite(&s->problem, &seen, error)) return RC_ERROR_NOT_FINITE;
    return fail(error, RC_ERROR_OVERFLOW, "X", "finite, but too large for the compute type");
}

/* ---------------------------------------------------------------- beginning and end */

static size_t layout(rc_coordinate *s, char *memory)
{
    const int64_t all = s->C * s->ld, n_labels = s->C > 1 ? s->C : 2;
    const int several = s->form != RC_ONE_OUTPUT_MODEL;
    size_t used = 0;
    s->active = carve(memory, &used, s->N, sizeof *s->active);
    s->weight = carve(memory, &used, s->ld, sizeof(double));
    s->inverse = carve(memory, &used, s->ld, sizeof(double));
    s->label = carve(memory, &used, s->ld, sizeof(double));
    s->targets = carve(memory, &used, s->is_soft ? n_labels * s->ld : 0, sizeof(double));
    s->scores = carve(memory, &used, all, sizeof(double));
    s->gradient = carve(memory, &used, all, sizeof(double));
    s->trial = carve(memory, &used, all, sizeof(double));
    s->slope = carve(memory, &used, all, sizeof(double));
    s->curvature = carve(memory, &used, all, sizeof(double));
    s->change = carve(memory, &used, all, sizeof(double));
    s->share = carve(memory, &used, several ? all : 0, sizeof(double));
    s->own = carve(memory, &used, several && !s->is_soft ? all : 0, sizeof(double));
    s->mean = carve(memory, &used, s->ld, sizeof(double));
    s->pull = carve(memory, &used, s->ld, sizeof(double));
    s->b = carve(memory, &used, s->C, sizeof(double));
    s->old_b = carve(memory, &used, s->C, sizeof(double));
    s->curvature_b = carve(memory, &used, s->C, sizeof(double));
    s->r = carve(memory, &used, s->C, sizeof(double));
    s->ones.values = carve(memory, &used, s->ld, s->k->real_size);
    s->slot = carve(memory, &used, s->D, sizeof *s->slot);
    if (!several) s->share = NULL;
    if (!several || s->is_soft) s->own = NULL;
    return used;
}

/* Weights, which become shares of their sum, and labels of the rows that have one */
static rc_status read_samples(rc_coordinate *s, rc_error *error)
{
    const rc_problem *problem = &s->problem;
    const rc_rows every = {NULL, 0, 1, s->N};
    double sum = 0;
    double *weights = malloc((size_t)s->N * sizeof *weights);
    if (!weights) return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    for (int64_t i = 0; i < s->N; i++) weights[i] = 1;
    if (problem->weights.data) s->wide->load_vector(&problem->weights, &every, 0, s->N, s->N, weights);
    int64_t n = 0;
    for (int64_t i = 0; i < s->N; i++) {
        sum += weights[i];
        if (weights[i] > 0) {
            s->weight[n] = weights[i];
            s->active[n++] = i;
        }
    }
    free(weights);
    s->n_active = n;
    for (int64_t i = 0; i < n; i++) {
        s->weight[i] /= sum;
        s->inverse[i] = 1 / s->weight[i];
        s->ones_square += s->weight[i];
        if (s->options.real == RC_FLOAT32)
            ((float *)(uintptr_t)s->ones.values)[i] = 1;
        else
            ((double *)(uintptr_t)s->ones.values)[i] = 1;
    }
    const rc_rows rows = {s->active, 0, 1, n};
    if (problem->y.data) s->wide->load_vector(&problem->y, &rows, 0, n, s->ld, s->label);
    if (s->is_soft) s->wide->load_targets(problem, &rows, 0, n, s->ld, s->label, s->targets, s->ld);
    for (int64_t i = 0; i < s->ld && s->own; i++) s->own[(int64_t)s->label[i] * s->ld + i] = 1;
    return RC_OK;
}

rc_status rc_coordinate_create(const rc_problem *problem, const rc_coordinate_options *options, rc_coordinate **out,
                               rc_error *error)
{
    if (options->real != RC_FLOAT32 && options->real != RC_FLOAT64)
        return fail(error, RC_ERROR_ARGUMENT, "W", "must be float32 or float64");
    if (problem->loss != RC_CROSS_ENTROPY && problem->loss != RC_SQUARED_HINGE)
        return fail(error, RC_ERROR_ARGUMENT, "loss", "must be cross_entropy or squared_hinge");
    if (!problem->y.data && !problem->targets.data) return fail(error, RC_ERROR_ARGUMENT, "y", "is missing");
    if (problem->n_models != 1) return fail(error, RC_ERROR_ARGUMENT, "W", "must be one model");
    if (problem->X.n_rows > INT32_MAX || problem->X.n_columns > INT32_MAX)
        return fail(error, RC_ERROR_ARGUMENT, "X", "must have less than 2**31 rows and columns");
    rc_coordinate *s = calloc(1, sizeof *s);
    if (!s) return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    s->problem = *problem;
    s->options = *options;
    s->k = rc_kernels_for(options->real);
    s->wide = rc_kernels_for(RC_FLOAT64);
    s->N = problem->X.n_rows;
    s->D = problem->X.n_columns;
    s->C = problem->n_classes;
    const int64_t lanes = s->k->lanes > s->wide->lanes ? s->k->lanes : s->wide->lanes;
    s->ld = (s->N + lanes - 1) / lanes * lanes;
    s->is_soft = rc_is_soft(problem);
    s->form = s->C == 1                           ? RC_ONE_OUTPUT_MODEL
              : problem->loss == RC_CROSS_ENTROPY ? RC_CROSS_ENTROPY_MODEL
                                                  : RC_SQUARED_HINGE_MODEL;
    const size_t bytes = layout(s, NULL);
    s->memory = aligned_alloc(ALIGNMENT, bytes);
    if (!s->memory) {
        free(s);
        return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    }
    memset(s->memory, 0, bytes);
    layout(s, s->memory);
    for (int64_t d = 0; d < s->D; d++) s->slot[d] = -1;
    s->ones.n = s->ld;
    const rc_status status = read_samples(s, error);
    if (status != RC_OK) {
        rc_coordinate_free(s);
        return status;
    }
    *out = s;
    return RC_OK;
}

void rc_coordinate_free(rc_coordinate *s)
{
    if (!s) return;
    for (chunk *c = s->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(s->features);
    free(s->columns);
    free(s->shift);
    free(s->square);
    free(s->W);
    free(s->room);
    free(s->gram);
    free(s->list);
    free(s->list_starts);
    free(s->V);
    free(s->u);
    free(s->given);
    free(s->places);
    free(s->excess);
    free(s->memory);
    free(s);
}
