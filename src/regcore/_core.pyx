# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled core: objects over the C functions, status to exception, the GIL released around each call."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t, uintptr_t
from cpython.exc cimport PyErr_Occurred
cimport numpy as cnp
import numpy as np
import os
import threading

cnp.import_array()

cdef extern from "regcore.h" nogil:
    int RC_API_VERSION
    ctypedef enum rc_status:
        RC_OK
        RC_ERROR_ARGUMENT
        RC_ERROR_NOT_FINITE
        RC_ERROR_OVERFLOW
        RC_ERROR_MEMORY
        RC_INTERRUPTED
    ctypedef enum rc_dtype:
        RC_FLOAT32
        RC_FLOAT64
        RC_FLOAT16
        RC_UINT8
        RC_INT8
        RC_INT16
        RC_UINT16
        RC_INT32
        RC_UINT32
        RC_INT64
        RC_UINT64
    ctypedef enum rc_loss:
        pass
    ctypedef struct rc_error:
        const char *argument
        const char *message
        int64_t row
        int64_t column
        double value
    ctypedef struct rc_vector:
        const void *data
        rc_dtype dtype
        int64_t stride
    ctypedef struct rc_matrix:
        const void *data
        rc_dtype dtype
        int64_t n_rows
        int64_t n_columns
        int64_t row_stride
        int64_t column_stride
        const void *indices
        const void *indptr
        rc_dtype index_dtype
        int64_t nnz
    ctypedef struct rc_targets:
        const void *data
        rc_dtype dtype
        int64_t row_stride
        int64_t column_stride
    ctypedef struct rc_penalty:
        double l1
        double l2
        double group
    ctypedef struct rc_problem:
        rc_matrix X
        rc_vector y
        rc_targets targets
        double label_smoothing
        rc_vector weights
        int64_t weights_model_stride
        const int32_t *weights_of
        int is_stack
        rc_loss loss
        int64_t n_classes
        int64_t n_models
    ctypedef struct rc_rows:
        const int64_t *index
        int64_t start
        int64_t step
        int64_t n
    ctypedef struct rc_workspace:
        pass
    rc_workspace *rc_workspace_new()
    void rc_workspace_free(rc_workspace *)
    ctypedef struct rc_control:
        int n_threads
        int (*poll)(void *) noexcept nogil
        void *poll_context
        rc_workspace *workspace
    ctypedef struct rc_parameters:
        rc_dtype real
        const void *W
        const void *b
        const double *center
        const double *scale
        rc_penalty penalty
        const double *weight_sums
    ctypedef struct rc_gradient:
        double *value
        void *grad_W
        void *grad_b
    ctypedef struct rc_dual_point:
        const void *u
        int64_t u_stride
        const double *shrink
        const double *lose
        const double *gain
    ctypedef struct rc_prediction:
        void *scores
        int64_t scores_stride
        void *probabilities
        int64_t probabilities_stride
        int64_t *labels
    rc_status rc_check_problem(const rc_problem *, rc_error *)
    rc_status rc_evaluate(const rc_problem *, const rc_rows *, const rc_parameters *, const rc_control *,
                          rc_gradient *, rc_error *)
    rc_status rc_conjugate(const rc_problem *, const rc_rows *, const rc_parameters *, const rc_control *,
                           const rc_dual_point *, double *, rc_error *)
    rc_status rc_adjoint(const rc_problem *, const rc_rows *, const rc_parameters *, const rc_control *, const void *,
                         int64_t, rc_gradient *, rc_error *)
    rc_status rc_predict(const rc_problem *, const rc_rows *, const rc_parameters *, const rc_control *,
                         rc_prediction *, rc_error *)
    rc_status rc_column_statistics(const rc_problem *, const rc_control *, double *, double *, rc_error *)
    rc_status rc_penalty_value(rc_dtype, const void *, int64_t, int64_t, int64_t, const rc_penalty *, double *)
    rc_status rc_penalty_gradient(rc_dtype, const void *, int64_t, int64_t, int64_t, const rc_penalty *, void *)
    rc_status rc_penalty_prox(rc_dtype, const void *, int64_t, int64_t, int64_t, const rc_penalty *, double, void *)
    rc_status rc_gram_blocks(rc_dtype, const void *, const double *, int64_t, int64_t, int64_t, const rc_control *,
                             void *, rc_error *)
    rc_status rc_cholesky_blocks(rc_dtype, const void *, const double *, int64_t, int64_t, const rc_control *, void *,
                                 uint8_t *, rc_error *)
    rc_status rc_cholesky_solve(rc_dtype, const void *, int64_t, int64_t, const double *, int64_t,
                                const rc_control *, double *, rc_error *)
    rc_status rc_minimise_quadratic(const double *, int64_t, int64_t, const double *, double, double, double, double *,
                                    int *, rc_error *)
    ctypedef struct rc_pairs:
        const double *const *steps
        const double *const *changes
        int64_t n_pairs
        int64_t n
        const double *bend
        const double *free
    void rc_pairs_down(const rc_pairs *, double *, double *, double *)
    void rc_pairs_up(const rc_pairs *, const double *, const double *, double *)
    ctypedef struct rc_sgd:
        pass
    ctypedef struct rc_sgd_options:
        rc_dtype real
        rc_penalty penalty
        const double *center
        const double *scale
        int64_t batch_size
        double eta0
        double rate
        double power
        double momentum
        double intercept_rate
        double dropout
        int64_t average_from
        uint64_t seed
    rc_status rc_sgd_create(const rc_problem *, const rc_sgd_options *, const void *, const void *, rc_sgd **,
                            rc_error *)
    void rc_sgd_free(rc_sgd *)
    rc_status rc_sgd_epoch(rc_sgd *, const rc_control *, double *, rc_error *)
    void rc_sgd_set_eta0(rc_sgd *, double)
    void rc_sgd_parameters(rc_sgd *, int, void *, void *)
    ctypedef struct rc_sgd_state:
        void *W
        void *b
        void *V
        double *V_b
        double *sum
        double *sum_b
        int64_t epoch
        int64_t t
        int64_t n_averaged
    void rc_sgd_get_state(const rc_sgd *, rc_sgd_state *)
    void rc_sgd_set_state(rc_sgd *, const rc_sgd_state *)
    rc_status rc_sgd_curvature(const rc_problem *, const double *, const double *, uint64_t, int64_t, double *,
                               rc_error *)
    ctypedef struct rc_dual:
        pass
    ctypedef struct rc_dual_options:
        rc_dtype real
        rc_penalty penalty
        const double *center
        const double *scale
        int proximal
        const double *metric
        uint64_t seed
    rc_status rc_dual_create(const rc_problem *, const rc_dual_options *, const rc_control *, rc_dual **, rc_error *)
    void rc_dual_free(rc_dual *)
    void rc_dual_set_centre(rc_dual *, const void *, const double *, double, double)
    rc_status rc_dual_run(rc_dual *, const rc_control *, int64_t, int64_t, double *, int64_t *, rc_error *)
    rc_status rc_dual_refresh(rc_dual *, const rc_control *, double *, double *, double *, double *, rc_error *)
    rc_status rc_dual_class_sums(rc_dual *, const rc_control *, double *, double *, rc_error *)
    void rc_dual_parameters(const rc_dual *, int, void *, double *)
    ctypedef struct rc_dual_state:
        void *slopes
        void *centre
        void *A
        double *centre_b
        double *residual
        uint8_t *wait
        uint8_t *patience
        double curvature
        double inverse_step
        double intercept
        double spread
        int64_t epoch
    void rc_dual_get_state(const rc_dual *, rc_dual_state *)
    void rc_dual_set_state(rc_dual *, const rc_dual_state *)
    void rc_dual_slopes(const rc_dual *, void *)
    ctypedef struct rc_coordinate:
        pass
    ctypedef struct rc_coordinate_options:
        rc_dtype real
        const double *center
        const double *scale
        int intercept
    ctypedef struct rc_coordinate_work:
        const int64_t *columns
        const int64_t *starts
        rc_penalty penalty
        double reduction
        int64_t max_sweeps
        int64_t max_steps
        double violation
        double residual
    ctypedef struct rc_coordinate_progress:
        double loss
        double penalty
        double violation
        double residual
        double share
        int64_t n_sweeps
        int64_t n_steps
        double numbers
    ctypedef struct rc_coordinate_state:
        double *scores
        double *W
        double *b
    rc_status rc_coordinate_create(const rc_problem *, const rc_coordinate_options *, rc_coordinate **, rc_error *)
    void rc_coordinate_free(rc_coordinate *)
    rc_status rc_coordinate_add(rc_coordinate *, const int64_t *, int64_t, const rc_control *, rc_error *)
    int64_t rc_coordinate_n_columns(const rc_coordinate *)
    int64_t rc_coordinate_n_samples(const rc_coordinate *)
    rc_status rc_coordinate_set(rc_coordinate *, const double *, const double *, double *, rc_error *)
    void rc_coordinate_get(const rc_coordinate *, double *, double *)
    rc_status rc_coordinate_step(rc_coordinate *, const rc_coordinate_work *, const rc_control *,
                                 rc_coordinate_progress *, rc_error *)
    void rc_coordinate_slopes(const rc_coordinate *, void *)
    rc_status rc_coordinate_look(rc_coordinate *, const rc_control *, rc_error *)
    rc_status rc_coordinate_look_at_zero(rc_coordinate *, const void *, rc_error *)
    void rc_coordinate_gradient(const rc_coordinate *, void *, void *)
    rc_status rc_coordinate_gap(rc_coordinate *, const rc_penalty *, double, const void *, const double *, double *,
                                rc_error *)
    rc_status rc_coordinate_choose(rc_coordinate *, const rc_penalty *, double, int64_t, const rc_control *, double *,
                                   int64_t *, rc_error *)
    void rc_coordinate_list(const rc_coordinate *, const int64_t **, const int64_t **)
    const int64_t *rc_coordinate_features(const rc_coordinate *)
    rc_status rc_coordinate_settle(rc_coordinate *, const rc_penalty *, double *, rc_error *)
    void rc_coordinate_write(const rc_coordinate *, void *, void *)
    void rc_coordinate_get_state(const rc_coordinate *, rc_coordinate_state *)
    rc_status rc_coordinate_set_state(rc_coordinate *, const rc_coordinate_state *, rc_error *)
    rc_status rc_measure_limits(rc_dtype, int, double *, double *)
    rc_status rc_colour_counts(const unsigned char *, int64_t, const int32_t *, int64_t *, rc_error *)
    const char *rc_isa_active()
    int rc_isa_available(const char **, int)
    rc_status rc_isa_select(const char *)
    int rc_has_openmp()
    const char *rc_threading()
    int rc_default_threads()

