/*
 * Between the steps of coordinate descent: the slopes of all weights by a pass over X, the duality gap that they prove,
 * and the weights that are to take part next.
 *
 * The gap is that of certificate.py, for one model and the slopes of the losses as dual points.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "descent.h"

static rc_status no_memory(rc_error *error) { return fail(error, RC_ERROR_MEMORY, "", "out of memory"); }

static double real_at(const rc_coordinate *s, const void *x, int64_t i) { return number(x, i, s->options.real); }

static void set_real(const rc_coordinate *s, void *x, int64_t i, double value) { put(x, i, s->options.real, value); }

static int64_t n_labels(const rc_coordinate *s) { return s->C > 1 ? s->C : 2; }

/* ---------------------------------------------------------------- slopes of all weights */

static int has_room(rc_coordinate *s)
{
    const size_t size = s->k->real_size;
    if (!s->V) s->V = malloc((size_t)(s->C * s->D) * size);
    if (!s->u) s->u = malloc((size_t)(s->N * s->C) * size);
    if (!s->given) s->given = malloc((size_t)s->D * size);
    return s->V && s->u && s->given;
}

/* The slopes of the intercepts, in double */
static void sum_slopes(rc_coordinate *s)
{
    for (int64_t c = 0; c < s->C; c++) {
        double sum = 0;
        for (int64_t i = 0; i < s->n_active; i++) sum += s->gradient[c * s->ld + i];
        s->r[c] = sum;
    }
}

rc_status rc_coordinate_look(rc_coordinate *s, const rc_control *control, rc_error *error)
{
    const rc_rows all = {NULL, 0, 1, s->N};
    const rc_parameters parameters = {.real = s->options.real, .center = s->options.center, .scale = s->options.scale};
    if (!s->has_point) return fail(error, RC_ERROR_ARGUMENT, "W", "has not been set");
    if (!has_room(s)) return no_memory(error);
    rc_coordinate_slopes(s, s->u);
    rc_gradient out = {NULL, s->V, NULL};
    const rc_status status =
        rc_adjoint(&s->problem, &all, &parameters, control, s->u, s->C * (int64_t)s->k->real_size, &out, error);
    if (status != RC_OK) return status;
    sum_slopes(s);
    if (s->k->check_scores(s->V, s->D, s->C, s->D) == 0) return RC_OK;
    if (rc_find_not_finite(&s->problem, &all, error)) return RC_ERROR_NOT_FINITE;
    return fail(error, RC_ERROR_OVERFLOW, "X", "finite, but its product with slopes overflows the compute type");
}

/* Without weights the slopes of cross_entropy are those of the classes, so that their sums M_c tell all: with the
 * probabilities p, V_c = p_c sum_j M_j - M_c. */
rc_status rc_coordinate_look_at_zero(rc_coordinate *s, const void *class_sums, rc_error *error)
{
    const int64_t D = s->D, n = n_labels(s);
    if (!s->has_point) return fail(error, RC_ERROR_ARGUMENT, "W", "has not been set");
    if (s->problem.loss != RC_CROSS_ENTROPY) return fail(error, RC_ERROR_ARGUMENT, "loss", "must be cross_entropy");
    if (!has_room(s)) return no_memory(error);
    double largest = s->C == 1 ? 0 : s->b[0], sum = s->C == 1 ? 1 : 0;
    for (int64_t c = 0; c < s->C; c++) largest = larger(largest, s->b[c]);
    if (s->C == 1) sum = exp(-largest);
    for (int64_t c = 0; c < s->C; c++) sum += exp(s->b[c] - largest);
    for (int64_t c = 0; c < s->C; c++) {
        const double p = exp(s->b[c] - largest) / sum;
        const int64_t own = s->C == 1 ? 1 : c;
        for (int64_t d = 0; d < D; d++) {
            double mean = 0;
            for (int64_t j = 0; j < n; j++) mean += real_at(s, class_sums, j * D + d);
            set_real(s, s->V, c * D + d, p * mean - real_at(s, class_sums, own * D + d));
        }
    }
    sum_slopes(s);
    return RC_OK;
}

void rc_coordinate_gradient(const rc_coordinate *s, void *V, void *r)
{
    if (s->V) memcpy(V, s->V, (size_t)(s->C * s->D) * s->k->real_size);
    for (int64_t c = 0; c < s->C; c++) set_real(s, r, c, s->r[c]);
}

/* ---------------------------------------------------------------- the gap */

/* A change of the dual points after which their mean is zero: see intercept_shift in certificate.py */
typedef struct {
    double *lose, *gain; /* (n_labels,) */
    double shrink;
} shift;

