/* The one function that checks a problem.  Everything behind it trusts what it let pass. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels.h"

static rc_status reject(rc_error *error, const char *argument, const char *message, int64_t row, int64_t column,
                        double value)
{
    if (error) *error = (rc_error){argument, message, row, column, value};
    return RC_ERROR_ARGUMENT;
}

static double read_real(const char *at, rc_dtype dtype)
{
    float single;
    double x;
    if (dtype == RC_FLOAT32) {
        memcpy(&single, at, sizeof single);
        return single;
    }
    memcpy(&x, at, sizeof x);
    return x;
}

#define LABEL_RANGE(type)                                                                                              \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
        type label;                                                                                                    \
        memcpy(&label, (const char *)y->data + i * y->stride, sizeof label);                                           \
        low = label < low ? label : low;                                                                               \
        high = label > high ? label : high;                                                                            \
    }                                                                                                                  \
    ok = (double)low >= 0 && (double)high < (double)n_labels;                                                          \
    for (int64_t i = 0; !ok && i < n; i++) {                                                                           \
        memcpy(&low, (const char *)y->data + i * y->stride, sizeof low);                                               \
        if ((double)low < 0 || (double)low >= (double)n_labels)                                                        \
            return reject(error, "y", "must hold labels 0 .. n_classes - 1", i, -1, (double)low);                      \
    }                                                                                                                  \
    return RC_OK;

#define CHECK_LABELS(name, type)                                                                                       \
    static rc_status check_labels_##name(const rc_vector *y, int64_t n, int64_t n_labels, rc_error *error)             \
    {                                                                                                                  \
        type low = 0, high = 0;                                                                                        \
        int ok;                                                                                                        \
        LABEL_RANGE(type)                                                                                              \
    }
CHECK_LABELS(uint8, uint8_t)
CHECK_LABELS(int8, int8_t)
CHECK_LABELS(int16, int16_t)
CHECK_LABELS(uint16, uint16_t)
CHECK_LABELS(int32, int32_t)
CHECK_LABELS(uint32, uint32_t)
CHECK_LABELS(int64, int64_t)
CHECK_LABELS(uint64, uint64_t)

/* A probability of label 1 */
static rc_status check_probabilities(const rc_vector *y, int64_t n, rc_error *error)
{
    for (int64_t i = 0; i < n; i++) {
        const char *at = (const char *)y->data + i * y->stride;
        const double t = read_real(at, y->dtype);
        if (!(t >= 0 && t <= 1)) return reject(error, "y", "must hold probabilities of label 1, in [0, 1]", i, -1, t);
    }
    return RC_OK;
}

/* The sum may differ from 1 by what the rounding of its terms can add up to. */
static rc_status check_targets(const rc_targets *t, int64_t n, int64_t n_labels, rc_error *error)
{
    const double tolerance = 1e-6 + (t->dtype == RC_FLOAT32 ? FLT_EPSILON : DBL_EPSILON) * (double)n_labels;
    if (t->dtype != RC_FLOAT32 && t->dtype != RC_FLOAT64)
        return reject(error, "y", "must hold float32 or float64 if it has a column for each class", -1, -1, 0);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t c = 0; c < n_labels; c++) {
            const double x = read_real((const char *)t->data + i * t->row_stride + c * t->column_stride, t->dtype);
            if (!(x >= 0) || !isfinite(x)) return reject(error, "y", "must hold probabilities >= 0", i, c, x);
            sum += x;
        }
        if (!(fabs(sum - 1) <= tolerance))
            return reject(error, "y", "must hold probabilities that sum to 1 in each row", i, -1, sum);
    }
    return RC_OK;
}

static rc_status check_soft(const rc_problem *p, rc_error *error)
{
    if (!(p->label_smoothing >= 0 && p->label_smoothing < 1))
        return reject(error, "label_smoothing", "must be in [0, 1)", -1, -1, p->label_smoothing);
    if (rc_is_soft(p) && p->loss != RC_CROSS_ENTROPY)
        return reject(error, "loss", "must be cross_entropy for soft targets and smoothed labels", -1, -1, 0);
    if (p->targets.data) return check_targets(&p->targets, p->X.n_rows, p->n_classes > 1 ? p->n_classes : 2, error);
    return RC_OK;
}