cdef extern from "<stdatomic.h>" nogil:
    ctypedef int atomic_int
    int atomic_load(atomic_int *) noexcept
    void atomic_store(atomic_int *, int) noexcept

cdef extern from "Python.h":
    # Cython's own declaration turns -1 into an exception on the spot, which a noexcept function can only print
    int PyErr_CheckSignals() noexcept

cdef extern from *:
    """
    #ifndef REGCORE_BUILD_TYPE
    #define REGCORE_BUILD_TYPE "unknown"
    #define REGCORE_SANITIZE ""
    #define REGCORE_COMPILER "unknown"
    #endif
    """
    const char *REGCORE_BUILD_TYPE
    const char *REGCORE_SANITIZE
    const char *REGCORE_COMPILER


# ---------------------------------------------------------------- the CPU level

cdef object _wrong_isa = None


def select_isa(name=None):
    """Make a CPU level active: a name from ``info()["available"]``, or None for the best of them."""
    global _wrong_isa
    cdef bytes encoded
    if name is None:
        rc_isa_select(NULL)
    else:
        encoded = name.encode()
        if rc_isa_select(encoded) != RC_OK:
            raise ValueError(f"REGCORE_ISA must be one of {', '.join(available_isas())}; got {name!r}")
    _wrong_isa = None


def check_isa():
    """Raise ValueError if REGCORE_ISA names no CPU level of this machine, and none was chosen since."""
    if _wrong_isa is not None:
        raise ValueError(_wrong_isa)


def available_isas():
    """Names of the CPU levels that this machine runs, best first."""
    cdef const char *names[8]
    cdef int n = rc_isa_available(names, 8)
    return [names[i].decode() for i in range(n)]


def info():
    """What was built, what this machine runs, and what is active, as a dict."""
    return {
        "isa": rc_isa_active().decode(),
        "available": available_isas(),
        "threads": rc_default_threads(),
        "threading": rc_threading().decode(),
        "openmp": bool(rc_has_openmp()),
        "compiler": REGCORE_COMPILER.decode(),
        "build": REGCORE_BUILD_TYPE.decode(),
        "sanitize": REGCORE_SANITIZE.decode(),
        "api_version": RC_API_VERSION,
    }


def measure_limits(dtype, int n_threads):
    """(bytes read per second, floating-point operations per second) that this machine reaches at best."""
    cdef double bandwidth = 0, peak = 0
    cdef rc_dtype real = RC_FLOAT32 if np.dtype(dtype) == np.float32 else RC_FLOAT64
    cdef rc_status status
    cdef rc_error error
    with nogil:
        status = rc_measure_limits(real, n_threads, &bandwidth, &peak)
    _check(status, &error)
    return bandwidth, peak


def colour_counts(const unsigned char[::1] pixels not None, bins):
    """Pixels of each bin over hue, saturation and value; `pixels` are bytes, four a pixel, of which three count."""
    cdef int32_t parts[3]
    cdef int64_t n = pixels.shape[0] // 4
    cdef rc_status status
    cdef rc_error error
    parts[0], parts[1], parts[2] = bins
    if pixels.shape[0] % 4:
        raise ValueError(f"pixels must be four bytes each; got {pixels.shape[0]} bytes")
    n_bins = max(1, int(parts[0]) * int(parts[1]) * int(parts[2]))
    counts = np.empty(n_bins if n_bins < 2**31 else 1, np.int64)
    cdef int64_t[::1] out = counts
    with nogil:
        status = rc_colour_counts(&pixels[0] if n else NULL, n, parts, &out[0], &error)
    _check(status, &error)
    return counts


# A wrong name must not make the import fail: then no program could say in its own words what is wrong. The first
# problem that is made says it.
try:
    select_isa(os.environ.get("REGCORE_ISA") or None)
except ValueError as error:
    _wrong_isa = str(error)

# ---------------------------------------------------------------- arrays

cdef unsigned long _main_thread = threading.main_thread().ident


cdef int _poll(void *context) noexcept nogil:
    with gil:
        return PyErr_CheckSignals()


cdef class Stop:
    """A flag that ends the core's calls of the threads that heed it, as a KeyboardInterrupt does the main thread's."""

    cdef atomic_int raised  # read without the GIL

    def set(self):
        """Raise the flag, for good."""
        atomic_store(&self.raised, 1)

    def is_set(self):
        """Whether it has been raised."""
        return atomic_load(&self.raised) != 0

    def heed(self):
        """Let the core's calls of this thread, which is not the main one, end with this flag."""
        _heeded.stop = self


_heeded = threading.local()


cdef int _poll_stop(void *context) noexcept nogil:
    return atomic_load(&(<Stop>context).raised)


cdef int _dtype_code(cnp.dtype dtype) noexcept:
    """The core's code of a NumPy type in native byte order; -1 if it has none."""
    cdef int num = dtype.type_num
    cdef int size = dtype.itemsize
    if dtype.byteorder == c">" or (dtype.byteorder == c"<" and not np.little_endian):
        return -1
    if num == cnp.NPY_FLOAT32:
        return RC_FLOAT32
    if num == cnp.NPY_FLOAT64:
        return RC_FLOAT64
    if num == cnp.NPY_FLOAT16:
        return RC_FLOAT16
    if num == cnp.NPY_BOOL:
        return RC_UINT8
    if dtype.kind == c"u":
        return RC_UINT8 if size == 1 else RC_UINT16 if size == 2 else RC_UINT32 if size == 4 else RC_UINT64
    if dtype.kind == c"i":
        return RC_INT8 if size == 1 else RC_INT16 if size == 2 else RC_INT32 if size == 4 else RC_INT64
    return -1


cdef int _code(cnp.ndarray array, str argument) except -1:
    cdef int code = _dtype_code(array.dtype)
    if code < 0:
        raise TypeError(
            f"{argument} must hold real numbers (float64, float32, float16, integers or bool) in native byte order; "
            f"got dtype {array.dtype.str}"
        )
    return code


cdef void _bounds(cnp.ndarray array, uintptr_t *first, uintptr_t *end) noexcept:
    """The memory between the first byte of an array and the last."""
    cdef int i
    cdef cnp.npy_intp span
    first[0] = <uintptr_t>cnp.PyArray_DATA(array)
    end[0] = first[0] + <uintptr_t>cnp.PyArray_ITEMSIZE(array) if cnp.PyArray_SIZE(array) else first[0]
    for i in range(cnp.PyArray_NDIM(array)):
        span = (cnp.PyArray_DIM(array, i) - 1) * cnp.PyArray_STRIDE(array, i)
        if end[0] > first[0] and span < 0:
            first[0] -= <uintptr_t>-span
        elif end[0] > first[0]:
            end[0] += <uintptr_t>span


def may_overlap(cnp.ndarray array not None, tuple others):
    """Whether the bounds of an array and of one among `others` overlap, as numpy.may_share_memory; of many, faster.

    What is no array is left out.
    """
    cdef uintptr_t first, end, other_first, other_end
    _bounds(array, &first, &end)
    for other in others:
        if isinstance(other, cnp.ndarray):
            _bounds(other, &other_first, &other_end)
            if first < other_end and other_first < end:
                return True
    return False


cdef object _raise(rc_status status, const rc_error *error, object argument=None):
    """The exception for a status that is not RC_OK."""
    cdef str name, what, value
    if status == RC_INTERRUPTED:
        if PyErr_Occurred() is NULL:
            raise KeyboardInterrupt
        return None  # the signal handler's own exception is pending
    if status == RC_ERROR_MEMORY:
        raise MemoryError("regcore could not allocate its workspace")
    name = error.argument.decode()
    what = error.message.decode()
    if status == RC_ERROR_OVERFLOW:
        raise OverflowError(f"{name} is {what}; scale the features or use float64 weights")
    where = f" in row {error.row}" if error.row >= 0 else ""
    if error.column >= 0:
        where += f", column {error.column}"
    value = "NaN" if error.value != error.value else f"{error.value:g}"
    got = f"; got {value}{where}" if error.row >= 0 or error.value != 0 else ""
    raise ValueError(f"{name} {what}{got}")