static void find_shift(const rc_coordinate *s, const double *shares, shift *h)
{
    const int64_t n = n_labels(s);
    double total = 0, gained = 0, most = 0;
    int feasible = 1;
    for (int64_t c = 0; c < n; c++) {
        const double r = s->C > 1 ? s->r[c] : c == 1 ? s->r[0] : -s->r[0];
        h->lose[c] = larger(r, 0);
        h->gain[c] = larger(-r, 0);
        total += h->lose[c];
        gained += h->gain[c];
        if (shares[c] == 0 && r > 0) feasible = 0;
    }
    for (int64_t c = 0; c < n; c++) {
        h->lose[c] = feasible && total > 0 && shares[c] > 0 ? h->lose[c] / shares[c] / total : 0;
        most = larger(most, h->lose[c]);
    }
    h->shrink = feasible ? 1 / (1 + (s->problem.loss == RC_CROSS_ENTROPY ? most * gained : 0)) : 0;
    for (int64_t c = 0; c < n; c++) h->gain[c] *= h->shrink;
}

static void add_multiple(const rc_coordinate *s, const void *x, double factor)
{
    if (s->options.real == RC_FLOAT32)
        for (int64_t d = 0; d < s->D; d++) ((float *)s->given)[d] += (float)factor * ((const float *)x)[d];
    else
        for (int64_t d = 0; d < s->D; d++) ((double *)s->given)[d] += factor * ((const double *)x)[d];
}

/* What the samples give, by feature: the sum of lose_c M_c, for one output that of the second class less the first's */
static int has_given(const rc_coordinate *s, const void *class_sums, const shift *h)
{
    const int64_t n = n_labels(s), D = s->D;
    int some = 0;
    for (int64_t c = 0; c < n; c++) some |= h->gain[c] != 0;
    if (!some) return 0;
    memset(s->given, 0, (size_t)D * s->k->real_size);
    for (int64_t c = 0; c < n; c++) {
        const double factor = s->C > 1 ? h->lose[c] : c == 0 ? h->lose[0] * h->gain[1] : -h->lose[1] * h->gain[0];
        add_multiple(s, offset(class_sums, c * D, s->k->real_size), factor);
    }
    return 1;
}

/* The largest norm over the classes of the shifted slopes of a feature, and the squares beyond `group` */
static double group_excess(const rc_coordinate *s, const void *given, const void *class_sums, const shift *h,
                           double gained, double group, double *squares)
{
    double most = 0;
    for (int64_t d = 0; d < s->D; d++) {
        double square = 0;
        for (int64_t c = 0; c < s->C; c++) {
            double v = h->shrink * real_at(s, s->V, c * s->D + d);
            if (given && s->C == 1) v += real_at(s, given, d);
            if (given && s->C > 1)
                v += h->gain[c] * real_at(s, given, d) - h->lose[c] * gained * real_at(s, class_sums, c * s->D + d);
            square += v * v;
        }
        const double norm = sqrt(square), beyond = norm > group ? norm - group : 0;
        most = larger(most, norm);
        *squares += beyond * beyond;
    }
    return most;
}

/* Mean of the conjugates of the losses at the dual points that `h` makes of the slopes */
static double conjugate(const rc_coordinate *s, const shift *h, double scale)
{
    const rc_kernels *k = s->wide;
    double *u = s->trial;
    rc_dual_shift by = {h->shrink * scale, h->lose, h->gain, 0};
    for (int64_t c = 0; c < n_labels(s); c++) by.gain_sum += h->gain[c] *= scale;
    for (int64_t c = 0; c < s->C; c++)
        for (int64_t i = 0; i < s->ld; i++) u[c * s->ld + i] = s->gradient[c * s->ld + i] * s->inverse[i];
    if (s->is_soft) return k->soft_conjugate(u, s->ld, s->C, s->ld, s->targets, s->ld, s->weight, &by);
    return (s->C == 1 ? k->binary_conjugate : k->conjugate)[s->problem.loss](u, s->ld, s->C, s->ld, s->label, s->weight,
                                                                             &by);
}