static rc_status check_labels(const rc_vector *y, int64_t n, int64_t n_labels, rc_error *error)
{
    switch (y->dtype) {
    case RC_UINT8: return check_labels_uint8(y, n, n_labels, error);
    case RC_INT8: return check_labels_int8(y, n, n_labels, error);
    case RC_INT16: return check_labels_int16(y, n, n_labels, error);
    case RC_UINT16: return check_labels_uint16(y, n, n_labels, error);
    case RC_INT32: return check_labels_int32(y, n, n_labels, error);
    case RC_UINT32: return check_labels_uint32(y, n, n_labels, error);
    case RC_INT64: return check_labels_int64(y, n, n_labels, error);
    case RC_UINT64: return check_labels_uint64(y, n, n_labels, error);
    default: return reject(error, "y", "must hold integers", -1, -1, 0);
    }
}

static rc_status check_weights(const rc_problem *p, rc_error *error)
{
    const rc_vector *w = &p->weights;
    const int64_t n_vectors = p->weights_model_stride ? p->n_models : 1;
    for (int64_t m = 0; m < n_vectors; m++) {
        const char *base = (const char *)w->data + m * p->weights_model_stride;
        double sum = 0;
        for (int64_t i = 0; i < p->X.n_rows; i++) {
            const char *at = base + i * w->stride;
            const double x =
                w->dtype == RC_FLOAT32 ? *(const float *)(const void *)at : *(const double *)(const void *)at;
            if (!(x >= 0) || !isfinite(x))
                return reject(error, "sample_weight", "must be finite and not negative", i, -1, x);
            sum += x;
        }
        if (!(sum > 0) || !isfinite(sum))
            return reject(error, "sample_weight", "must have a positive, finite sum", -1, -1, sum);
    }
    return RC_OK;
}