cdef int _check(rc_status status, const rc_error *error) except -1:
    if status != RC_OK:
        _raise(status, error)
        return -1 if PyErr_Occurred() is not NULL else 0
    return 0


cdef class Problem:
    """Checked, borrowed arrays: X (dense, or the parts of a CSR matrix), labels, weights, and a loss.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), or tuple (data, indices, indptr, shape)
    y : ndarray of integers of shape (n_samples,), or None (scores only); for cross_entropy also probabilities,
        float32 or float64, of shape (n_samples, n_classes), or (n_samples,) of label 1 in the binary form
    weights : float32 or float64 ndarray of shape (n_samples,) or (n_models, n_samples), or None
    loss : int
        Code of the loss.
    n_classes : int
        Rows of one model's W; 1 means the binary form.
    n_models : int
    label_smoothing : float
    """

    cdef rc_problem problem
    cdef rc_workspace *workspace
    cdef bint borrows_workspace
    cdef object arrays
    cdef readonly int64_t n_samples, n_features, n_classes, n_models
    cdef readonly object weight_sums

    def __init__(self, X, y, weights, int loss, int64_t n_classes, int64_t n_models=1, double label_smoothing=0):
        cdef cnp.ndarray data, indices, indptr, labels, w
        cdef rc_error error
        cdef rc_status status
        check_isa()
        self.workspace = rc_workspace_new()
        self.arrays = (X, y, weights)
        if isinstance(X, tuple):
            data, indices, indptr, shape = X
            self.problem.X.indices = cnp.PyArray_DATA(indices)
            self.problem.X.indptr = cnp.PyArray_DATA(indptr)
            self.problem.X.index_dtype = <rc_dtype>_code(indices, "X.indices")
            self.problem.X.nnz = min(data.size, indices.size)
            self.problem.X.n_rows, self.problem.X.n_columns = shape
        else:
            data = X
            self.problem.X.n_rows, self.problem.X.n_columns = data.shape[0], data.shape[1]
            self.problem.X.row_stride, self.problem.X.column_stride = data.strides[0], data.strides[1]
        self.problem.X.data = cnp.PyArray_DATA(data)
        self.problem.X.dtype = <rc_dtype>_code(data, "X")
        self.problem.label_smoothing = label_smoothing
        if y is not None and y.ndim == 2:
            labels = y
            if labels.shape[1] != max(n_classes, 2):
                raise ValueError("y must have one column a class")
            self.problem.targets = rc_targets(
                cnp.PyArray_DATA(labels), <rc_dtype>_code(labels, "y"), labels.strides[0], labels.strides[1]
            )
        elif y is not None:
            labels = y
            self.problem.y = rc_vector(cnp.PyArray_DATA(labels), <rc_dtype>_code(labels, "y"), labels.strides[0])
        if weights is not None:
            w = weights
            self.problem.weights = rc_vector(
                cnp.PyArray_DATA(w), <rc_dtype>_code(w, "sample_weight"), w.strides[w.ndim - 1]
            )
            self.problem.weights_model_stride = w.strides[0] if w.ndim == 2 else 0
        self.problem.loss = <rc_loss>loss
        self.problem.n_classes = n_classes
        self.problem.n_models = n_models
        self.n_samples, self.n_features = self.problem.X.n_rows, self.problem.X.n_columns
        self.n_classes, self.n_models = n_classes, n_models
        with nogil:
            status = rc_check_problem(&self.problem, &error)
        _check(status, &error)
        if weights is None:
            self.weight_sums = np.full(n_models, float(self.n_samples))
        else:
            self.weight_sums = np.broadcast_to(np.sum(weights, axis=-1, dtype=np.float64), (n_models,)).copy()

    def models(self, int32_t[::1] weights_of not None):
        """The same problem for a stack of models, of which model m has the weights of model ``weights_of[m]`` here.

        A model's bits then do not depend on how many others there are (dense X; CSR while all have their own gradient).
        """
        cdef Problem stack = Problem.__new__(Problem)
        cdef cnp.ndarray index = np.array(weights_of)
        if not index.size or index.min() < 0 or index.max() >= self.n_models:
            raise IndexError(f"weights_of must hold models of the {self.n_models}")
        stack.problem = self.problem
        stack.problem.n_models, stack.problem.is_stack = index.size, 1
        stack.problem.weights_of = <const int32_t *>cnp.PyArray_DATA(index)
        stack.arrays = (self, index)
        stack.workspace, stack.borrows_workspace = self.workspace, True
        stack.n_samples, stack.n_features = self.n_samples, self.n_features
        stack.n_classes, stack.n_models = self.n_classes, index.size
        stack.weight_sums = self.weight_sums[index]
        return stack

    def __dealloc__(self):
        if not self.borrows_workspace:
            rc_workspace_free(self.workspace)

    cdef int _rows(self, object rows, rc_rows *out) except -1:
        cdef cnp.ndarray index
        out.index = NULL
        if rows is None:
            out.start, out.step, out.n = 0, 1, self.n_samples
        elif isinstance(rows, slice):
            start, stop, step = rows.indices(self.n_samples)
            out.start, out.step, out.n = start, step, len(range(start, stop, step))
        else:
            index = rows
            out.index = <const int64_t *>cnp.PyArray_DATA(index)
            out.n = index.shape[0]
        return 0

    cdef int _standardization(self, object pair, const double **center, const double **scale) except -1:
        """Mean and scale of the features, or NULL; `pair` is None without any."""
        center[0] = scale[0] = NULL
        if pair is not None:
            center[0] = _doubles(pair[0], self.n_features)
            scale[0] = _doubles(pair[1], self.n_features)
        return 0

    cdef int _parameters(self, cnp.ndarray W, object b, rc_parameters *out) except -1:
        cdef int code = _code(W, "W")
        if code != RC_FLOAT32 and code != RC_FLOAT64:
            raise TypeError(f"W must be float32 or float64; got {W.dtype}")
        if not cnp.PyArray_IS_C_CONTIGUOUS(W) or W.size != self.n_models * self.n_classes * self.n_features:
            raise ValueError("W must be C-contiguous with n_models * n_classes * n_features numbers")
        out.real = <rc_dtype>code
        out.W = cnp.PyArray_DATA(W)
        out.b = NULL
        out.weight_sums = NULL
        out.center = out.scale = NULL
        out.penalty = rc_penalty(0, 0, 0)
        if b is not None:
            if (<cnp.ndarray>b).size != self.n_models * self.n_classes or _code(b, "b") != code:
                raise ValueError("b must have one number a class, of W's dtype")
            out.b = cnp.PyArray_DATA(<cnp.ndarray>b)
        return 0

    def evaluate(self, cnp.ndarray W, b, tuple penalty, rows, cnp.ndarray values, grad_W, grad_b, int n_threads,
                 standardize=None):
        """Write the objective into `values` (n_models,) and, where given, the gradient into grad_W and grad_b."""
        cdef rc_parameters parameters
        cdef rc_rows selected
        cdef rc_control control
        cdef rc_gradient out
        cdef rc_error error
        cdef rc_status status
        self._rows(rows, &selected)
        self._parameters(W, b, &parameters)
        parameters.penalty = rc_penalty(penalty[0], penalty[1], penalty[2])
        if rows is None:
            parameters.weight_sums = <const double *>cnp.PyArray_DATA(<cnp.ndarray>self.weight_sums)
        self._standardization(standardize, &parameters.center, &parameters.scale)
        _control(&control, n_threads, self.workspace)
        out.value = <double *>cnp.PyArray_DATA(values)
        out.grad_W = NULL if grad_W is None else cnp.PyArray_DATA(<cnp.ndarray>grad_W)
        out.grad_b = NULL if grad_b is None else cnp.PyArray_DATA(<cnp.ndarray>grad_b)
        with nogil:
            status = rc_evaluate(&self.problem, &selected, &parameters, &control, &out, &error)
        _check(status, &error)

    def conjugate(self, cnp.ndarray W, b, u, cnp.ndarray shrink, cnp.ndarray lose, cnp.ndarray gain,
                  cnp.ndarray values, int n_threads, standardize=None):
        """Write the weighted mean of the loss's conjugate into `values` (n_models,); see rc_dual_point in regcore.h.

        `u` (n_samples, n_models * n_classes), of W's dtype and C-contiguous, stands for the slopes at W and b.
        """
        cdef rc_parameters parameters
        cdef rc_rows all_rows
        cdef rc_control control
        cdef rc_dual_point point
        cdef rc_error error
        cdef rc_status status
        cdef int64_t n_labels = max(self.n_classes, 2)
        self._rows(None, &all_rows)
        self._parameters(W, b, &parameters)
        parameters.weight_sums = <const double *>cnp.PyArray_DATA(<cnp.ndarray>self.weight_sums)
        self._standardization(standardize, &parameters.center, &parameters.scale)
        point.u = self._dual(u, parameters.real, &point.u_stride)
        point.shrink = _doubles(shrink, self.n_models)
        point.lose = _doubles(lose, self.n_models * n_labels)
        point.gain = _doubles(gain, self.n_models * n_labels)
        _control(&control, n_threads, self.workspace)
        cdef double *out = <double *>cnp.PyArray_DATA(values)
        with nogil:
            status = rc_conjugate(&self.problem, &all_rows, &parameters, &control, &point, out, &error)
        _check(status, &error)

    def adjoint(self, u, cnp.ndarray grad_W, cnp.ndarray grad_b, int n_threads, standardize=None):
        """Write V = sum w u x' / sum w into grad_W and sum w u / sum w into grad_b.

        `u` as in `conjugate`, moved into the loss's domain. None: u is 1 at the label and else 0, and the binary form
        counts as two classes: grad_W is (n_models, max(n_classes, 2), n_features).
        """
        cdef rc_problem problem = self.problem
        cdef rc_parameters parameters
        cdef rc_rows all_rows
        cdef rc_control control
        cdef rc_gradient out
        cdef rc_error error
        cdef rc_status status
        cdef int64_t u_stride = 0
        cdef const void *data
        if u is None:
            problem.n_classes = max(problem.n_classes, 2)
        if (
            not grad_W.flags.carray or not grad_b.flags.carray or grad_b.dtype != grad_W.dtype
            or grad_W.size != problem.n_models * problem.n_classes * self.n_features
            or grad_b.size != problem.n_models * problem.n_classes
        ):
            raise ValueError("grad_W and grad_b must be C-contiguous, of one dtype and the shapes of W and b")
        self._rows(None, &all_rows)
        parameters.real = _real(grad_W)
        parameters.W = parameters.b = NULL
        parameters.center = parameters.scale = NULL
        parameters.penalty = rc_penalty(0, 0, 0)
        parameters.weight_sums = <const double *>cnp.PyArray_DATA(<cnp.ndarray>self.weight_sums)
        self._standardization(standardize, &parameters.center, &parameters.scale)
        data = self._dual(u, parameters.real, &u_stride)
        _control(&control, n_threads, self.workspace)
        out.value = NULL
        out.grad_W, out.grad_b = cnp.PyArray_DATA(grad_W), cnp.PyArray_DATA(grad_b)
        with nogil:
            status = rc_adjoint(&problem, &all_rows, &parameters, &control, data, u_stride, &out, &error)
        _check(status, &error)

    cdef const void *_dual(self, object u, rc_dtype real, int64_t *stride) except? NULL:
        cdef cnp.ndarray array
        stride[0] = 0
        if u is None:
            return NULL
        array = u
        if (
            not array.flags.c_contiguous or not array.flags.aligned or _code(array, "dual") != real
            or array.size != self.n_samples * self.n_models * self.n_classes
        ):
            raise ValueError("dual must be C-contiguous, of W's dtype, with n_samples * n_models * n_classes numbers")
        stride[0] = array.size // self.n_samples * array.itemsize
        return cnp.PyArray_DATA(array)

    def predict(self, cnp.ndarray W, b, rows, scores, probabilities, labels, int n_threads, standardize=None):
        """Write scores, probabilities and labels of the rows into the arrays that are not None."""
        cdef rc_parameters parameters
        cdef rc_rows selected
        cdef rc_control control
        cdef rc_prediction out
        cdef rc_error error
        cdef rc_status status
        self._rows(rows, &selected)
        self._parameters(W, b, &parameters)
        self._standardization(standardize, &parameters.center, &parameters.scale)
        _control(&control, n_threads, self.workspace)
        out.scores = out.probabilities = NULL
        out.labels = NULL
        out.scores_stride = out.probabilities_stride = 0
        if scores is not None:
            out.scores = cnp.PyArray_DATA(<cnp.ndarray>scores)
            out.scores_stride = scores.strides[0]
        if probabilities is not None:
            out.probabilities = cnp.PyArray_DATA(<cnp.ndarray>probabilities)
            out.probabilities_stride = probabilities.strides[0]
        if labels is not None:
            out.labels = <int64_t *>cnp.PyArray_DATA(<cnp.ndarray>labels)
        with nogil:
            status = rc_predict(&self.problem, &selected, &parameters, &control, &out, &error)
        _check(status, &error)

    def column_statistics(self, int n_threads):
        """(mean, standard deviation) of the columns of X, weighted, float64; the deviation of a constant is 0."""
        cdef rc_control control
        cdef rc_error error
        cdef rc_status status
        cdef cnp.ndarray mean = np.empty(self.n_features), scale = np.empty(self.n_features)
        cdef double *m = <double *>cnp.PyArray_DATA(mean)
        cdef double *s = <double *>cnp.PyArray_DATA(scale)
        _control(&control, n_threads, NULL)
        with nogil:
            status = rc_column_statistics(&self.problem, &control, m, s, &error)
        _check(status, &error)
        return mean, scale

    def curvature(self, seed, int64_t n_rows, standardize=None):
        """(largest eigenvalue of the mean of x x', mean and largest ||x||^2) over at most n_rows random samples."""
        cdef rc_error error
        cdef rc_status status
        cdef double found[3]
        cdef uint64_t key = seed
        cdef const double *center = NULL
        cdef const double *scale = NULL
        self._standardization(standardize, &center, &scale)
        with nogil:
            status = rc_sgd_curvature(&self.problem, center, scale, key, n_rows, found, &error)
        _check(status, &error)
        return found[0], found[1], found[2]


