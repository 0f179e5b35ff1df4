/*
 * What a call must know of the columns of a CSR problem.  Those that occur, if they are few: a small batch of rows, or
 * few rows of many features, then costs its nonzeros, and one pass over the gradient that is asked for.
 *
 * And the frequent ones.  A float32 sum loses digits as it grows long, and only the columns that many rows have get
 * long sums, of more than LONG_SUM terms in a chunk: these are moved to sums in double now and then, the more frequent
 * the more often, so that none has many more than SUM_ROWS terms.  (At W = 0 all terms may be equal, and their rounding
 * errors too: they do not cancel.) Their frequencies are those in a sample of the rows, which is the same in every
 * call.
 */
#ifndef REGCORE_COLUMNS_H
#define REGCORE_COLUMNS_H

#include "kernels.h"

/* How many nonzeros the rows have */
int64_t rc_count_nonzeros(const rc_matrix *X, const rc_rows *rows);

/* The columns that occur in the rows, and the memory that holds them, to be freed; NULL: they may be many. */
rc_status rc_find_occurring(const rc_matrix *X, const rc_rows *rows, rc_occurring *occurring, void **memory);

enum { SUM_ROWS = 128, LONG_SUM = 512, FREQUENCY_LEVELS = 24 };

typedef struct {
    int64_t n;
    int32_t *columns;                /* the most frequent ones first */
    int32_t *ascending;              /* columns[ascending[0]] < columns[ascending[1]] < ... */
    int64_t n_due[FREQUENCY_LEVELS]; /* how many are due every SUM_ROWS << level rows */
} rc_frequent;

/* At most how many columns are frequent, if a chunk has so many rows and nonzeros */
int64_t rc_most_frequent(int64_t n_features, double chunk_rows, double chunk_nonzeros);

/* Those of the rows, at most `most`, as rows of the n_features of a table; counts: n_features of working memory, 0
 * afterwards */
void rc_find_frequent(const rc_matrix *X, const rc_rows *rows, const rc_occurring *occurring, int64_t n_features,
                      int64_t chunk_rows, int64_t most, uint32_t *counts, rc_frequent *frequent);

/* How many of the columns are due after so many rows of a chunk, a multiple of SUM_ROWS */
int64_t rc_due_columns(const rc_frequent *frequent, int64_t n_rows);

/* The first i with columns[ascending[i]] >= column */
int64_t rc_first_frequent(const rc_frequent *frequent, int64_t column);

#endif