rc_status rc_coordinate_gap(rc_coordinate *s, const rc_penalty *penalty, double value, const void *class_sums,
                            const double *shares, double *gap, rc_error *error)
{
    const int64_t n = n_labels(s), D = s->D;
    const size_t size = s->k->real_size;
    if (!s->V) return fail(error, RC_ERROR_ARGUMENT, "W", "has no slopes yet");
    double *memory = calloc((size_t)(2 * n), sizeof *memory);
    if (!memory) return no_memory(error);
    shift h = {memory, memory + n, 1};
    if (s->is_soft && !s->has_entropy) {
        h.shrink = 0;
        s->entropy = -conjugate(s, &h, 1);
        s->has_entropy = 1;
        h.shrink = 1;
    }
    if (s->options.intercept) find_shift(s, shares, &h);
    const void *given = s->options.intercept && has_given(s, class_sums, &h) ? s->given : NULL;
    double gained = 0, most = 0, squares = 0;
    for (int64_t c = 0; c < n; c++) gained += h.gain[c];
    if (penalty->group > 0) most = group_excess(s, given, class_sums, &h, gained, penalty->group, &squares);
    for (int64_t c = 0; c < s->C && penalty->group == 0; c++) {
        const double lost = s->C > 1 ? h.lose[c] * gained : 0, gain = s->C > 1 ? h.gain[c] : 1;
        most = larger(most, s->k->slope_excess(offset(s->V, c * D, size), given,
                                               given ? offset(class_sums, c * D, size) : NULL, h.shrink, gain, lost,
                                               penalty->l1, D, penalty->l2 > 0 ? &squares : NULL));
    }
    /* into the ball in which the penalty's conjugate is finite */
    const double bound = penalty->group > 0 ? penalty->group : penalty->l1;
    const double scale = penalty->l2 > 0 || most <= bound ? 1 : bound / most;
    const double rest = penalty->l2 > 0 ? squares / (4 * penalty->l2) : 0;
    const double entropy = s->is_soft ? s->entropy : 0;
    const double rise = larger(-conjugate(s, &h, scale) - entropy, 0);
    const double bound_below = entropy + (rest > rise / 2 ? rise * rise / (4 * rest) : rise - rest);
    *gap = larger(value - bound_below, 0);
    free(memory);
    return RC_OK;
}

/* ---------------------------------------------------------------- what takes part */

/* Moves the n_first largest of n numbers to the beginning, with their places */
static void select_largest(double *x, int64_t *places, int64_t n, int64_t n_first)
{
    int64_t low = 0, high = n - 1;
    while (low < high) {
        const double pivot = x[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i > j) break;
            const double a = x[i];
            x[i] = x[j];
            x[j] = a;
            const int64_t b = places[i];
            places[i++] = places[j];
            places[j--] = b;
        }
        if (n_first <= j)
            high = j;
        else if (n_first > i)
            low = i;
        else
            return;
    }
}