cdef class StochasticGradient:
    """Mini-batch proximal stochastic gradient descent on a `Problem`, an epoch a call; see rc_sgd in regcore.h.

    Parameters
    ----------
    problem : Problem
    W : ndarray of shape (n_outputs, n_features), float32 or float64, C-contiguous
    b : ndarray of shape (n_outputs,) of W's dtype, or None
    penalty : (l1, l2, group)
    standardize : (mean, scale) or None
    batch_size, eta0, rate, power, momentum, intercept_rate, dropout, average_from, seed
        Fields of rc_sgd_options.
    """

    cdef rc_sgd *sgd
    cdef Problem problem
    cdef object standardize, lock, dtype
    cdef bint moves, averages

    def __cinit__(self):
        self.sgd = NULL

    def __init__(self, Problem problem not None, cnp.ndarray W, b, tuple penalty, standardize, *, int64_t batch_size,
                 double eta0, double rate, double power, double momentum, double intercept_rate, double dropout,
                 int64_t average_from, seed):
        cdef rc_parameters parameters
        cdef rc_sgd_options options
        cdef rc_error error
        cdef rc_status status
        problem._parameters(W, b, &parameters)
        options.real = parameters.real
        options.penalty = rc_penalty(penalty[0], penalty[1], penalty[2])
        problem._standardization(standardize, &options.center, &options.scale)
        options.batch_size, options.eta0, options.rate, options.power = batch_size, eta0, rate, power
        options.momentum, options.intercept_rate, options.dropout = momentum, intercept_rate, dropout
        options.average_from, options.seed = average_from, seed
        if self.sgd is not NULL:
            raise RuntimeError("a StochasticGradient is made once")
        self.problem, self.standardize, self.dtype = problem, standardize, W.dtype
        self.moves, self.averages = momentum > 0, average_from >= 0
        self.lock = threading.Lock()
        with nogil:
            status = rc_sgd_create(&problem.problem, &options, parameters.W, parameters.b, &self.sgd, &error)
        _check(status, &error)

    def __dealloc__(self):
        rc_sgd_free(self.sgd)

    def epoch(self):
        """Visit every sample once; return the mean loss as the batches met it, plus R(W) at the end."""
        cdef rc_control control
        cdef rc_error error
        cdef rc_status status
        cdef double value = 0
        _control(&control, 1, NULL)
        with self.lock:
            with nogil:
                status = rc_sgd_epoch(self.sgd, &control, &value, &error)
            _check(status, &error)  # here: a pending exception must not meet the lock's own methods
        return value

    def set_eta0(self, double eta0):
        """Change the step for the epochs to come."""
        with self.lock:
            rc_sgd_set_eta0(self.sgd, eta0)

    def parameters(self, cnp.ndarray W, b, bint averaged):
        """Write the parameters, or their average, into W and b (None: not wanted)."""
        cdef rc_parameters out
        if W.dtype != self.dtype or not W.flags.writeable:
            raise ValueError(f"W must be writeable, of dtype {self.dtype}; got {W.dtype}")
        self.problem._parameters(W, b, &out)
        with self.lock:
            rc_sgd_parameters(self.sgd, averaged, <void *>out.W, <void *>out.b)

    def state(self):
        """What one epoch hands on to the next, as a dict of new arrays and integers."""
        cdef rc_sgd_state state
        cdef dict found = self._arrays(&state)
        with self.lock:
            rc_sgd_get_state(self.sgd, &state)
        return found | {"epoch": state.epoch, "t": state.t, "n_averaged": state.n_averaged}

    def set_state(self, given):
        """Go on from such a state."""
        cdef rc_sgd_state state
        cdef dict arrays = self._arrays(&state)
        _restore(arrays, given)
        state.epoch, state.t, state.n_averaged = given["epoch"], given["t"], given["n_averaged"]
        with self.lock:
            rc_sgd_set_state(self.sgd, &state)

    cdef dict _arrays(self, rc_sgd_state *state):
        """New arrays for a state, and the state pointing to them."""
        cdef int64_t c = self.problem.n_classes, d = self.problem.n_features
        cdef cnp.ndarray W = np.zeros((c, d), self.dtype), b = np.zeros(c, self.dtype), V_b = np.zeros(c)
        cdef cnp.ndarray sum_b = np.zeros(c), V, sums
        cdef dict arrays = {"W": W, "b": b, "V_b": V_b, "sum_b": sum_b}
        state.W, state.b = cnp.PyArray_DATA(W), cnp.PyArray_DATA(b)
        state.V_b, state.sum_b = <double *>cnp.PyArray_DATA(V_b), <double *>cnp.PyArray_DATA(sum_b)
        state.V, state.sum = NULL, NULL
        if self.moves:
            arrays["V"] = V = np.zeros((c, d), self.dtype)
            state.V = cnp.PyArray_DATA(V)
        if self.averages:
            arrays["sum"] = sums = np.zeros((c, d))
            state.sum = <double *>cnp.PyArray_DATA(sums)
        return arrays


