/*
 * The model of a step over the weights that move, by its matrix: with the slopes g and the second derivatives H in
 * these weights alone, a sweep no longer visits the samples.  H costs as much as some sweeps of the samples, a tenth as
 * many as there are weights, and is worth more than what it costs where these are few.
 *
 * Sweeps go on until one leaves all signs as they are.  Then the minimum for these signs is a linear system: the step
 * to it is taken whole, or as far as the first weight that would change its sign, which becomes zero, and the sweeps
 * say whether that was right.  No step raises the model.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "descent.h"

enum {
    MOST_WEIGHTS = 512,
    MOST_SWEEPS = 100,
    WEIGHTS_PER_SWEEP = 10, /* so many of them make H cost as much as a sweep */
    FEW_WEIGHTS = 64,       /* with which it is made at once */
    BLOCK = CHOLESKY_BLOCK,
    ALIGNMENT = 64
};

typedef struct {
    const rc_kernels *k;
    double l1;
    int64_t n, n_weights, ld; /* weights and, after them, intercepts that move */
    double *H;                /* (n, ld) */
    double *g, *w, *before, *z, *h;
    double *factor; /* (n, ld) */
    double *x;
    int64_t *support;
    const rc_column **columns;
} system_of_weights;

int rc_descent_has_gram(const rc_coordinate *s, const step *t)
{
    const int64_t most = WEIGHTS_PER_SWEEP * t->todo->max_sweeps;
    if (t->in_groups || (s->problem.X.indices && s->C > 1)) return 0;
    return t->n_moving > 0 && t->n_moving <= (most < MOST_WEIGHTS ? most : MOST_WEIGHTS);
}

int64_t rc_descent_gram_sweeps(const step *t)
{
    return t->n_moving <= FEW_WEIGHTS ? 1 : 1 + t->n_moving / WEIGHTS_PER_SWEEP;
}

