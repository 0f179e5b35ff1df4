#include "frequent.h"

#include <string.h>

enum { SAMPLED_ROWS = 1024, MOST_FREQUENT = 8192 };

int64_t rc_most_frequent(int64_t n_features, double chunk_rows, double chunk_nonzeros)
{
    if (chunk_rows <= SUM_ROWS) return 0;
    /* twice as many as can have SUM_ROWS nonzeros: a sample may take a column for more frequent than it is */
    const double most = 2 * chunk_nonzeros / SUM_ROWS + 1;
    const int64_t bound = most < MOST_FREQUENT ? (int64_t)most : MOST_FREQUENT;
    return bound < n_features ? bound : n_features;
}

/* Row i of a sample, one from each of SAMPLED_ROWS equal parts: at a pseudorandom place, since rows may have a period */
static int64_t sampled_row(int64_t i, int64_t n_sampled, int64_t n)
{
    const int64_t first = n * i / n_sampled, end = n * (i + 1) / n_sampled;
    const uint64_t hash = (uint64_t)(i + 1) * 0x9e3779b97f4a7c15;
    return first + (int64_t)((hash >> 32) % (uint64_t)(end - first));
}

/* The level of a column that `count` of the sampled rows have: it has SUM_ROWS of SUM_ROWS << level rows at most. */
static int level_of(uint32_t count, int64_t n_sampled)
{
    int level = 0;
    while (level + 1 < FREQUENCY_LEVELS && (int64_t)count << (level + 1) <= n_sampled) level++;
    return level;
}

void rc_find_frequent(const rc_matrix *X, const rc_rows *rows, int64_t chunk_rows, int64_t most, uint32_t *counts,
                      rc_frequent *frequent)
{
    const int64_t n_sampled = rows->n < SAMPLED_ROWS ? rows->n : SAMPLED_ROWS;
    const int narrow = X->index_dtype == RC_INT32;
    memset(counts, 0, (size_t)X->n_columns * sizeof *counts);
    for (int64_t i = 0; i < n_sampled; i++) {
        const int64_t row = rc_row_at(rows, sampled_row(i, n_sampled, rows->n));
        const int32_t *indptr = X->indptr, *indices = X->indices;
        const int64_t *wide_indptr = X->indptr, *wide_indices = X->indices;
        const int64_t first = narrow ? indptr[row] : wide_indptr[row];
        const int64_t end = narrow ? indptr[row + 1] : wide_indptr[row + 1];
        for (int64_t k = first; k < end; k++) counts[narrow ? indices[k] : wide_indices[k]]++;
    }

    int64_t n_levels = 0, n_at[FREQUENCY_LEVELS] = {0}, next[FREQUENCY_LEVELS];
    while (n_levels < FREQUENCY_LEVELS && (int64_t)SUM_ROWS << n_levels < chunk_rows) n_levels++;
    const uint32_t least = (uint32_t)(n_sampled >> n_levels) + 1; /* of a level below n_levels */
    for (int64_t d = 0; d < X->n_columns; d++)
        if (counts[d] >= least) n_at[level_of(counts[d], n_sampled)]++;
    int64_t total = 0;
    for (int level = 0; level < FREQUENCY_LEVELS; level++) {
        next[level] = total;
        total += n_at[level];
        frequent->n_due[level] = total < most ? total : most;
    }
    frequent->n = frequent->n_due[FREQUENCY_LEVELS - 1];
    int64_t n_ascending = 0;
    for (int64_t d = 0; d < X->n_columns; d++) {
        if (counts[d] < least) continue;
        const int64_t at = next[level_of(counts[d], n_sampled)]++;
        if (at >= frequent->n) continue;
        frequent->columns[at] = (int32_t)d;
        frequent->ascending[n_ascending++] = (int32_t)at;
    }
    memset(counts, 0, (size_t)X->n_columns * sizeof *counts);
}

int64_t rc_due_columns(const rc_frequent *frequent, int64_t n_rows)
{
    int level = 0;
    if (frequent->n == 0) return 0;
    for (int64_t windows = n_rows / SUM_ROWS; windows % 2 == 0 && level < FREQUENCY_LEVELS - 1; windows /= 2) level++;
    return frequent->n_due[level];
}

int64_t rc_first_frequent(const rc_frequent *frequent, int64_t column)
{
    int64_t low = 0, high = frequent->n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (frequent->columns[frequent->ascending[middle]] < column)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