cdef class DualAscent:
    """Dual coordinate ascent for the hinges and cross_entropy on a `Problem`, an epoch a call; see rc_dual in regcore.h.

    Parameters
    ----------
    problem : Problem
    dtype : dtype
        float32 or float64: of the weights and the dual variables.
    penalty : (l1, l2, group)
    standardize : (mean, scale) or None
    proximal : bool
        Whether the weights have a centre.
    metric : float64 ndarray of shape (n_features,), or None
    seed : int
    """

    cdef rc_dual *dual
    cdef Problem problem
    cdef object borrowed, lock
    cdef readonly object dtype

    def __cinit__(self):
        self.dual = NULL

    def __init__(self, Problem problem not None, dtype, tuple penalty, standardize, *, bint proximal, metric=None,
                 seed):
        cdef rc_dual_options options
        cdef rc_control control
        cdef rc_error error
        cdef rc_status status
        self.dtype = np.dtype(dtype)
        if self.dtype != np.float32 and self.dtype != np.float64:
            raise TypeError(f"dtype must be float32 or float64; got {self.dtype}")
        options.real = RC_FLOAT32 if self.dtype == np.float32 else RC_FLOAT64
        options.penalty = rc_penalty(penalty[0], penalty[1], penalty[2])
        problem._standardization(standardize, &options.center, &options.scale)
        options.proximal, options.seed = proximal, seed
        options.metric = _doubles(metric, problem.n_features)
        if self.dual is not NULL:
            raise RuntimeError("a DualAscent is made once")
        self.problem, self.borrowed = problem, (standardize, metric)
        self.lock = threading.Lock()
        _control(&control, 1, NULL)
        with nogil:
            status = rc_dual_create(&problem.problem, &options, &control, &self.dual, &error)
        _check(status, &error)

    def __dealloc__(self):
        rc_dual_free(self.dual)

    cdef void *_reals(self, cnp.ndarray array, str argument, int64_t size) except NULL:
        if array.dtype != self.dtype or not array.flags.carray or array.size != size:
            raise ValueError(f"{argument} must be C-contiguous and writeable, {size} numbers of {self.dtype}")
        return cnp.PyArray_DATA(array)

    cdef double *_doubles(self, cnp.ndarray array, str argument, int64_t size) except NULL:
        if array.dtype != np.float64 or not array.flags.carray or array.size != size:
            raise ValueError(f"{argument} must be C-contiguous and writeable, {size} numbers of float64")
        return <double *>cnp.PyArray_DATA(array)

    def set_centre(self, cnp.ndarray W, cnp.ndarray b, double step, double intercept_step):
        """Move the centre to W (in the dtype) and b (float64); a step of 0: no centre of W, or no intercept."""
        cdef void *w = self._reals(W, "W", self.problem.n_classes * self.problem.n_features)
        cdef double *intercept = self._doubles(b, "b", self.problem.n_classes)
        with self.lock, nogil:
            rc_dual_set_centre(self.dual, w, intercept, step, intercept_step)

    def run(self, int64_t n_centres, int64_t n_epochs, int n_threads):
        """Move the centre n_centres times, after n_epochs each; return (gap, number of visits of samples).

        The gap is an estimate of that of the problem around the centre, from the last epoch.
        """
        cdef rc_control control
        cdef rc_error error
        cdef rc_status status
        cdef double gap = 0
        cdef int64_t n_visits = 0
        _control(&control, n_threads, NULL)
        with self.lock:
            with nogil:
                status = rc_dual_run(self.dual, &control, n_centres, n_epochs, &gap, &n_visits, &error)
            _check(status, &error)
        return gap, n_visits

    def refresh(self, cnp.ndarray V, cnp.ndarray residual, int n_threads):
        """Compute the weights anew from the slopes; write V (n_outputs, n_features) and the residual (n_outputs,).

        Returns (linear, largest): the linear part of the dual, and the largest sum of a sample's dual variables.
        """
        cdef rc_control control
        cdef rc_error error
        cdef rc_status status
        cdef double linear = 0, largest = 0
        cdef double *v = self._doubles(V, "V", self.problem.n_classes * self.problem.n_features)
        cdef double *r = self._doubles(residual, "residual", self.problem.n_classes)
        _control(&control, n_threads, NULL)
        with self.lock:
            with nogil:
                status = rc_dual_refresh(self.dual, &control, v, r, &linear, &largest, &error)
            _check(status, &error)
        return linear, largest

    def class_sums(self, cnp.ndarray shares, cnp.ndarray sums, int n_threads):
        """Write the labels' shares of the weights (n_labels,) and weighted sums of samples (n_labels, n_features)."""
        cdef rc_control control
        cdef rc_error error
        cdef rc_status status
        cdef int64_t n_labels = max(2, self.problem.n_classes)
        cdef double *shares_out = self._doubles(shares, "shares", n_labels)
        cdef double *sums_out = self._doubles(sums, "sums", n_labels * self.problem.n_features)
        _control(&control, n_threads, NULL)
        with self.lock:
            with nogil:
                status = rc_dual_class_sums(self.dual, &control, shares_out, sums_out, &error)
            _check(status, &error)

    def parameters(self, cnp.ndarray W, cnp.ndarray b, bint averaged):
        """Write the weights (in the dtype) and the intercept (float64), or the average of the last run's centres."""
        cdef void *w = self._reals(W, "W", self.problem.n_classes * self.problem.n_features)
        cdef double *intercept = self._doubles(b, "b", self.problem.n_classes)
        with self.lock, nogil:
            rc_dual_parameters(self.dual, averaged, w, intercept)

    def slopes(self, cnp.ndarray out):
        """Write the slopes (n_samples, n_outputs), in the dtype."""
        cdef void *data = self._reals(out, "out", self.problem.n_samples * self.problem.n_classes)
        with self.lock, nogil:
            rc_dual_slopes(self.dual, data)

    def state(self):
        """What a certificate hands on to the epochs that follow, as a dict of new arrays and numbers."""
        cdef rc_dual_state state
        cdef dict found = self._arrays(&state)
        with self.lock:
            rc_dual_get_state(self.dual, &state)
        return found | {"curvature": state.curvature, "inverse_step": state.inverse_step,
                        "intercept_step": state.intercept, "spread": state.spread, "epoch": state.epoch}

    def set_state(self, given):
        """Go on from such a state; if its slopes were changed, a `refresh` is to follow."""
        cdef rc_dual_state state
        cdef dict arrays = self._arrays(&state)
        _restore(arrays, given)
        state.curvature, state.inverse_step = given["curvature"], given["inverse_step"]
        state.intercept, state.spread, state.epoch = given["intercept_step"], given["spread"], given["epoch"]
        with self.lock:
            rc_dual_set_state(self.dual, &state)

    cdef dict _arrays(self, rc_dual_state *state):
        """New arrays for a state, and the state pointing to them."""
        cdef int64_t n = self.problem.n_samples, c = self.problem.n_classes
        cdef cnp.ndarray slopes = np.zeros((n, c), self.dtype)
        cdef cnp.ndarray centre = np.zeros((c, self.problem.n_features), self.dtype), centre_b = np.zeros(c)
        cdef cnp.ndarray A = np.zeros((c, self.problem.n_features), self.dtype), slopes_sum = np.zeros(c)
        cdef cnp.ndarray wait = np.zeros(n, np.uint8), patience = np.zeros(n, np.uint8)
        state.slopes, state.centre = cnp.PyArray_DATA(slopes), cnp.PyArray_DATA(centre)
        state.centre_b = <double *>cnp.PyArray_DATA(centre_b)
        state.A, state.residual = cnp.PyArray_DATA(A), <double *>cnp.PyArray_DATA(slopes_sum)
        state.wait, state.patience = <uint8_t *>cnp.PyArray_DATA(wait), <uint8_t *>cnp.PyArray_DATA(patience)
        return {"slopes": slopes, "centre": centre, "centre_b": centre_b, "A": A, "slopes_sum": slopes_sum,
                "wait": wait, "patience": patience}