#define CHECK_CSR(name, type)                                                                                          \
    static rc_status check_csr_##name(const rc_matrix *X, rc_error *error)                                             \
    {                                                                                                                  \
        const type *indptr = X->indptr, *indices = X->indices;                                                         \
        if (indptr[0] != 0) return reject(error, "X.indptr", "must start with 0", 0, -1, (double)indptr[0]);           \
        for (int64_t i = 0; i < X->n_rows; i++)                                                                        \
            if (indptr[i + 1] < indptr[i])                                                                             \
                return reject(error, "X.indptr", "must not decrease", i + 1, -1, (double)indptr[i + 1]);               \
        if (indptr[X->n_rows] > X->nnz)                                                                                \
            return reject(error, "X.indptr", "must not exceed the length of data and indices", X->n_rows, -1,          \
                          (double)indptr[X->n_rows]);                                                                  \
        /* a sign bit comes from an index below 0, or from one that the last column is less than */                    \
        const u##type last = (u##type)(X->n_columns - 1);                                                              \
        u##type signs = 0;                                                                                             \
        for (int64_t i = 0; i < indptr[X->n_rows]; i++) signs |= (u##type)indices[i] | (last - (u##type)indices[i]);   \
        if (!(signs >> (8 * sizeof(type) - 1))) return RC_OK;                                                          \
        if (X->n_columns == 0 && indptr[X->n_rows] == 0) return RC_OK;                                                 \
        for (int64_t r = 0;; r++)                                                                                      \
            for (int64_t i = indptr[r]; i < indptr[r + 1]; i++)                                                        \
                if (indices[i] < 0 || indices[i] >= X->n_columns)                                                      \
                    return reject(error, "X.indices", "must lie in [0, n_features)", r, -1, (double)indices[i]);       \
    }
CHECK_CSR(32, int32_t)
CHECK_CSR(64, int64_t)

rc_status rc_check_problem(const rc_problem *p, rc_error *error)
{
    const rc_matrix *X = &p->X;
    if (X->n_rows < 1) return reject(error, "X", "must have at least one sample", -1, -1, (double)X->n_rows);
    if (X->n_columns < 1) return reject(error, "X", "must have at least one feature", -1, -1, (double)X->n_columns);
    if ((unsigned)X->dtype > RC_UINT64) return reject(error, "X", "has an unknown type", -1, -1, X->dtype);
    if (!X->data && (!X->indices || X->nnz)) return reject(error, "X", "is missing", -1, -1, 0);
    if (p->n_models < 1) return reject(error, "W", "must hold at least one model", -1, -1, (double)p->n_models);
    if (p->n_classes < 1) return reject(error, "W", "must have at least one row", -1, -1, (double)p->n_classes);
    if (p->n_classes > 1 << 24) return reject(error, "W", "must have at most 2^24 rows", -1, -1, (double)p->n_classes);
    if ((unsigned)p->loss >= RC_N_LOSSES) return reject(error, "loss", "is unknown", -1, -1, (double)p->loss);
    if (X->indices && X->n_columns > INT32_MAX)
        return reject(error, "X", "must have fewer than 2^31 columns if sparse", -1, -1, (double)X->n_columns);
    if (X->indices) {
        const rc_status status = X->index_dtype == RC_INT32 ? check_csr_32(X, error)
                                 : X->index_dtype == RC_INT64
                                     ? check_csr_64(X, error)
                                     : reject(error, "X.indices", "must be int32 or int64", -1, -1, 0);
        if (status != RC_OK) return status;
    }
    if (p->weights.data) {
        if (p->weights.dtype != RC_FLOAT32 && p->weights.dtype != RC_FLOAT64)
            return reject(error, "sample_weight", "must be float32 or float64", -1, -1, 0);
        const rc_status status = check_weights(p, error);
        if (status != RC_OK) return status;
    }
    const rc_status status = check_soft(p, error);
    if (status != RC_OK || !p->y.data) return status;
    if (p->n_classes == 1 && (p->y.dtype == RC_FLOAT32 || p->y.dtype == RC_FLOAT64))
        return check_probabilities(&p->y, X->n_rows, error);
    return check_labels(&p->y, X->n_rows, p->n_classes > 1 ? p->n_classes : 2, error);
}

int rc_find_not_finite(const rc_problem *problem, const rc_rows *rows, rc_error *error)
{
    const rc_matrix *X = &problem->X;
    const rc_kernels *k = rc_kernels_for(RC_FLOAT64);
    const int sparse = X->indices != NULL, wide = X->index_dtype == RC_INT64;
    for (int64_t i = 0; i < rows->n; i++) {
        const int64_t row = rc_row_at(rows, i);
        int64_t first = 0, end = X->n_columns;
        if (sparse) {
            first = wide ? ((const int64_t *)X->indptr)[row] : ((const int32_t *)X->indptr)[row];
            end = wide ? ((const int64_t *)X->indptr)[row + 1] : ((const int32_t *)X->indptr)[row + 1];
        }
        for (int64_t j = first; j < end; j++) {
            const char *at = (const char *)X->data +
                             (sparse ? j * rc_item_size(X->dtype) : row * X->row_stride + j * X->column_stride);
            double x;
            k->pack_rows(&at, X->dtype, rc_item_size(X->dtype), 1, 1, &x, 1);
            if (isfinite(x)) continue;
            const int64_t column = !sparse ? j
                                   : wide  ? ((const int64_t *)X->indices)[j]
                                           : ((const int32_t *)X->indices)[j];
            if (error) *error = (rc_error){"X", "must be finite", row, column, x};
            return 1;
        }
    }
    return 0;
}

const char *rc_status_message(rc_status status)
{
    switch (status) {
    case RC_OK: return "ok";
    case RC_ERROR_ARGUMENT: return "invalid argument";
    case RC_ERROR_NOT_FINITE: return "not a finite number";
    case RC_ERROR_OVERFLOW: return "overflow";
    case RC_ERROR_MEMORY: return "out of memory";
    case RC_INTERRUPTED: return "interrupted";
    }
    return "unknown status";
}
