/*
 * What the files of coordinate descent share: coordinate.c has the points, the columns and the steps, gram.c solves a
 * model by its matrix, working_set.c has certificates and chooses what takes part.
 */
#ifndef REGCORE_DESCENT_H
#define REGCORE_DESCENT_H

#include "kernels.h"
#include "poll.h"

enum { EXTRAPOLATED = 5 }; /* differences of sweeps */

/* Columns that were copied together */
typedef struct chunk {
    struct chunk *next;
} chunk;

struct rc_coordinate {
    rc_problem problem;
    rc_coordinate_options options;
    const rc_kernels *k, *wide; /* of the columns; of the samples */
    int64_t N, D, C, n_active, ld;
    int is_soft;
    rc_model_form form;
    int64_t *active; /* rows of X with a weight */
    double *weight, *inverse, *label, *targets;
    rc_column ones;
    double ones_square;

    /* (C, ld) */
    double *scores, *gradient, *slope, *curvature, *share, *own, *change, *trial;
    double *mean, *pull; /* (ld,) */
    double *b, *old_b, *curvature_b;

    /* the columns of the working set */
    int32_t *slot; /* (D,): which of them a feature is, or -1 */
    int64_t n_columns, capacity;
    int64_t *features;
    rc_column *columns;
    int64_t *list,
        *list_starts; /* of the weights that take part in steps, as in rc_coordinate_work; list_starts (C + 1,) */
    int64_t list_capacity;
    double *shift, *square; /* (capacity,) */
    double *W;              /* (capacity, C) */
    chunk *chunks;

    /* of a step: a place for every weight that takes part */
    double *room;
    int64_t room_size;
    double *gram; /* of the model, where it is worth it: see gram.c */
    int64_t gram_size;
    double value;
    int has_point;

    /* slopes of all weights, once they were asked for: see working_set.c */
    void *V, *u; /* (C, D) and (N, C) of `real` */
    double *r;   /* (C,): those of the intercepts */
    void *given; /* (D,) of `real` */
    int64_t *places;
    double *excess;
    int64_t n_places;
    double entropy;
    int has_entropy;
    char *memory;
    struct timespec polled;
    double work;
};

static inline rc_model_class model_class(const rc_coordinate *s, int64_t c)
{
    const int64_t at = c * s->ld;
    return (rc_model_class){s->form,
                            s->slope + at,
                            s->curvature + at,
                            s->change + at,
                            s->share ? s->share + at : NULL,
                            s->own ? s->own + at : NULL,
                            s->mean,
                            s->pull};
}

static inline double *weight_at(const rc_coordinate *s, int64_t column, int64_t c) { return s->W + column * s->C + c; }

/* A weight that moves, or an intercept */
typedef struct {
    const rc_column *x;
    double *w;
    int64_t c;
    double curvature;
} moving;

/* A step in progress: the weights that take part, class by class, or feature by feature with a group penalty. */
typedef struct {
    const rc_coordinate_work *todo;
    int in_groups;
    int64_t n;        /* weights */
    int64_t n_moving; /* weights that later sweeps visit, and intercepts */
    moving *moving;
    double *old, *curvature;     /* (n,) */
    double *history;             /* (EXTRAPOLATED + 1, n + C) */
    int64_t *active;             /* places in `columns`, class by class */
    int64_t *active_starts;      /* (C + 1,) */
    double *slopes, *curvatures; /* (C,) of a feature */
    double violation, residual;  /* the largest that were met in a sweep */
    double numbers;              /* of columns, as they are visited */
    double moved;                /* the largest curvature * step^2 */
} step;

static inline double larger(double a, double b) { return a > b ? a : b; }

/* Whether the host wants to stop, asked after so much work */
static inline int worked(rc_coordinate *s, const rc_control *control, double work)
{
    enum { WORK_PER_POLL = 1 << 18 }; /* numbers of columns between two looks at the clock */
    s->work += work;
    if (s->work < WORK_PER_POLL) return 0;
    s->work = 0;
    return asked_to_stop(control, &s->polled);
}

/* Scores anew from the weights, and the loss there */
rc_status rc_descent_evaluate(rc_coordinate *s, rc_error *error);

/* Whether the matrix of the weights that move may be made */
int rc_descent_has_gram(const rc_coordinate *s, const step *t);

/* How many sweeps to try before, the first one included */
int64_t rc_descent_gram_sweeps(const step *t);

/* Minimises the model over the weights that move, and moves them unless the matrix turns out to be unfit. */
typedef enum { GRAM_DONE, GRAM_UNFIT, GRAM_STOPPED, GRAM_NO_MEMORY } rc_gram_end;
rc_gram_end rc_descent_by_gram(rc_coordinate *s, const rc_control *control, step *t, double enough);

#endif