cdef class CoordinateDescent:
    """Proximal Newton steps on a working set of the columns of a `Problem`; see rc_coordinate in regcore.h.

    Parameters
    ----------
    problem : Problem
    dtype : dtype
        float32 or float64: of the copied columns.
    standardize : (mean, scale) or None
    intercept : bool
    """

    cdef rc_coordinate *loop
    cdef Problem problem
    cdef object borrowed, lock
    cdef readonly object dtype
    cdef bint has_intercept

    def __cinit__(self):
        self.loop = NULL

    def __init__(self, Problem problem not None, dtype, standardize, *, bint intercept):
        cdef rc_coordinate_options options
        cdef rc_error error
        cdef rc_status status
        self.dtype = np.dtype(dtype)
        if self.dtype != np.float32 and self.dtype != np.float64:
            raise TypeError(f"dtype must be float32 or float64; got {self.dtype}")
        options.real = RC_FLOAT32 if self.dtype == np.float32 else RC_FLOAT64
        options.center = options.scale = NULL
        options.intercept = intercept
        problem._standardization(standardize, &options.center, &options.scale)
        if self.loop is not NULL:
            raise RuntimeError("a CoordinateDescent is made once")
        self.problem, self.borrowed, self.has_intercept = problem, standardize, intercept
        self.lock = threading.Lock()
        with nogil:
            status = rc_coordinate_create(&problem.problem, &options, &self.loop, &error)
        _check(status, &error)

    def __dealloc__(self):
        rc_coordinate_free(self.loop)

    @property
    def n_columns(self):
        """How many columns there are."""
        return rc_coordinate_n_columns(self.loop)

    cdef double *_numbers(self, cnp.ndarray array, str argument, int64_t size) except NULL:
        if array.dtype != np.float64 or not array.flags.carray or array.size != size:
            raise ValueError(f"{argument} must be C-contiguous and writeable, {size} numbers of float64")
        return <double *>cnp.PyArray_DATA(array)

    def add(self, cnp.ndarray features):
        """Add columns of X (int64), with weights of zero."""
        cdef rc_control control
        cdef rc_error error
        cdef rc_status status
        cdef int64_t n = features.size
        if features.dtype != np.int64 or not features.flags.c_contiguous:
            raise ValueError("features must be C-contiguous int64")
        cdef const int64_t *data = <const int64_t *>cnp.PyArray_DATA(features)
        _control(&control, 1, NULL)
        with self.lock:
            with nogil:
                status = rc_coordinate_add(self.loop, data, n, &control, &error)
            _check(status, &error)

    def set(self, cnp.ndarray W, cnp.ndarray b):
        """Move to W (n_columns, n_outputs) and b (n_outputs,), float64; return the mean loss there."""
        cdef rc_error error
        cdef rc_status status
        cdef double loss = 0
        cdef double *w = self._numbers(W, "W", self.n_columns * self.problem.n_classes)
        cdef double *intercept = self._numbers(b, "b", self.problem.n_classes)
        with self.lock:
            with nogil:
                status = rc_coordinate_set(self.loop, w, intercept, &loss, &error)
            _check(status, &error)
        return loss

    def parameters(self):
        """W (n_columns, n_outputs) and b (n_outputs,), new arrays of float64."""
        cdef cnp.ndarray W = np.empty((self.n_columns, self.problem.n_classes)), b = np.empty(self.problem.n_classes)
        with self.lock:
            rc_coordinate_get(self.loop, <double *>cnp.PyArray_DATA(W), <double *>cnp.PyArray_DATA(b))
        return W, b

    cdef int _list(self, cnp.ndarray columns, cnp.ndarray starts, int64_t n_lists, rc_coordinate_work *work) except -1:
        for name, array in (("columns", columns), ("starts", starts)):
            if array.dtype != np.int64 or not array.flags.c_contiguous:
                raise ValueError(f"{name} must be C-contiguous int64")
        if starts.size != n_lists + 1 or starts[0] != 0 or starts[n_lists] != columns.size:
            raise ValueError("starts must go from 0 to the number of columns, by one list a class or one in all")
        if (np.diff(starts) < 0).any():
            raise ValueError("starts must not descend")
        work.columns = <const int64_t *>cnp.PyArray_DATA(columns)
        work.starts = <const int64_t *>cnp.PyArray_DATA(starts)
        return 0

    def step(self, columns, starts, tuple penalty, double reduction, int64_t max_sweeps,
             int64_t max_steps=1, double violation=0, double residual=0):
        """Take steps in the weights that `columns` and `starts` (int64) list; see rc_coordinate_work in regcore.h.

        None: those that `choose` has listed.

        Returns (loss, penalty, violation, residual, share, n_steps, numbers) of rc_coordinate_progress.
        """
        cdef rc_coordinate_work work
        cdef rc_coordinate_progress progress
        cdef rc_control control
        cdef rc_error error
        cdef rc_status status
        if columns is None:
            rc_coordinate_list(self.loop, &work.columns, &work.starts)
            if work.columns is NULL:
                raise ValueError("columns have not been chosen")
        else:
            self._list(columns, starts, 1 if penalty[2] > 0 else self.problem.n_classes, &work)
        work.penalty = rc_penalty(penalty[0], penalty[1], penalty[2])
        work.reduction, work.max_sweeps = reduction, max_sweeps
        work.max_steps, work.violation, work.residual = max_steps, violation, residual
        _control(&control, 1, NULL)
        with self.lock:
            with nogil:
                status = rc_coordinate_step(self.loop, &work, &control, &progress, &error)
            _check(status, &error)
        return (progress.loss, progress.penalty, progress.violation, progress.residual, progress.share,
                progress.n_steps, progress.numbers)

    cdef const void *_reals(self, object array, str argument, int64_t size) except? NULL:
        cdef cnp.ndarray a
        if array is None:
            return NULL
        a = array
        if a.dtype != self.dtype or not a.flags.c_contiguous or not a.flags.aligned or a.size != size:
            raise ValueError(f"{argument} must be C-contiguous, {size} numbers of {self.dtype}")
        return cnp.PyArray_DATA(a)

    def look(self, int n_threads):
        """Find the slopes of the data term in all weights, for `gap` and `choose`: a pass over X."""
        cdef rc_control control
        cdef rc_error error
        cdef rc_status status
        _control(&control, n_threads, NULL)
        with self.lock:
            with nogil:
                status = rc_coordinate_look(self.loop, &control, &error)
            _check(status, &error)

    def look_at_zero(self, class_sums):
        """Find them where all weights are zero, for cross_entropy, from sums over the classes (n_labels, n_features)."""
        cdef rc_error error
        cdef rc_status status
        cdef int64_t n_labels = max(self.problem.n_classes, 2)
        cdef const void *sums = self._reals(class_sums, "class_sums", n_labels * self.problem.n_features)
        if sums is NULL:
            raise ValueError("class_sums are missing")
        with self.lock:
            with nogil:
                status = rc_coordinate_look_at_zero(self.loop, sums, &error)
            _check(status, &error)

    def gradient(self):
        """Those slopes, (n_outputs, n_features), and the intercepts', new arrays of the dtype."""
        cdef cnp.ndarray V = np.empty((self.problem.n_classes, self.problem.n_features), self.dtype)
        cdef cnp.ndarray r = np.empty(self.problem.n_classes, self.dtype)
        with self.lock:
            rc_coordinate_gradient(self.loop, cnp.PyArray_DATA(V), cnp.PyArray_DATA(r))
        return V, r

    def gap(self, tuple penalty, double value, class_sums, shares):
        """The duality gap that those slopes prove; both None without an intercept."""
        cdef rc_penalty r = rc_penalty(penalty[0], penalty[1], penalty[2])
        cdef rc_error error
        cdef rc_status status
        cdef double gap = 0
        cdef int64_t n_labels = max(self.problem.n_classes, 2)
        cdef const void *sums = self._reals(class_sums, "class_sums", n_labels * self.problem.n_features)
        cdef const double *parts = NULL
        if self.has_intercept and (sums is NULL or shares is None):
            raise ValueError("class_sums and shares are missing")
        if shares is not None:
            parts = self._numbers(shares, "shares", n_labels)
        with self.lock:
            with nogil:
                status = rc_coordinate_gap(self.loop, &r, value, sums, parts, &gap, &error)
            _check(status, &error)
        return gap

    def choose(self, tuple penalty, double margin, int64_t most):
        """List the weights that take part in the next steps, and add their columns; see regcore.h.

        Returns the part of the strength by which the largest slope exceeds it, and how many weights are listed.
        """
        cdef rc_penalty r = rc_penalty(penalty[0], penalty[1], penalty[2])
        cdef rc_control control
        cdef rc_error error
        cdef rc_status status
        cdef double outside = 0
        cdef int64_t n_listed = 0
        if not (penalty[0] > 0 or penalty[2] > 0):
            raise ValueError("penalty must have an L1 or a group part")
        _control(&control, 1, NULL)
        with self.lock:
            with nogil:
                status = rc_coordinate_choose(self.loop, &r, margin, most, &control, &outside, &n_listed, &error)
            _check(status, &error)
        return outside, n_listed

    def listed(self, bint in_groups):
        """(columns, starts) of that list, new arrays of int64."""
        cdef const int64_t *columns
        cdef const int64_t *starts
        cdef int64_t i, n_lists = 1 if in_groups else self.problem.n_classes
        rc_coordinate_list(self.loop, &columns, &starts)
        if columns is NULL:
            raise ValueError("columns have not been chosen")
        cdef int64_t[::1] c = np.empty(starts[n_lists], np.int64), s = np.empty(n_lists + 1, np.int64)
        for i in range(n_lists + 1):
            s[i] = starts[i]
        for i in range(starts[n_lists]):
            c[i] = columns[i]
        return np.asarray(c), np.asarray(s)

    @property
    def features(self):
        """The features of the columns, a new array of int64."""
        cdef int64_t i
        cdef int64_t[::1] found = np.empty(self.n_columns, np.int64)
        cdef const int64_t *features = rc_coordinate_features(self.loop)
        for i in range(self.n_columns):
            found[i] = features[i]
        return np.asarray(found)

    def settle(self, tuple penalty):
        """Round the parameters to the dtype; return loss plus penalty there."""
        cdef rc_penalty r = rc_penalty(penalty[0], penalty[1], penalty[2])
        cdef rc_error error
        cdef rc_status status
        cdef double value = 0
        with self.lock:
            with nogil:
                status = rc_coordinate_settle(self.loop, &r, &value, &error)
            _check(status, &error)
        return value

    def write(self, cnp.ndarray W, b):
        """Write the weights of the columns into W (n_outputs, n_features), and the intercepts into b unless None."""
        cdef void *w = <void *>self._reals(W, "W", self.problem.n_classes * self.problem.n_features)
        cdef void *intercepts = <void *>self._reals(b, "b", self.problem.n_classes)
        with self.lock:
            rc_coordinate_write(self.loop, w, intercepts)

    def slopes(self, cnp.ndarray out):
        """Write the slopes of the losses in the scores, (n_samples, n_outputs) in the dtype."""
        if (
            out.dtype != self.dtype or not out.flags.carray
            or out.size != self.problem.n_samples * self.problem.n_classes
        ):
            raise ValueError("out must be C-contiguous and writeable, n_samples * n_outputs numbers of the dtype")
        cdef void *data = cnp.PyArray_DATA(out)
        with self.lock, nogil:
            rc_coordinate_slopes(self.loop, data)

    def state(self):
        """What the next step needs besides the columns, as a dict of new arrays."""
        cdef rc_coordinate_state state
        cdef dict found = self._arrays(&state)
        with self.lock:
            rc_coordinate_get_state(self.loop, &state)
        return found

    def set_state(self, given):
        """Go on from such a state, with the same columns."""
        cdef rc_coordinate_state state
        cdef rc_error error
        cdef rc_status status
        cdef dict arrays = self._arrays(&state)
        _restore(arrays, given)
        with self.lock:
            status = rc_coordinate_set_state(self.loop, &state, &error)
        _check(status, &error)

    cdef dict _arrays(self, rc_coordinate_state *state):
        """New arrays for a state, and the state pointing to them."""
        cdef int64_t c = self.problem.n_classes
        cdef cnp.ndarray scores = np.zeros((c, rc_coordinate_n_samples(self.loop)))
        cdef cnp.ndarray weights = np.zeros((self.n_columns, c)), intercepts = np.zeros(c)
        state.scores = <double *>cnp.PyArray_DATA(scores)
        state.W, state.b = <double *>cnp.PyArray_DATA(weights), <double *>cnp.PyArray_DATA(intercepts)
        return {"scores": scores, "weights": weights, "intercepts": intercepts}


