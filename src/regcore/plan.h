/*
 * How a call walks over X: which view of a block each product uses, how many rows make a block and a chunk, and what
 * every thread needs.  Everything follows from the shapes and types alone, never from the number of threads: that is
 * what makes the result the same, bit for bit, with any number of them.
 */
#ifndef REGCORE_PLAN_H
#define REGCORE_PLAN_H

#include "kernels.h"

typedef enum { BY_ROWS, BY_COLUMNS, BY_TRANSPOSED_ROWS } rc_view;
typedef enum { ABSENT, DIRECT, PACKED, TRANSPOSED } rc_source;

typedef struct {
    const rc_kernels *k;
    const rc_problem *problem;
    rc_rows rows;
    int64_t D, C, M, MC;
    int sparse;

    rc_view scores_view, gradient_view;
    rc_source row_source, column_source; /* where each view of a block comes from; TRANSPOSED: rows from columns */
    rc_dtype stored;                     /* of the rows that the products read */
    rc_row_shape shape;                  /* of a row, and of packed W and G */
    int64_t n_table;                     /* CSR: rows of the tables Wt and Gt, all columns or those that occur */
    int64_t ldw;                         /* CSR: their row length, all panels together */
    double nonzeros;                     /* CSR: of the rows */
    int64_t most_frequent;               /* CSR: columns whose float32 sums go to double now and then, see columns.h */

    int soft; /* the labels are distributions: soft targets, or smoothed */
    int64_t target_ld;

    int64_t block, ld;         /* most rows in a block; the leading dimension of its scores */
    int64_t load;              /* rows loaded at a time: packed rows are scored while they are in L1 */
    int64_t column_ld, row_ld; /* leading dimensions of packed views */
    int64_t n_chunks;
    ptrdiff_t prefetch_step; /* bytes of the next block for each inner iteration on this one */
    int shared_gradient;     /* one gradient for all threads, a super-block of rows at a time */
    int64_t super_block, task_classes;

    int64_t gradient_length; /* reals in a thread's G */
} rc_plan;

/* A thread's buffers, carved out of one allocation */
typedef struct {
    const void **x_rows, **x_columns;
    const char **sources;
    int64_t *row_ids;
    void *packed_rows, *packed_columns, *piece;
    void *S, *pair, *y, *w, *G; /* pair: two rows of scores */
    void *T;                    /* soft targets */
    double *features;           /* CSR: sums of FEATURE_RUN features */
    double unit;                /* of the slopes, see rc_unit */
} rc_scratch;

enum { FEATURE_RUN = 64 }; /* features of a CSR problem that are transposed together */

/* occurring: of a CSR problem, NULL: the tables have a row for each column */
void rc_make_plan(rc_plan *plan, const rc_problem *problem, const rc_rows *rows, rc_dtype real, int with_gradient,
                  const rc_occurring *occurring);

/* Chunk i is [rc_chunk_start(i), rc_chunk_start(i + 1)): large ones first, so that threads end together. */
int64_t rc_chunk_start(const rc_plan *plan, int64_t chunk);

/* Bytes of a thread's scratch, and its pointers into memory aligned to 64 bytes (NULL: only the size) */
size_t rc_layout_scratch(const rc_plan *plan, char *memory, rc_scratch *scratch);

/* Makes the views of rows [first, first + n) that the plan asks for, as rows at, at + 1, ... of the block. */
void rc_load_rows(const rc_plan *plan, const rc_scratch *scratch, int64_t first, int64_t at, int64_t n);

/* Loads the labels of rows [first, first + n) into scratch->y or T, for rc_block_loss. */
void rc_load_labels(const rc_plan *plan, const rc_scratch *scratch, int64_t first, int64_t n);

/*
 * What the weights of a chunk (or super-block) of dense rows are multiplied by in float32, and its sums divided by in
 * double: 1 for the first, otherwise between 1/2 and 1.  Where many slopes are equal, as they are at W = 0, and a
 * feature has few values, a rounding error comes back again and again and would grow with the rows; with a unit of its
 * own each chunk has others, which cancel like those of any numbers.  Units have few bits: they leave small integers
 * exact.
 */
double rc_unit(const rc_plan *plan, int64_t chunk);

/* Weighted loss of a block of scores of one model, which become slopes; weights in scratch->w. `first` is its first
 * row. NaN in *check: a score was not finite. */
double rc_block_loss(const rc_plan *plan, const rc_scratch *scratch, void *S, int64_t first, int64_t n, double *check);

/* How many threads the work is worth, at most `wanted`. */
int rc_useful_threads(const rc_plan *plan, int wanted);

#endif