static void *carve(char *memory, size_t *used, int64_t n, size_t size)
{
    void *p = memory ? memory + *used : NULL;
    *used += ((size_t)n * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return p;
}

static size_t layout(system_of_weights *y, int64_t n, int64_t n_samples, char *memory)
{
    size_t used = 0;
    y->n = n;
    y->ld = (n + 7) / 8 * 8;
    y->H = carve(memory, &used, n * y->ld, sizeof(double));
    y->factor = carve(memory, &used, n * y->ld, sizeof(double));
    y->g = carve(memory, &used, y->ld, sizeof(double));
    y->w = carve(memory, &used, y->ld, sizeof(double));
    y->before = carve(memory, &used, y->ld, sizeof(double));
    y->x = carve(memory, &used, y->ld + BLOCK, sizeof(double));
    y->support = carve(memory, &used, n, sizeof(int64_t));
    y->columns = carve(memory, &used, n, sizeof *y->columns);
    y->z = carve(memory, &used, n_samples, sizeof(double));
    y->h = carve(memory, &used, n_samples, sizeof(double));
    return used;
}

/* How the slope in the score of class d changes with that of class c, sample by sample */
static const double *second_derivatives(const rc_coordinate *s, int64_t c, int64_t d, double *h)
{
    const rc_model_class a = model_class(s, c), b = model_class(s, d);
    if (s->form == RC_ONE_OUTPUT_MODEL) return a.curvature;
    for (int64_t i = 0; i < s->ld; i++) {
        const double own = c == d ? a.curvature[i] : 0;
        h[i] = s->form == RC_CROSS_ENTROPY_MODEL ? own - a.curvature[i] * b.share[i]
                                                 : own - b.share[i] * a.own[i] - b.own[i] * a.share[i];
    }
    return h;
}

/* Clears what a column has left in z, unless the next one covers all of it. */
static void forget(const rc_coordinate *s, const rc_column *x, const rc_column *next, double *z)
{
    if (!next->rows) return;
    if (!x || !x->rows)
        memset(z, 0, (size_t)s->ld * sizeof(double));
    else
        for (int64_t k = 0; k < x->n; k++) z[x->rows[k]] = 0;
}

/* H and g; 1: asked to stop */
static int make_system(rc_coordinate *s, const rc_control *control, step *t, system_of_weights *y)
{
    const rc_column *last = NULL;
    for (int64_t i = 0; i < y->n; i++) y->columns[i] = t->moving[i].x;
    for (int64_t i = 0; i < y->n; i++) {
        const moving *a = &t->moving[i];
        const rc_model_class q = model_class(s, a->c);
        double *row = y->H + i * y->ld, numbers = (double)a->x->n * (double)(y->n - i);
        y->w[i] = *a->w;
        y->g[i] = s->k->column_slope(a->x, &q, NULL);
        for (int64_t j = i, n; j < y->n; j += n) { /* of a class each */
            for (n = 1; j + n < y->n && t->moving[j + n].c == t->moving[j].c; n++) continue;
            if (last != a->x) forget(s, last, a->x, y->z);
            last = a->x;
            s->k->column_weigh(a->x, second_derivatives(s, a->c, t->moving[j].c, y->h), y->z);
            s->k->column_products(y->columns + j, n, y->z, row + j);
            numbers += (double)s->ld;
        }
        if (!(row[i] >= a->curvature)) row[i] = a->curvature; /* which is bounded below, and has that of L2 */
        for (int64_t j = i + 1; j < y->n; j++) y->H[j * y->ld + i] = row[j];
        for (int64_t j = y->n; j < y->ld; j++) row[j] = 0;
        t->numbers += numbers;
        if (worked(s, control, numbers)) return 1;
    }
    return 0;
}

static void move_along(system_of_weights *y, int64_t j, double delta)
{
    const rc_pair row = {.s = y->H + j * y->ld};
    y->k->pair_add(&row, delta, y->ld, y->g);
}

/* A visit to every weight and intercept; whether all signs are what they were */
static int sweep_system(system_of_weights *y, double *moved)
{
    const int64_t n_weights = y->n_weights;
    const double l1 = y->l1;
    int same = 1;
    *moved = 0;
    for (int64_t j = 0; j < y->n; j++) {
        const double h = y->H[j * y->ld + j], w = y->w[j], aim = h * w - y->g[j], bound = j < n_weights ? l1 : 0;
        const double to = aim > bound ? (aim - bound) / h : aim < -bound ? (aim + bound) / h : 0;
        const double delta = to - w;
        if (delta == 0) continue;
        if (j < n_weights && (w > 0) - (w < 0) != (to > 0) - (to < 0)) same = 0;
        *moved = larger(*moved, h * delta * delta);
        y->w[j] = to;
        move_along(y, j, delta);
    }
    return same;
}

/* The factor of the matrix of the support, by blocks of rows from the top; 0: it is singular to working precision */
static int factor_support(system_of_weights *y, int64_t n)
{
    const rc_kernels *k = y->k;
    double *L = y->factor, scratch[BLOCK * BLOCK];
    for (int64_t i = 0; i < n; i++) {
        const double *row = y->H + y->support[i] * y->ld;
        for (int64_t j = 0; j <= i; j++) L[i * y->ld + j] = row[y->support[j]];
        L[i * y->ld + i] *= 1 + 1e-12;
    }
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int64_t end = first + BLOCK < n ? first + BLOCK : n;
        for (int64_t i = first; i < end; i++) { /* less what the columns before have of it */
            double *row = L + i * y->ld;
            k->solve_lower(L, y->ld, first, row);
        }
        for (int64_t i = first; i < end; i++)
            for (int64_t j = first; j <= i; j++) {
                double sum = 0;
                for (int64_t c = 0; c < first; c++) sum += L[i * y->ld + c] * L[j * y->ld + c];
                L[i * y->ld + j] -= sum;
            }
        if (!k->factor_diagonal(L + first * y->ld + first, y->ld, end - first, scratch, NULL)) return 0;
    }
    return 1;
}