cdef int _restore(dict arrays, object given) except -1:
    """Fill the arrays of a state with those of a given one."""
    for name, array in arrays.items():
        if given[name].shape != array.shape or given[name].dtype != array.dtype:
            raise ValueError(f"{name} must have shape {array.shape} and dtype {array.dtype}; "
                             f"got {given[name].shape} and {given[name].dtype}")
        array[...] = given[name]
    return 0


cdef const double *_doubles(object array, int64_t n) except? NULL:
    if array is None:
        return NULL
    if (<cnp.ndarray?>array).size != n or not array.flags.c_contiguous or array.dtype != np.float64:
        raise ValueError("standardisation must be contiguous float64 arrays of length n_features")
    return <const double *>cnp.PyArray_DATA(<cnp.ndarray>array)


cdef void _control(rc_control *control, int n_threads, rc_workspace *workspace) noexcept:
    control.n_threads = n_threads
    control.workspace = workspace
    control.poll = NULL
    control.poll_context = NULL
    cdef Stop stop
    if threading.get_ident() == _main_thread:  # signals arrive nowhere else
        control.poll = _poll
        return
    stop = getattr(_heeded, "stop", None)  # which lives as long as the thread
    if stop is not None:
        control.poll = _poll_stop
        control.poll_context = <void *>stop


# ---------------------------------------------------------------- penalties


cdef cnp.ndarray _weights(object W, int64_t *n_models, int64_t *n_classes, int64_t *n_features):
    """W as a C-contiguous float array, with its shape as a stack."""
    cdef cnp.ndarray array = np.ascontiguousarray(W)
    if not array.flags.aligned:
        array = array.copy()
    if array.dtype != np.float32 and array.dtype != np.float64:
        raise TypeError(f"W must be float32 or float64; got {array.dtype}")
    if array.ndim not in (2, 3):
        raise ValueError(f"W must have shape (n_classes, n_features) or (n_models, n_classes, n_features); "
                         f"got {array.ndim} dimension(s)")
    n_models[0] = array.shape[0] if array.ndim == 3 else 1
    n_classes[0] = array.shape[array.ndim - 2]
    n_features[0] = array.shape[array.ndim - 1]
    return array


cdef rc_dtype _real(cnp.ndarray array):
    return RC_FLOAT32 if array.dtype == np.float32 else RC_FLOAT64


