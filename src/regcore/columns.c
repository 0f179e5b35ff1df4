#include "columns.h"

#include <stdlib.h>
#include <string.h>

#include "access.h"

enum { FEW_OCCUR = 4, SAMPLED_ROWS = 1024, MOST_FREQUENT = 8192 };

/* ---------------------------------------------------------------- occurring columns */

int64_t rc_count_nonzeros(const rc_matrix *X, const rc_rows *rows)
{
    int64_t sum = 0;
    if (rows->n < 1) return 0;
    if (!rows->index && rows->step == 1) return row_start(X, rows->start + rows->n) - row_start(X, rows->start);
    for (int64_t i = 0; i < rows->n; i++) {
        const int64_t row = rc_row_at(rows, i);
        sum += row_start(X, row + 1) - row_start(X, row);
    }
    return sum;
}

rc_status rc_find_occurring(const rc_matrix *X, const rc_rows *rows, rc_occurring *occurring, void **memory)
{
    *occurring = (rc_occurring){0};
    *memory = NULL;
    const int64_t nonzeros = rc_count_nonzeros(X, rows), n_words = X->n_columns / 64 + 1;
    if (nonzeros > X->n_columns / FEW_OCCUR) return RC_OK;
    uint64_t *bits =
        calloc((size_t)n_words * (sizeof *bits + sizeof(uint32_t)) + (size_t)nonzeros * sizeof(int32_t), 1);
    if (!bits) return RC_ERROR_MEMORY;
    uint32_t *before = (uint32_t *)(void *)(bits + n_words), n = 0;
    int32_t *columns = (int32_t *)(void *)(before + n_words);
    for (int64_t i = 0; i < rows->n; i++) {
        const int64_t row = rc_row_at(rows, i);
        for (int64_t k = row_start(X, row), end = row_start(X, row + 1); k < end; k++) {
            const int64_t column = column_of(X, k);
            bits[column / 64] |= (uint64_t)1 << column % 64;
        }
    }
    for (int64_t word = 0; word < n_words; word++) {
        before[word] = n;
        for (int bit = 0; bits[word] && bit < 64; bit++)
            if (bits[word] >> bit & 1) columns[n++] = (int32_t)(64 * word + bit);
    }
    *memory = bits;
    *occurring = (rc_occurring){n, columns, bits, before};
    return RC_OK;
}

/* ---------------------------------------------------------------- frequent columns */

int64_t rc_most_frequent(int64_t n_features, double chunk_rows, double chunk_nonzeros)
{
    if (chunk_rows <= SUM_ROWS) return 0;
    /* twice as many as can have SUM_ROWS nonzeros: a sample may take a column for more frequent than it is */
    const double most = 2 * chunk_nonzeros / SUM_ROWS + 1;
    const int64_t bound = most < MOST_FREQUENT ? (int64_t)most : MOST_FREQUENT;
    return bound < n_features ? bound : n_features;
}

/* Row i of a sample, one from each of n_sampled equal parts: at a pseudorandom place, since rows may have a period */
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

void rc_find_frequent(const rc_matrix *X, const rc_rows *rows, const rc_occurring *occurring, int64_t n_features,
                      int64_t chunk_rows, int64_t most, uint32_t *counts, rc_frequent *frequent)
{
    const int64_t n_sampled = rows->n < SAMPLED_ROWS ? rows->n : SAMPLED_ROWS;
    memset(counts, 0, (size_t)n_features * sizeof *counts);
    for (int64_t i = 0; i < n_sampled; i++) {
        const int64_t row = rc_row_at(rows, sampled_row(i, n_sampled, rows->n));
        for (int64_t k = row_start(X, row), end = row_start(X, row + 1); k < end; k++) {
            const int64_t column = column_of(X, k);
            counts[occurring ? rc_row_of_column(occurring, column) : column]++;
        }
    }

    int64_t n_levels = 0, n_at[FREQUENCY_LEVELS] = {0}, next[FREQUENCY_LEVELS];
    while (n_levels < FREQUENCY_LEVELS && (int64_t)SUM_ROWS << n_levels < chunk_rows) n_levels++;
    const uint32_t least = (uint32_t)(n_sampled >> n_levels) + 1; /* of a level below n_levels */
    for (int64_t d = 0; d < n_features; d++)
        if (counts[d] >= least) n_at[level_of(counts[d], n_sampled)]++;
    int64_t total = 0;
    for (int level = 0; level < FREQUENCY_LEVELS; level++) {
        next[level] = total;
        total += n_at[level];
        frequent->n_due[level] = total < most ? total : most;
    }
    frequent->n = frequent->n_due[FREQUENCY_LEVELS - 1];
    int64_t n_ascending = 0;
    for (int64_t d = 0; d < n_features; d++) {
        if (counts[d] < least) continue;
        const int64_t at = next[level_of(counts[d], n_sampled)]++;
        if (at >= frequent->n) continue;
        frequent->columns[at] = (int32_t)d;
        frequent->ascending[n_ascending++] = (int32_t)at;
    }
    memset(counts, 0, (size_t)n_features * sizeof *counts);
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