static int by_place(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int has_weight(const rc_coordinate *s, int64_t d, int64_t c)
{
    return s->slot[d] >= 0 && *weight_at(s, s->slot[d], c) != 0;
}

static int64_t support_size(const rc_coordinate *s, int in_groups)
{
    int64_t n = 0;
    for (int64_t k = 0; k < s->n_columns; k++) {
        int64_t in_column = 0;
        for (int64_t c = 0; c < s->C; c++) in_column += *weight_at(s, k, c) != 0;
        n += in_groups ? in_column > 0 : in_column;
    }
    return n;
}

/* The places (c D + d), or features with a group penalty, of what is zero and has slopes beyond `bound`; -1: no memory
 */
static int64_t find_entering(rc_coordinate *s, int in_groups, double bound)
{
    const int64_t D = s->D, all = (in_groups ? 1 : s->C) * D;
    if (s->n_places < all) {
        free(s->places);
        free(s->excess);
        s->places = malloc((size_t)all * sizeof *s->places);
        s->excess = malloc((size_t)all * sizeof *s->excess);
        s->n_places = s->places && s->excess ? all : 0;
        if (!s->n_places) return -1;
    }
    int64_t n = 0;
    if (in_groups) {
        for (int64_t d = 0; d < D; d++) {
            double square = 0;
            int is_in = 0;
            for (int64_t c = 0; c < s->C; c++) {
                const double v = real_at(s, s->V, c * D + d);
                square += v * v;
                is_in |= has_weight(s, d, c);
            }
            if (is_in || !(sqrt(square) > bound)) continue;
            s->places[n] = d;
            s->excess[n++] = sqrt(square);
        }
        return n;
    }
    const int64_t found = s->k->find_beyond(s->V, bound, all, s->places);
    for (int64_t i = 0; i < found; i++) {
        const int64_t at = s->places[i];
        if (has_weight(s, at % D, at / D)) continue;
        s->places[n] = at;
        s->excess[n++] = fabs(real_at(s, s->V, at));
    }
    return n;
}

/* Lists what is not zero and, of the columns that have entered, what has been chosen */
static int list_members(rc_coordinate *s, int in_groups, int64_t n_entering)
{
    const int64_t C = s->C, K = s->n_columns, D = s->D;
    if (s->list_capacity < K * C || !s->list) {
        free(s->list);
        s->list_capacity = K * C + 16;
        s->list = malloc((size_t)s->list_capacity * sizeof *s->list);
    }
    if (!s->list_starts) s->list_starts = calloc((size_t)C + 1, sizeof *s->list_starts);
    unsigned char *is_in = calloc((size_t)(K * C) + 1, 1);
    if (!s->list || !s->list_starts || !is_in) {
        free(is_in);
        s->list_capacity = 0;
        return 0;
    }
    for (int64_t k = 0; k < K; k++)
        for (int64_t c = 0; c < C; c++) is_in[in_groups ? k : c * K + k] |= *weight_at(s, k, c) != 0;
    for (int64_t i = 0; i < n_entering; i++) {
        const int64_t at = s->places[i];
        is_in[in_groups ? s->slot[at] : at / D * K + s->slot[at % D]] = 1;
    }
    int64_t n = 0;
    for (int64_t c = 0; c < (in_groups ? 1 : C); c++) {
        s->list_starts[c] = n;
        for (int64_t k = 0; k < K; k++)
            if (is_in[c * K + k]) s->list[n++] = k;
    }
    s->list_starts[in_groups ? 1 : C] = n;
    free(is_in);
    return 1;
}

rc_status rc_coordinate_choose(rc_coordinate *s, const rc_penalty *penalty, double margin, int64_t most,
                               const rc_control *control, double *outside, int64_t *n_listed, rc_error *error)
{
    const int in_groups = penalty->group > 0;
    const double kink = in_groups ? penalty->group : penalty->l1;
    if (!s->V) return fail(error, RC_ERROR_ARGUMENT, "W", "has no slopes yet");
    int64_t n = find_entering(s, in_groups, kink * (1 - margin));
    if (n < 0) return no_memory(error);
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = larger(largest, s->excess[i]);
    *outside = n ? larger(largest / kink - 1, 0) : 0;
    const int64_t support = support_size(s, in_groups);
    if (most < support) most = support;
    if (n > most) {
        select_largest(s->excess, s->places, n, most);
        n = most;
        qsort(s->places, (size_t)n, sizeof *s->places, by_place);
    }
    int64_t *features = malloc((size_t)(n ? n : 1) * sizeof *features);
    if (!features) return no_memory(error);
    for (int64_t i = 0; i < n; i++) features[i] = s->places[i] % s->D;
    const rc_status status = rc_coordinate_add(s, features, n, control, error);
    free(features);
    if (status != RC_OK) return status;
    if (!list_members(s, in_groups, n)) return no_memory(error);
    *n_listed = s->list_starts[in_groups ? 1 : s->C];
    return RC_OK;
}

void rc_coordinate_list(const rc_coordinate *s, const int64_t **columns, const int64_t **starts)
{
    *columns = s->list_starts ? s->list : NULL;
    *starts = s->list_starts;
}

const int64_t *rc_coordinate_features(const rc_coordinate *s) { return s->features; }

/* ---------------------------------------------------------------- the iterate as the caller has it */

rc_status rc_coordinate_settle(rc_coordinate *s, const rc_penalty *penalty, double *value, rc_error *error)
{
    const int narrow = s->options.real == RC_FLOAT32;
    double absolute = 0, square = 0, norms = 0;
    for (int64_t c = 0; c < s->C; c++)
        for (int64_t k = 0; k < s->n_columns; k++) s->b[c] -= *weight_at(s, k, c) * s->shift[k];
    for (int64_t k = 0; k < s->n_columns; k++) {
        double norm = 0;
        for (int64_t c = 0; c < s->C; c++) {
            double *w = weight_at(s, k, c);
            if (narrow) *w = (float)*w;
            absolute += fabs(*w);
            norm += *w * *w;
        }
        square += norm;
        norms += sqrt(norm);
    }
    for (int64_t c = 0; c < s->C; c++) {
        if (narrow) s->b[c] = (float)s->b[c];
        for (int64_t k = 0; k < s->n_columns; k++) s->b[c] += *weight_at(s, k, c) * s->shift[k];
    }
    const rc_status status = rc_descent_evaluate(s, error);
    *value = s->value + (penalty->l1 != 0 ? penalty->l1 * absolute : 0) +
             (penalty->l2 != 0 ? penalty->l2 * square : 0) + (penalty->group != 0 ? penalty->group * norms : 0);
    return status;
}

void rc_coordinate_write(const rc_coordinate *s, void *W, void *b)
{
    for (int64_t c = 0; c < s->C; c++) {
        double intercept = s->b[c];
        for (int64_t k = 0; k < s->n_columns; k++) {
            const double w = *weight_at(s, k, c);
            set_real(s, W, c * s->D + s->features[k], w);
            intercept -= w * s->shift[k];
        }
        if (b) set_real(s, b, c, intercept);
    }
}
