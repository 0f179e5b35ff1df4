/* Histograms of colours: the bins of a block of pixels by the level's kernel, then their counts. */
#include <string.h>

#include "kernels.h"

enum { PIXELS = 2048, TABLES = 4, MOST_BINS = 1024 };

rc_status rc_colour_counts(const unsigned char *pixels, int64_t n, const int32_t bins[3], int64_t *counts,
                           rc_error *error)
{
    for (int i = 0; i < 3; i++) {
        if (bins[i] < 1 || bins[i] > 4096 || (int64_t)bins[0] * bins[1] * bins[2] > INT32_MAX) {
            *error = (rc_error){.argument = "bins",
                                .message = "must be three numbers from 1 to 4096 with a product below 2**31",
                                .row = -1,
                                .column = -1};
            return RC_ERROR_ARGUMENT;
        }
    }
    const rc_kernels *k = rc_kernels_for(RC_FLOAT32);
    const int32_t n_bins = bins[0] * bins[1] * bins[2];
    int32_t index[PIXELS];
    memset(counts, 0, (size_t)n_bins * sizeof *counts);
    /* Neighbours are often of one colour: a table each, so that no count waits for the one before. */
    int64_t partial[TABLES][MOST_BINS];
    const int several = n_bins <= MOST_BINS;
    if (several)
        for (int t = 0; t < TABLES; t++) memset(partial[t], 0, (size_t)n_bins * sizeof partial[t][0]);
    for (int64_t first = 0; first < n; first += PIXELS) {
        const int64_t m = n - first < PIXELS ? n - first : PIXELS;
        k->colour_bins(pixels + 4 * first, m, bins, index);
        int64_t i = 0;
        if (several)
            for (; i + TABLES <= m; i += TABLES)
                for (int t = 0; t < TABLES; t++) partial[t][index[i + t]]++;
        for (; i < m; i++) counts[index[i]]++;
    }
    if (several)
        for (int t = 0; t < TABLES; t++)
            for (int32_t j = 0; j < n_bins; j++) counts[j] += partial[t][j];
    return RC_OK;
}