def _output(W, array, out):
    """Where a result of W's shape goes: the array that the core writes, and whether it is a copy of `out`."""
    if out is None:
        return np.empty_like(array)
    if not isinstance(out, np.ndarray) or out.shape != array.shape or out.dtype != array.dtype:
        raise ValueError(
            f"out must be an array of shape {array.shape} and dtype {array.dtype}; got "
            + (f"shape {out.shape} and dtype {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__)
        )
    if not out.flags.writeable:
        raise ValueError("out must be writeable; got a read-only array")
    if out is not W and np.may_share_memory(out, W) and (
        out.ctypes.data != W.ctypes.data or out.strides != W.strides
    ):
        raise ValueError("out must be W itself or not overlap it")
    return out if out.flags.carray else np.empty_like(array)


def penalty_value(W, double l1, double l2, double group):
    """l1 * sum |W| + l2 * sum W**2 + group * sum_features ||W[:, feature]||: a float, or (n_models,) for a stack."""
    cdef int64_t m, c, d
    cdef cnp.ndarray array = _weights(W, &m, &c, &d)
    cdef rc_penalty penalty = rc_penalty(l1, l2, group)
    cdef cnp.ndarray values = np.zeros(m)
    cdef rc_dtype real = _real(array)
    cdef const void *w = cnp.PyArray_DATA(array)
    cdef double *out = <double *>cnp.PyArray_DATA(values)
    with nogil:
        rc_penalty_value(real, w, m, c, d, &penalty, out)
    return values if array.ndim == 3 else float(values[0])


def penalty_gradient(W, double l1, double l2, double group, out=None):
    """A (sub)gradient of the penalty; 0 at the kinks."""
    cdef int64_t m, c, d
    cdef cnp.ndarray array = _weights(W, &m, &c, &d)
    cdef rc_penalty penalty = rc_penalty(l1, l2, group)
    cdef cnp.ndarray target = _output(W, array, out)
    if group != 0 and np.may_share_memory(target, array):
        array = array.copy()
    cdef rc_dtype real = _real(array)
    cdef const void *w = cnp.PyArray_DATA(array)
    cdef void *o = cnp.PyArray_DATA(target)
    with nogil:
        rc_penalty_gradient(real, w, m, c, d, &penalty, o)
    if out is not None and target is not out:
        out[...] = target
    return target if out is None else out


def penalty_prox(W, double step, double l1, double l2, double group, out=None):
    """argmin_V 1/2 ||V - W||^2 + step * R(V), exactly; one pass over W."""
    cdef int64_t m, c, d
    cdef cnp.ndarray array = _weights(W, &m, &c, &d)
    cdef rc_penalty penalty = rc_penalty(l1, l2, group)
    cdef cnp.ndarray target = _output(W, array, out)
    cdef rc_dtype real = _real(array)
    cdef const void *w = cnp.PyArray_DATA(array)
    cdef void *o = cnp.PyArray_DATA(target)
    with nogil:
        rc_penalty_prox(real, w, m, c, d, &penalty, step, o)
    if out is not None and target is not out:
        out[...] = target
    return target if out is None else out


# ---------------------------------------------------------------- small dense matrices


cdef cnp.ndarray _dense(object array, str name, object shape, object dtype=None, bint writeable=False):
    """`array` if it is C-contiguous of this shape (None: any) and of `dtype` (None: float32 or float64)."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be an ndarray; got {type(array).__name__}")
    allowed = (np.float32, np.float64) if dtype is None else (dtype,)
    if array.dtype not in allowed:
        raise TypeError(f"{name} must be {' or '.join(np.dtype(kind).name for kind in allowed)}; got {array.dtype}")
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({wanted}); got {array.shape}")
    if not array.flags.c_contiguous or not array.flags.aligned:
        raise ValueError(f"{name} must be C-contiguous and aligned; got strides {array.strides}")
    if writeable and not array.flags.writeable:
        raise ValueError(f"{name} must be writeable; got a read-only array")
    return array


cdef int _apart(cnp.ndarray out, tuple inputs) except -1:
    if may_overlap(out, inputs):
        raise ValueError("out must not overlap the other arrays")
    return 0


def gram_blocks(Z, H, out, int n_threads):
    """Add Z.T @ diag(H[:, b]) @ Z to every block b of `out`, which stays symmetric.

    Parameters
    ----------
    Z : float32 or float64 ndarray of shape (n_samples, K), C-contiguous
    H : float64 ndarray of shape (n_samples, B), C-contiguous
    out : ndarray of shape (B, K, K) of Z's dtype, C-contiguous; symmetric
    n_threads : int
        0: the default number. The result does not depend on it.
    """
    cdef cnp.ndarray z = _dense(Z, "Z", (None, None))
    cdef cnp.ndarray h = _dense(H, "H", (z.shape[0], None), np.float64)
    cdef cnp.ndarray target = _dense(out, "out", (h.shape[1], z.shape[1], z.shape[1]), z.dtype, True)
    cdef rc_control control
    cdef rc_error error
    cdef rc_status status
    cdef rc_dtype real = _real(z)
    _apart(target, (z, h))
    _control(&control, n_threads, NULL)
    with nogil:
        status = rc_gram_blocks(real, cnp.PyArray_DATA(z), <const double *>cnp.PyArray_DATA(h), z.shape[0],
                                z.shape[1], h.shape[1], &control, cnp.PyArray_DATA(target), &error)
    _check(status, &error)


def cholesky_blocks(A, extra, out, int n_threads):
    """Write the lower Cholesky factors of A[b] + diag(extra[b]) into `out`, with zeros above the diagonals.

    Parameters
    ----------
    A : float32 or float64 ndarray of shape (B, K, K), C-contiguous
        Only the lower triangles count.
    extra : float64 ndarray of shape (B, K), C-contiguous
    out : ndarray of A's shape and dtype, C-contiguous; not A itself
    n_threads : int
        0: the default number. The result does not depend on it.

    Returns
    -------
    ndarray of bool of shape (B,)
        Which matrices are positive definite to working precision; out[b] of another one holds no factor.
    """
    cdef cnp.ndarray a = _dense(A, "A", (None, None, None))
    if a.shape[1] != a.shape[2]:
        raise ValueError(f"A must hold square matrices; got shape {A.shape}")
    cdef cnp.ndarray more = _dense(extra, "extra", (a.shape[0], a.shape[1]), np.float64)
    cdef cnp.ndarray target = _dense(out, "out", A.shape, a.dtype, True)
    cdef cnp.ndarray definite = np.ones(a.shape[0], np.bool_)
    cdef rc_control control
    cdef rc_error error
    cdef rc_status status
    cdef rc_dtype real = _real(a)
    _apart(target, (a, more))
    _control(&control, n_threads, NULL)
    with nogil:
        status = rc_cholesky_blocks(real, cnp.PyArray_DATA(a), <const double *>cnp.PyArray_DATA(more), a.shape[0],
                                    a.shape[1], &control, cnp.PyArray_DATA(target),
                                    <uint8_t *>cnp.PyArray_DATA(definite), &error)
    _check(status, &error)
    return definite


def cholesky_solve(L, r, out, int n_threads):
    """Solve L[i] @ L[i].T @ out[i] = r[i] for all i, in L's dtype.

    Parameters
    ----------
    L : float32 or float64 ndarray of shape (n, K, K), or (1, K, K): one for all; C-contiguous
        Lower triangles; what is above the diagonals is not read.
    r : float64 ndarray of shape (n, K), C-contiguous
    out : float64 ndarray of shape (n, K), C-contiguous
    n_threads : int
        0: the default number. The result does not depend on it.
    """
    cdef cnp.ndarray factors = _dense(L, "L", (None, None, None))
    cdef cnp.ndarray right = _dense(r, "r", (None, None), np.float64)
    if factors.shape[0] != 1 and factors.shape[0] != right.shape[0]:
        raise ValueError(f"L must hold one matrix, or one for each of the {right.shape[0]} rows of r; "
                         f"got {factors.shape[0]}")
    _dense(L, "L", (None, right.shape[1], right.shape[1]))
    cdef cnp.ndarray target = _dense(out, "out", (right.shape[0], right.shape[1]), np.float64, True)
    cdef rc_control control
    cdef rc_error error
    cdef rc_status status
    cdef rc_dtype real = _real(factors)
    _apart(target, (factors, right))
    _control(&control, n_threads, NULL)
    with nogil:
        status = rc_cholesky_solve(real, cnp.PyArray_DATA(factors), factors.shape[0], factors.shape[1],
                                   <const double *>cnp.PyArray_DATA(right), right.shape[0], &control,
                                   <double *>cnp.PyArray_DATA(target), &error)
    _check(status, &error)


def minimise_quadratic(H, g, w, int64_t n_weights, double l1, double l2, double enough):
    """Move w to the minimum of a quadratic model with a penalty on its first numbers; see regcore.h.

    Parameters
    ----------
    H : float64 ndarray of shape (n, n), C-contiguous; symmetric
    g, w : float64 ndarrays of shape (n,), C-contiguous
        The slopes at w; w is written.
    n_weights : int
        How many numbers have the penalty.
    l1, l2, enough : float

    Returns
    -------
    bool
        Whether H is positive definite to working precision; otherwise w is void.
    """
    cdef cnp.ndarray slopes = _dense(g, "g", (None,), np.float64)
    cdef int64_t n = slopes.shape[0]
    cdef cnp.ndarray matrix = _dense(H, "H", (n, n), np.float64)
    cdef cnp.ndarray weights = _dense(w, "w", (n,), np.float64, True)
    cdef int definite = 0
    cdef rc_error error
    cdef rc_status status
    if not 0 <= n_weights <= n:
        raise ValueError(f"n_weights must lie in [0, {n}]; got {n_weights}")
    _apart(weights, (matrix, slopes))
    with nogil:
        status = rc_minimise_quadratic(<const double *>cnp.PyArray_DATA(matrix), n, n_weights,
                                       <const double *>cnp.PyArray_DATA(slopes), l1, l2, enough,
                                       <double *>cnp.PyArray_DATA(weights), &definite, &error)
    _check(status, &error)
    return bool(definite)


# ---------------------------------------------------------------- quasi-Newton pairs


cdef class Pairs:
    """The newest steps of a quasi-Newton method with the changes of the gradient along them; see rc_pairs in regcore.h.

    All vectors are C-contiguous float64 of one size, in any shape.

    Parameters
    ----------
    capacity : int
        How many are kept.
    size : int
        Numbers in a vector.
    """

    cdef readonly int64_t capacity, size
    cdef readonly list steps, changes
    cdef cnp.ndarray step_data, change_data, products, shares
    cdef object bend, free

    def __init__(self, int64_t capacity, int64_t size):
        if capacity < 1 or size < 0:
            raise ValueError(f"capacity must be >= 1 and size >= 0; got {capacity} and {size}")
        self.capacity, self.size = capacity, size
        self.steps, self.changes = [], []
        self.step_data, self.change_data = np.empty(capacity, np.uintp), np.empty(capacity, np.uintp)
        self.products, self.shares = np.zeros(capacity), np.zeros(capacity)
        self.bend = self.free = None

    def __len__(self):
        return len(self.steps)

    cdef double *_vector(self, object array, str name, bint writeable=False) except NULL:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name} must be an ndarray; got {type(array).__name__}")
        _dense(array, name, array.shape, np.float64, writeable)
        if array.size != self.size:
            raise ValueError(f"{name} must have {self.size} numbers; got {array.size}")
        return <double *>cnp.PyArray_DATA(array)

    def add(self, step, change):
        """Keep a pair, without copies; the oldest goes when there are too many."""
        self._vector(step, "step")
        self._vector(change, "change")
        self.steps.append(step)
        self.changes.append(change)
        del self.steps[: -self.capacity], self.changes[: -self.capacity]

    def clear(self):
        """Forget them all."""
        self.steps.clear()
        self.changes.clear()

    cdef rc_pairs _pairs(self) except *:
        cdef rc_pairs pairs
        cdef int64_t k
        for k in range(len(self.steps)):
            self.step_data[k] = <uintptr_t>cnp.PyArray_DATA(<cnp.ndarray>self.steps[k])
            self.change_data[k] = <uintptr_t>cnp.PyArray_DATA(<cnp.ndarray>self.changes[k])
        pairs.steps = <const double *const *>cnp.PyArray_DATA(self.step_data)
        pairs.changes = <const double *const *>cnp.PyArray_DATA(self.change_data)
        pairs.n_pairs, pairs.n = len(self.steps), self.size
        pairs.bend = pairs.free = NULL
        if self.bend is not None:
            pairs.bend = self._vector(self.bend, "bend")
        if self.free is not None:
            pairs.free = self._vector(self.free, "free")
        return pairs

    def down(self, r, bend=None, free=None):
        """Multiply `r` by the updates' transposes, newest first; `bend` and `free` count for the way `up`, too."""
        if bend is not None and free is not None:
            raise ValueError("bend and free exclude each other; got both")
        self.bend, self.free = bend, free
        cdef double *vector = self._vector(r, "r", True)
        cdef rc_pairs pairs = self._pairs()
        with nogil:
            rc_pairs_down(&pairs, vector, <double *>cnp.PyArray_DATA(self.products),
                          <double *>cnp.PyArray_DATA(self.shares))

    def up(self, z):
        """Multiply `z` by the updates, oldest first; no pair may have come since `down`."""
        cdef double *vector = self._vector(z, "z", True)
        cdef rc_pairs pairs = self._pairs()
        with nogil:
            rc_pairs_up(&pairs, <const double *>cnp.PyArray_DATA(self.products),
                        <const double *>cnp.PyArray_DATA(self.shares), vector)

    def newest(self):
        """(change, product with its step) of the newest pair that the last `down` used; None if it used none."""
        for k in reversed(range(len(self.steps))):
            if self.products[k] > 0:
                return self.changes[k], float(self.products[k])
        return None
