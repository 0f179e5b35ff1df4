/* Small helpers of the host's side: arrays of a type that is known at run time, the places of a CSR matrix, failure. */
#ifndef REGCORE_ACCESS_H
#define REGCORE_ACCESS_H

#include "include/regcore.h"

static inline double number(const void *p, int64_t i, rc_dtype real)
{
    return real == RC_FLOAT32 ? ((const float *)p)[i] : ((const double *)p)[i];
}

static inline void put(void *p, int64_t i, rc_dtype real, double x)
{
    if (real == RC_FLOAT32)
        ((float *)p)[i] = (float)x;
    else
        ((double *)p)[i] = x;
}

static inline void *offset(const void *base, int64_t n, size_t size)
{
    return (char *)(uintptr_t)base + n * (int64_t)size;
}

static inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

static inline int64_t index_at(const void *indices, rc_dtype dtype, int64_t i)
{
    return dtype == RC_INT32 ? ((const int32_t *)indices)[i] : ((const int64_t *)indices)[i];
}

/* Where the nonzeros of a row begin, and the column of one */
static inline int64_t row_start(const rc_matrix *X, int64_t row) { return index_at(X->indptr, X->index_dtype, row); }
static inline int64_t column_of(const rc_matrix *X, int64_t k) { return index_at(X->indices, X->index_dtype, k); }

static inline rc_status fail(rc_error *error, rc_status status, const char *argument, const char *message)
{
    if (error) *error = (rc_error){argument, message, -1, -1, 0};
    return status;
}

#endif