/* Towards the minimum for the signs as they are; 0: there is no way */
static int solve_for_signs(system_of_weights *y)
{
    const int64_t n_weights = y->n_weights;
    const double l1 = y->l1;
    int64_t n = 0, hit = -1;
    for (int64_t j = 0; j < y->n; j++)
        if (l1 == 0 || j >= n_weights || y->w[j] != 0) y->support[n++] = j;
    if (n == 0) return 1;
    if (!factor_support(y, n)) return 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = y->support[i];
        y->x[i] = -(y->g[j] + (j >= n_weights ? 0 : y->w[j] > 0 ? l1 : -l1));
    }
    y->k->solve_lower(y->factor, y->ld, n, y->x);
    y->k->solve_upper(y->factor, y->ld, n, y->x);
    double share = 1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = y->support[i];
        if (!isfinite(y->x[i])) return 0;
        if (l1 == 0 || j >= n_weights || (y->w[j] + y->x[i]) * y->w[j] > 0) continue;
        const double crossing = -y->w[j] / y->x[i];
        if (crossing <= share) share = crossing, hit = j;
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = y->support[i];
        const double to = j == hit ? 0 : y->w[j] + share * y->x[i], delta = to - y->w[j];
        y->w[j] = to;
        if (delta != 0) move_along(y, j, delta);
    }
    return 1;
}

/* To the minimum; 0: the matrix is not positive definite */
static int solve_system(system_of_weights *y, double enough)
{
    for (int64_t i = 0; i < MOST_SWEEPS; i++) {
        double moved;
        const int same = sweep_system(y, &moved);
        if (moved <= enough) break;
        if (same && !solve_for_signs(y)) return 0;
    }
    return 1;
}

rc_gram_end rc_descent_by_gram(rc_coordinate *s, const rc_control *control, step *t, double enough)
{
    const int64_t n_weights = t->n_moving - (s->options.intercept ? s->C : 0);
    const double l2 = t->todo->penalty.l2;
    system_of_weights y;
    const size_t bytes = layout(&y, t->n_moving, s->ld, NULL) + ALIGNMENT;
    if ((int64_t)bytes > s->gram_size) {
        double *memory = malloc(bytes);
        if (!memory) return GRAM_NO_MEMORY;
        free(s->gram);
        s->gram = memory;
        s->gram_size = (int64_t)bytes;
    }
    layout(&y, t->n_moving, s->ld, (char *)s->gram + (ALIGNMENT - (uintptr_t)s->gram % ALIGNMENT) % ALIGNMENT);
    if (make_system(s, control, t, &y)) return GRAM_STOPPED;
    for (int64_t j = 0; j < n_weights && l2 > 0; j++) y.g[j] += 2 * l2 * y.w[j];
    memcpy(y.before, y.w, (size_t)y.n * sizeof(double));
    y.k = s->wide;
    y.l1 = t->todo->penalty.l1;
    y.n_weights = n_weights;
    /* a model that curves downwards by rounding: probabilities of one and the like */
    if (!solve_system(&y, enough)) return GRAM_UNFIT;
    for (int64_t j = 0; j < y.n; j++) {
        const moving *m = &t->moving[j];
        if (y.w[j] == y.before[j]) continue;
        const rc_model_class q = model_class(s, m->c);
        s->k->column_step(m->x, &q, y.w[j] - y.before[j]);
        *m->w = y.w[j];
        t->numbers += (double)m->x->n;
    }
    return GRAM_DONE;
}

rc_status rc_minimise_quadratic(const double *H, int64_t n, int64_t n_weights, const double *g, double l1, double l2,
                                double enough, double *w, int *is_definite, rc_error *error)
{
    system_of_weights y;
    const size_t bytes = layout(&y, n, 0, NULL) + ALIGNMENT;
    char *memory = malloc(bytes);
    if (!memory) return fail(error, RC_ERROR_MEMORY, "", "out of memory");
    layout(&y, n, 0, memory + (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT);
    y.k = rc_kernels_for(RC_FLOAT64);
    y.l1 = l1;
    y.n_weights = n_weights;
    for (int64_t i = 0; i < n; i++) {
        memcpy(y.H + i * y.ld, H + i * n, (size_t)n * sizeof(double));
        for (int64_t j = n; j < y.ld; j++) y.H[i * y.ld + j] = 0;
        y.w[i] = w[i];
        y.g[i] = g[i];
        if (i >= n_weights) continue;
        y.H[i * y.ld + i] += 2 * l2;
        y.g[i] += 2 * l2 * w[i];
    }
    int has_diagonal = 1;
    for (int64_t i = 0; i < n; i++) has_diagonal &= y.H[i * y.ld + i] > 0;
    *is_definite = has_diagonal && solve_system(&y, enough);
    memcpy(w, y.w, (size_t)n * sizeof(double));
    free(memory);
    return RC_OK;
}
