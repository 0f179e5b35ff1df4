/*
 * Runs the core on cases from a file and compares what it returns with what the file expects: the tests of the kernels
 * where there is no Python, that is on another machine's instructions under emulation, and below sanitizers.
 *
 *     check_kernels CASES [LEVEL ...]
 *
 * tests/kernel_cases.py writes the file, with expected values from regcore.reference; it says what a case holds.  Every
 * array gets a block of its own that ends where the array does, so that AddressSanitizer sees a read beyond it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regcore.h"

/* ---------------------------------------------------------------- cases */

enum { MOST_FIELDS = 48, KEY = 16, MOST_SHOWN = 20 };

typedef struct {
    char key[KEY];
    int64_t dtype, n; /* an rc_dtype, and how many items */
    char *memory;
    void *data;
} field;

typedef struct {
    char operation[KEY], what[160];
    int64_t n_fields;
    field fields[MOST_FIELDS];
} kase;

static void give_up(const char *why)
{
    fprintf(stderr, "check_kernels: %s\n", why);
    exit(2);
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) give_up("out of memory");
    return memory;
}

static size_t item_size(int64_t dtype)
{
    static const size_t sizes[] = {4, 8, 2, 1, 1, 2, 2, 4, 4, 8, 8};
    if (dtype < 0 || dtype > RC_UINT64) give_up("unknown type in the file of cases");
    return sizes[dtype];
}

static void read_bytes(FILE *file, void *out, size_t bytes)
{
    if (bytes && fread(out, bytes, 1, file) != 1) give_up("the file of cases ends early");
}

/* 0: there are no more */
static int read_case(FILE *file, kase *c)
{
    read_bytes(file, &c->n_fields, sizeof c->n_fields);
    if (c->n_fields == 0) return 0;
    if (c->n_fields < 0 || c->n_fields > MOST_FIELDS) give_up("the file of cases has another byte order or is damaged");
    read_bytes(file, c->operation, sizeof c->operation);
    read_bytes(file, c->what, sizeof c->what);
    for (field *f = c->fields; f < c->fields + c->n_fields; f++) {
        read_bytes(file, f->key, sizeof f->key);
        read_bytes(file, &f->dtype, sizeof f->dtype);
        read_bytes(file, &f->n, sizeof f->n);
        /* every other array starts off its block's alignment by one item */
        const size_t item = item_size(f->dtype), before = (f - c->fields) % 2 ? item : 0;
        f->memory = allocate(before + (size_t)f->n * item);
        f->data = f->memory + before;
        read_bytes(file, f->data, (size_t)f->n * item);
    }
    return 1;
}

static void free_case(kase *c)
{
    for (int64_t i = 0; i < c->n_fields; i++) free(c->fields[i].memory);
}

static const field *find(const kase *c, const char *key)
{
    for (int64_t i = 0; i < c->n_fields; i++)
        if (!strcmp(c->fields[i].key, key)) return &c->fields[i];
    return NULL;
}

static const void *data_of(const kase *c, const char *key)
{
    const field *f = find(c, key);
    return f ? f->data : NULL;
}

static const double *doubles(const kase *c, const char *key)
{
    const field *f = find(c, key);
    if (f && f->dtype != RC_FLOAT64) give_up("float64 expected");
    return f ? f->data : NULL;
}

static const int64_t *integers(const kase *c, const char *key)
{
    const field *f = find(c, key);
    if (f && f->dtype != RC_INT64) give_up("int64 expected");
    return f ? f->data : NULL;
}

static int64_t integer(const kase *c, const char *key, int64_t otherwise)
{
    const int64_t *x = integers(c, key);
    return x ? *x : otherwise;
}

static double number(const kase *c, const char *key, double otherwise)
{
    const double *x = doubles(c, key);
    return x ? *x : otherwise;
}

/* ---------------------------------------------------------------- comparisons */

static int64_t n_comparisons, n_failures;
static double worst; /* the largest error, in multiples of what is allowed */

static void report(const kase *c, const char *what, const char *why)
{
    if (n_failures++ < MOST_SHOWN)
        printf("FAILED %s: %s, %s: %s %s\n", rc_isa_active(), c->operation, c->what, what, why);
}

static void expect(const kase *c, int holds, const char *what, const char *why)
{
    n_comparisons++;
    if (!holds) report(c, what, why);
}

static double real_at(const void *data, rc_dtype real, int64_t i)
{
    return real == RC_FLOAT32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

static double largest(const double *x, int64_t n)
{
    double found = 0;
    for (int64_t i = 0; i < n; i++) found = fabs(x[i]) > found ? fabs(x[i]) : found;
    return found;
}

/* Errors relative to `scale`; a NaN is an error. */
static void compare(const kase *c, const char *what, const void *actual, rc_dtype real, const double *expected,
                    int64_t n, double scale, double tolerance)
{
    const double allowed = tolerance * (scale > 0 ? scale : 1);
    double error = 0;
    n_comparisons++;
    for (int64_t i = 0; i < n; i++) {
        const double e = fabs(real_at(actual, real, i) - expected[i]);
        if (e <= allowed) {
            error = e > error ? e : error;
            continue;
        }
        char why[128];
        snprintf(why, sizeof why, "[%lld] is %.17g, expected %.17g to within %.1e", (long long)i,
                 real_at(actual, real, i), expected[i], allowed);
        report(c, what, why);
        return;
    }
    worst = error / allowed > worst ? error / allowed : worst;
}

static void check_status(const kase *c, rc_status status, const rc_error *error)
{
    n_comparisons++;
    if (status != RC_OK) report(c, "status", error && error->message ? error->message : rc_status_message(status));
}

/* Memory for an output of n items, of which none is a number yet */
static void *output(int64_t n, size_t item)
{
    void *memory = allocate((size_t)n * item);
    memset(memory, 0xff, (size_t)n * item);
    return memory;
}

/* ---------------------------------------------------------------- problems */

typedef struct {
    rc_problem problem;
    rc_parameters parameters;
    rc_rows rows;
    rc_dtype real;
    size_t size;         /* of a real */
    int64_t n, M, MC, D; /* rows of the evaluation; models, rows of all W */
    double tolerance;
} setting;

static rc_vector vector_of(const kase *c, const char *key)
{
    const field *f = find(c, key);
    return f ? (rc_vector){f->data, (rc_dtype)f->dtype, (int64_t)item_size(f->dtype)} : (rc_vector){0};
}

static setting read_setting(const kase *c)
{
    setting s = {.tolerance = number(c, "tolerance", 0)};
    const field *X = find(c, "X"), *indices = find(c, "indices");
    const int64_t *shape = integers(c, "shape"); /* n_rows, n_columns, strides, offset of the first item */
    if (!X || !shape) give_up("a case without X");
    rc_problem *p = &s.problem;
    p->X = (rc_matrix){.data = (const char *)X->data + shape[4],
                       .dtype = (rc_dtype)X->dtype,
                       .n_rows = shape[0],
                       .n_columns = shape[1],
                       .row_stride = shape[2],
                       .column_stride = shape[3]};
    if (indices) {
        p->X.indices = indices->data;
        p->X.indptr = data_of(c, "indptr");
        p->X.index_dtype = (rc_dtype)indices->dtype;
        p->X.nnz = X->n;
    }
    p->loss = (rc_loss)integer(c, "loss", 0);
    p->n_classes = integer(c, "n_classes", 2);
    p->n_models = integer(c, "n_models", 1);
    p->is_stack = p->n_models > 1;
    p->y = vector_of(c, "y");
    p->label_smoothing = number(c, "smoothing", 0);
    const field *T = find(c, "targets");
    if (T) {
        const int64_t size = (int64_t)item_size(T->dtype), n_labels = p->n_classes > 1 ? p->n_classes : 2;
        p->targets = (rc_targets){T->data, (rc_dtype)T->dtype, n_labels * size, size};
    }
    p->weights = vector_of(c, "weights");
    if (find(c, "weights") && find(c, "weights")->n > shape[0]) p->weights_model_stride = shape[0] * p->weights.stride;
    s.M = p->n_models;
    s.MC = s.M * p->n_classes;
    s.D = shape[1];

    const double *penalty = doubles(c, "penalty");
    s.real = (rc_dtype)integer(c, "real", RC_FLOAT64);
    s.size = item_size(s.real);
    s.parameters = (rc_parameters){.real = s.real,
                                   .W = data_of(c, "W"),
                                   .b = data_of(c, "b"),
                                   .center = doubles(c, "center"),
                                   .scale = doubles(c, "scale")};
    if (penalty) s.parameters.penalty = (rc_penalty){penalty[0], penalty[1], penalty[2]};

    const field *index = find(c, "rows");
    const int64_t *slice = integers(c, "slice"); /* start, step, n */
    s.rows = index   ? (rc_rows){.index = index->data, .n = index->n}
             : slice ? (rc_rows){NULL, slice[0], slice[1], slice[2]}
                     : (rc_rows){NULL, 0, 1, shape[0]};
    s.n = s.rows.n;
    return s;
}

static rc_penalty penalty_of(const kase *c)
{
    const double *p = doubles(c, "penalty");
    return p ? (rc_penalty){p[0], p[1], p[2]} : (rc_penalty){0, 0, 0};
}

static const rc_control one_thread = {.n_threads = 1}, three_threads = {.n_threads = 3};

/* ---------------------------------------------------------------- loss, gradient, prediction */

static void check_gradient(const kase *c, const setting *s, const char *which, const void *grad_W, const void *grad_b,
                           int64_t MC)
{
    const double *expected_W = doubles(c, "grad_W"), *expected_b = doubles(c, "grad_b");
    /* one vector: the sums of grad_b alone may cancel to nothing */
    const double of_W = largest(expected_W, MC * s->D), of_b = largest(expected_b, MC);
    const double scale = of_W > of_b ? of_W : of_b;
    char what[64];
    snprintf(what, sizeof what, "grad_W%s", which);
    compare(c, what, grad_W, s->real, expected_W, MC * s->D, scale, s->tolerance);
    snprintf(what, sizeof what, "grad_b%s", which);
    compare(c, what, grad_b, s->real, expected_b, MC, scale, s->tolerance);
}

static void evaluate(const kase *c)
{
    const setting s = read_setting(c);
    rc_error error = {0};
    const rc_status status = rc_check_problem(&s.problem, &error);
    check_status(c, status, &error);
    if (status != RC_OK) return;

    const size_t W_bytes = (size_t)(s.MC * s.D) * s.size, b_bytes = (size_t)s.MC * s.size;
    double *value = output(s.M, sizeof *value), *again = output(s.M, sizeof *again);
    void *grad_W = output(s.MC * s.D, s.size), *grad_b = output(s.MC, s.size);
    void *again_W = output(s.MC * s.D, s.size), *again_b = output(s.MC, s.size);
    const double *expected = doubles(c, "value");
    rc_gradient out = {value, grad_W, grad_b}, second = {again, again_W, again_b};
    check_status(c, rc_evaluate(&s.problem, &s.rows, &s.parameters, &one_thread, &out, &error), &error);
    compare(c, "value", value, RC_FLOAT64, expected, s.M, largest(expected, s.M), s.tolerance);
    check_gradient(c, &s, "", grad_W, grad_b, s.MC);
    check_status(c, rc_evaluate(&s.problem, &s.rows, &s.parameters, &three_threads, &second, &error), &error);
    expect(c,
           !memcmp(value, again, (size_t)s.M * sizeof *value) && !memcmp(grad_W, again_W, W_bytes) &&
               !memcmp(grad_b, again_b, b_bytes),
           "bits", "depend on the number of threads");

    /* without the gradient it is another pass */
    second = (rc_gradient){again, NULL, NULL};
    check_status(c, rc_evaluate(&s.problem, &s.rows, &s.parameters, &one_thread, &second, &error), &error);
    compare(c, "value alone", again, RC_FLOAT64, expected, s.M, largest(expected, s.M), s.tolerance);
    free(value), free(again), free(grad_W), free(grad_b), free(again_W), free(again_b);
}

static void predict(const kase *c)
{
    const setting s = read_setting(c);
    const int64_t n_labels = s.problem.n_classes > 1 ? s.problem.n_classes : 2;
    const int64_t n_scores = s.n * s.MC, n_probabilities = s.n * s.M * n_labels;
    const double *expected = doubles(c, "scores"), *expected_probabilities = doubles(c, "probabilities");
    rc_error error = {0};
    void *scores = output(n_scores, s.size), *probabilities = output(n_probabilities, s.size);
    int64_t *labels = output(s.n * s.M, sizeof *labels);
    rc_prediction out = {scores, s.MC * (int64_t)s.size, probabilities, s.M * n_labels * (int64_t)s.size, labels};
    check_status(c, rc_predict(&s.problem, &s.rows, &s.parameters, &three_threads, &out, &error), &error);
    compare(c, "scores", scores, s.real, expected, n_scores, largest(expected, n_scores), s.tolerance);
    compare(c, "probabilities", probabilities, s.real, expected_probabilities, n_probabilities, 1, 10 * s.tolerance);
    int most_probable = 1;
    for (int64_t i = 0; i < s.n * s.M; i++) {
        const double *p = expected_probabilities + i * n_labels;
        const int64_t label = labels[i];
        most_probable = most_probable && label >= 0 && label < n_labels &&
                        p[label] >= largest(p, n_labels) * (1 - 100 * s.tolerance);
    }
    expect(c, most_probable, "labels", "are not the most probable ones");
    free(scores), free(probabilities), free(labels);
}

/* ---------------------------------------------------------------- dual points */

static void conjugate(const kase *c)
{
    const setting s = read_setting(c);
    const double *expected = doubles(c, "conjugate");
    const field *u = find(c, "u");
    const rc_dual_point point = {.u = u ? u->data : NULL,
                                 .u_stride = s.MC * (int64_t)s.size,
                                 .shrink = doubles(c, "shrink"),
                                 .lose = doubles(c, "lose"),
                                 .gain = doubles(c, "gain")};
    rc_error error = {0};
    double *value = output(s.M, sizeof *value);
    check_status(c, rc_conjugate(&s.problem, &s.rows, &s.parameters, &three_threads, &point, value, &error), &error);
    compare(c, "conjugate", value, RC_FLOAT64, expected, s.M, number(c, "magnitude", 1), s.tolerance);
    free(value);
}

static void adjoint(const kase *c)
{
    setting s = read_setting(c);
    const field *u = find(c, "u");
    if (!u && s.problem.n_classes == 1) s.problem.n_classes = 2; /* sums of the two labels */
    const int64_t MC = s.M * s.problem.n_classes;
    rc_error error = {0};
    void *V = output(MC * s.D, s.size), *r = output(MC, s.size);
    rc_gradient out = {NULL, V, r};
    check_status(c,
                 rc_adjoint(&s.problem, &s.rows, &s.parameters, &three_threads, u ? u->data : NULL,
                            MC * (int64_t)s.size, &out, &error),
                 &error);
    check_gradient(c, &s, " of the adjoint", V, r, MC);
    free(V), free(r);
}

static void statistics(const kase *c)
{
    const setting s = read_setting(c);
    rc_error error = {0};
    double *mean = output(s.D, sizeof *mean), *scale = output(s.D, sizeof *scale);
    check_status(c, rc_column_statistics(&s.problem, &three_threads, mean, scale, &error), &error);
    compare(c, "mean", mean, RC_FLOAT64, doubles(c, "mean"), s.D, largest(doubles(c, "deviation"), s.D), s.tolerance);
    compare(c, "deviation", scale, RC_FLOAT64, doubles(c, "deviation"), s.D, largest(doubles(c, "deviation"), s.D),
            s.tolerance);
    free(mean), free(scale);
}

/* ---------------------------------------------------------------- penalties */

static void penalty(const kase *c)
{
    const int64_t *shape = integers(c, "shape"); /* n_models, n_classes, n_features */
    const int64_t M = shape[0], C = shape[1], D = shape[2], n = M * C * D;
    const rc_dtype real = (rc_dtype)integer(c, "real", RC_FLOAT64);
    const size_t size = item_size(real);
    const double tolerance = number(c, "tolerance", 0);
    const rc_penalty p = penalty_of(c);
    const void *W = data_of(c, "W");
    double *value = output(M, sizeof *value);
    void *out = output(n, size);
    rc_penalty_value(real, W, M, C, D, &p, value);
    compare(c, "value", value, RC_FLOAT64, doubles(c, "value"), M, largest(doubles(c, "value"), M), tolerance);
    rc_penalty_gradient(real, W, M, C, D, &p, out);
    compare(c, "gradient", out, real, doubles(c, "gradient"), n, largest(doubles(c, "gradient"), n), tolerance);
    rc_penalty_prox(real, W, M, C, D, &p, number(c, "step", 1), out);
    compare(c, "prox", out, real, doubles(c, "prox"), n, number(c, "magnitude", 1), tolerance);
    void *in_place = output(n, size);
    memcpy(in_place, W, (size_t)n * size);
    rc_penalty_prox(real, in_place, M, C, D, &p, number(c, "step", 1), in_place);
    expect(c, !memcmp(out, in_place, (size_t)n * size), "prox", "in place differs");
    free(value), free(out), free(in_place);
}

/* ---------------------------------------------------------------- dense algebra */

static void algebra(const kase *c)
{
    const int64_t *shape = integers(c, "shape"); /* n, K, B */
    const int64_t n = shape[0], K = shape[1], B = shape[2], n_out = B * K * K;
    const rc_dtype real = (rc_dtype)integer(c, "real", RC_FLOAT64);
    const double tolerance = number(c, "tolerance", 0);
    rc_error error = {0};
    void *gram = output(n_out, item_size(real)), *L = output(n_out, item_size(real));
    double *solved = output(B * K, sizeof *solved);
    uint8_t *definite = output(B, 1);
    memset(gram, 0, (size_t)n_out * item_size(real));
    check_status(c, rc_gram_blocks(real, data_of(c, "Z"), doubles(c, "H"), n, K, B, &three_threads, gram, &error),
                 &error);
    compare(c, "gram", gram, real, doubles(c, "gram"), n_out, largest(doubles(c, "gram"), n_out), tolerance);
    check_status(
        c, rc_cholesky_blocks(real, data_of(c, "A"), doubles(c, "extra"), B, K, &three_threads, L, definite, &error),
        &error);
    for (int64_t b = 0; b < B; b++) expect(c, definite[b] == 1, "factor", "is said not to be one");
    compare(c, "factor", L, real, doubles(c, "factor"), n_out, largest(doubles(c, "factor"), n_out), tolerance);
    check_status(c, rc_cholesky_solve(real, L, B, K, doubles(c, "right"), B, &three_threads, solved, &error), &error);
    compare(c, "solution", solved, RC_FLOAT64, doubles(c, "solution"), B * K, largest(doubles(c, "solution"), B * K),
            100 * tolerance);
    free(gram), free(L), free(solved), free(definite);
}

/* ---------------------------------------------------------------- quasi-Newton pairs */

static void multiply_by_pairs(const kase *c)
{
    const int64_t n_pairs = integers(c, "shape")[0], n = integers(c, "shape")[1];
    const double *diagonal = doubles(c, "diagonal"), *expected = doubles(c, "product");
    const double **steps = output(n_pairs, sizeof *steps), **changes = output(n_pairs, sizeof *changes);
    double *z = output(n, sizeof *z), *products = output(n_pairs, sizeof *products);
    double *shares = output(n_pairs, sizeof *shares);
    for (int64_t k = 0; k < n_pairs; k++) {
        steps[k] = doubles(c, "steps") + k * n;
        changes[k] = doubles(c, "changes") + k * n;
    }
    const rc_pairs pairs = {steps, changes, n_pairs, n, doubles(c, "bend"), doubles(c, "free")};
    memcpy(z, doubles(c, "right"), (size_t)n * sizeof *z);
    rc_pairs_down(&pairs, z, products, shares);
    for (int64_t i = 0; i < n; i++) z[i] *= diagonal[i];
    if (pairs.free)
        for (int64_t i = 0; i < n; i++) z[i] *= pairs.free[i] != 0 ? 1 : 1e3; /* what they must not see */
    rc_pairs_up(&pairs, products, shares, z);
    if (pairs.free)
        for (int64_t i = 0; i < n; i++) z[i] *= pairs.free[i];
    compare(c, "product", z, RC_FLOAT64, expected, n, largest(expected, n), number(c, "tolerance", 0));
    free(steps), free(changes), free(z), free(products), free(shares);
}

/* ---------------------------------------------------------------- stochastic descent */

static void descend(const kase *c)
{
    const setting s = read_setting(c);
    const double *o = doubles(c, "options"), *expected = doubles(c, "value");
    const rc_sgd_options options = {.real = s.real,
                                    .penalty = s.parameters.penalty,
                                    .batch_size = (int64_t)o[0],
                                    .eta0 = o[1],
                                    .rate = o[2],
                                    .power = o[3],
                                    .momentum = o[4],
                                    .intercept_rate = o[5],
                                    .dropout = o[6],
                                    .average_from = (int64_t)o[7],
                                    .seed = (uint64_t)o[8]};
    rc_error error = {0};
    rc_sgd *sgd = NULL;
    const rc_status status = rc_sgd_create(&s.problem, &options, s.parameters.W, s.parameters.b, &sgd, &error);
    check_status(c, status, &error);
    if (status != RC_OK) return;
    double value = NAN;
    for (int64_t epoch = 0; epoch < integer(c, "n_epochs", 1); epoch++)
        check_status(c, rc_sgd_epoch(sgd, &one_thread, &value, &error), &error);
    compare(c, "value", &value, RC_FLOAT64, expected, 1, largest(expected, 1), s.tolerance);
    void *W = output(s.MC * s.D, s.size), *b = output(s.MC, s.size);
    rc_sgd_parameters(sgd, options.average_from >= 0, W, b);
    compare(c, "W", W, s.real, doubles(c, "W_after"), s.MC * s.D, largest(doubles(c, "W_after"), s.MC * s.D),
            s.tolerance);
    compare(c, "b", b, s.real, doubles(c, "b_after"), s.MC, largest(doubles(c, "b_after"), s.MC), s.tolerance);
    rc_sgd_free(sgd);
    free(W), free(b);
}

/* ---------------------------------------------------------------- dual ascent */

/* The same ascent on several threads, which large CSR problems have work for */
static void check_threads(const kase *c, const setting *s, const rc_dual_options *options, const void *expected)
{
    const int proximal = options->proximal;
    rc_error error = {0};
    rc_dual *dual = NULL;
    const rc_status status = rc_dual_create(&s->problem, options, &three_threads, &dual, &error);
    check_status(c, status, &error);
    if (status != RC_OK) return;
    const int64_t n_W = s->MC * s->D;
    void *W = output(n_W, s->size), *slopes = output(s->n * s->MC, s->size), *centre = output(n_W, s->size);
    double *b = output(s->MC, sizeof *b), *V = output(n_W, sizeof *V), *r = output(s->MC, sizeof *r);
    void *A = output(n_W, s->size);
    double *residual = output(s->MC, sizeof *residual);
    uint8_t *wait = output(s->n, 1), *patience = output(s->n, 1);
    memset(W, 0, (size_t)n_W * s->size);
    rc_dual_set_centre(dual, W, NULL, proximal ? 3 : 0, proximal ? 2 : 0);
    double gap, linear, most;
    int64_t n_visits;
    check_status(
        c, rc_dual_run(dual, &three_threads, proximal ? 2 : 1, integer(c, "n_epochs", 1), &gap, &n_visits, &error),
        &error);
    check_status(c, rc_dual_refresh(dual, &three_threads, V, r, &linear, &most, &error), &error);
    rc_dual_state state = {.slopes = slopes,
                           .centre = centre,
                           .centre_b = b,
                           .A = A,
                           .residual = residual,
                           .wait = wait,
                           .patience = patience};
    rc_dual_get_state(dual, &state);
    expect(c, !memcmp(slopes, expected, (size_t)(s->n * s->MC) * s->size), "slopes", "depend on the threads");
    rc_dual_free(dual);
    free(W), free(slopes), free(centre), free(b), free(V), free(r), free(A), free(residual), free(wait);
    free(patience);
}

/* There is no expected value: the gap between the objective (which other cases check) and the dual of the slopes that
 * were found proves both, as V and the residual are those of the adjoint. */
static void ascend(const kase *c)
{
    const setting s = read_setting(c);
    const int proximal = s.parameters.penalty.l2 == 0;
    const rc_dual_options options = {.real = s.real,
                                     .penalty = s.parameters.penalty,
                                     .center = s.parameters.center,
                                     .scale = s.parameters.scale,
                                     .proximal = proximal,
                                     .metric = doubles(c, "metric"),
                                     .seed = 7};
    rc_error error = {0};
    rc_dual *dual = NULL;
    const rc_status status = rc_dual_create(&s.problem, &options, &one_thread, &dual, &error);
    check_status(c, status, &error);
    if (status != RC_OK) return;

    const int64_t n_W = s.MC * s.D;
    void *W = output(n_W, s.size), *slopes = output(s.n * s.MC, s.size), *centre = output(n_W, s.size);
    void *adjoint_V = output(n_W, s.size), *adjoint_r = output(s.MC, s.size);
    double *b = output(s.MC, sizeof *b), *centre_b = output(s.MC, sizeof *b), *r = output(s.MC, sizeof *r);
    double *V = output(n_W, sizeof *V), *residual = output(s.MC, sizeof *residual);
    void *A = output(n_W, s.size);
    uint8_t *wait = output(s.n, 1), *patience = output(s.n, 1);
    memset(W, 0, (size_t)n_W * s.size);
    rc_dual_set_centre(dual, W, NULL, proximal ? 3 : 0, proximal ? 2 : 0);
    double gap, linear, most;
    int64_t n_visits;
    check_status(c,
                 rc_dual_run(dual, &one_thread, proximal ? 2 : 1, integer(c, "n_epochs", 1), &gap, &n_visits, &error),
                 &error);
    check_status(c, rc_dual_refresh(dual, &one_thread, V, r, &linear, &most, &error), &error);
    rc_dual_state state = {.slopes = slopes,
                           .centre = centre,
                           .centre_b = centre_b,
                           .A = A,
                           .residual = residual,
                           .wait = wait,
                           .patience = patience};
    rc_dual_get_state(dual, &state);
    expect(c, n_visits > s.n / 2, "visits", "are too few");
    check_threads(c, &s, &options, slopes);

    /* u = the slopes, which are in the domain: the projection leaves them */
    rc_gradient out = {NULL, adjoint_V, adjoint_r};
    check_status(
        c, rc_adjoint(&s.problem, &s.rows, &s.parameters, &one_thread, slopes, s.MC * (int64_t)s.size, &out, &error),
        &error);
    compare(c, "V", adjoint_V, s.real, V, n_W, 1, s.tolerance); /* means of numbers of the order of 1 */
    compare(c, "residual", adjoint_r, s.real, r, s.MC, 1, s.tolerance);
    if (!proximal) {
        /* R*(-V) = l2 ||W||^2, since W = prox(-V) / (2 l2) */
        rc_parameters found = s.parameters;
        double value, square = 0;
        rc_dual_parameters(dual, 0, W, b);
        for (int64_t i = 0; i < n_W; i++) square += real_at(W, s.real, i) * real_at(W, s.real, i);
        found.W = W;
        out = (rc_gradient){&value, NULL, NULL};
        check_status(c, rc_evaluate(&s.problem, &s.rows, &found, &one_thread, &out, &error), &error);
        const double bound = linear - s.parameters.penalty.l2 * square;
        compare(c, "dual bound", &bound, RC_FLOAT64, &value, 1, value, number(c, "gap", 0));
        expect(c, bound <= value * (1 + 10 * s.tolerance), "dual bound", "is above the objective");
    }
    rc_dual_free(dual);
    free(W), free(slopes), free(centre), free(adjoint_V), free(adjoint_r), free(b), free(centre_b), free(r), free(V);
    free(A), free(residual), free(wait), free(patience);
}

/* ---------------------------------------------------------------- coordinate descent */

/* A minimum, since W = prox(W - gradient of the data term), which other cases check, and so is the one of b */
static void check_minimum(const kase *c, const setting *s, const rc_coordinate_progress *progress, const double *W,
                          const double *b)
{
    const int64_t n_W = s->MC * s->D;
    const double tolerance = number(c, "residual", 0);
    void *found_W = output(n_W, s->size), *found_b = output(s->MC, s->size);
    void *grad_W = output(n_W, s->size), *grad_b = output(s->MC, s->size), *moved = output(n_W, s->size);
    double *at = output(n_W, sizeof *at), *zeros = output(s->MC, sizeof *zeros), value, penalty;
    for (int64_t i = 0; i < s->MC; i++) {
        zeros[i] = 0;
        if (s->real == RC_FLOAT32)
            ((float *)found_b)[i] = (float)b[i];
        else
            ((double *)found_b)[i] = b[i];
    }
    for (int64_t i = 0; i < n_W; i++) {
        const double w = W[i % s->D * s->MC + i / s->D];
        if (s->real == RC_FLOAT32)
            ((float *)found_W)[i] = (float)w;
        else
            ((double *)found_W)[i] = w;
        at[i] = real_at(found_W, s->real, i);
    }
    rc_parameters found = s->parameters;
    found.W = found_W, found.b = found_b, found.penalty = (rc_penalty){0, 0, 0};
    rc_gradient out = {&value, grad_W, grad_b};
    rc_error error = {0};
    check_status(c, rc_evaluate(&s->problem, &s->rows, &found, &one_thread, &out, &error), &error);
    for (int64_t i = 0; i < n_W; i++) {
        if (s->real == RC_FLOAT32)
            ((float *)moved)[i] = (float)(at[i] - real_at(grad_W, s->real, i));
        else
            ((double *)moved)[i] = at[i] - real_at(grad_W, s->real, i);
    }
    rc_penalty_prox(s->real, moved, 1, s->MC, s->D, &s->parameters.penalty, 1, moved);
    compare(c, "the proximal step", moved, s->real, at, n_W, 1, tolerance);
    if (s->parameters.b) compare(c, "the slope of b", grad_b, s->real, zeros, s->MC, 1, tolerance);
    rc_penalty_value(s->real, found_W, 1, s->MC, s->D, &s->parameters.penalty, &penalty);
    value += penalty;
    const double reached = progress->loss + progress->penalty;
    compare(c, "the last step's value", &reached, RC_FLOAT64, &value, 1, value, tolerance);
    free(found_W), free(found_b), free(grad_W), free(grad_b), free(moved), free(at), free(zeros);
}

static void step_along_columns(const kase *c)
{
    const setting s = read_setting(c);
    const rc_penalty penalty = s.parameters.penalty;
    const int in_groups = penalty.group > 0;
    const rc_coordinate_options options = {s.real, s.parameters.center, s.parameters.scale, s.parameters.b != NULL};
    const int64_t n_W = s.MC * s.D, n_lists = in_groups ? 1 : s.MC;
    rc_error error = {0};
    rc_coordinate *descent = NULL;
    const rc_status status = rc_coordinate_create(&s.problem, &options, &descent, &error);
    check_status(c, status, &error);
    if (status != RC_OK) return;

    int64_t *columns = output(n_lists * s.D, sizeof *columns), *starts = output(n_lists + 1, sizeof *starts);
    double *W = output(n_W, sizeof *W), *b = output(s.MC, sizeof *b), loss;
    void *slopes = output(s.n * s.MC, s.size), *V = output(n_W, s.size), *r = output(s.MC, s.size);
    for (int64_t i = 0; i < n_lists * s.D; i++) columns[i] = i % s.D;
    for (int64_t i = 0; i <= n_lists; i++) starts[i] = i * s.D;
    for (int64_t i = 0; i < n_W; i++) W[i] = real_at(s.parameters.W, s.real, i % s.MC * s.D + i / s.MC);
    for (int64_t i = 0; i < s.MC; i++) b[i] = s.parameters.b ? real_at(s.parameters.b, s.real, i) : 0;

    /* the second time the first half is there */
    check_status(c, rc_coordinate_add(descent, columns, s.D / 2, &one_thread, &error), &error);
    check_status(c, rc_coordinate_add(descent, columns, s.D, &one_thread, &error), &error);
    expect(c, rc_coordinate_n_columns(descent) == s.D, "columns", "are not as many as were added");
    check_status(c, rc_coordinate_set(descent, W, b, &loss, &error), &error);
    compare(c, "loss", &loss, RC_FLOAT64, doubles(c, "value"), 1, *doubles(c, "value"), s.tolerance);
    rc_coordinate_slopes(descent, slopes);
    rc_gradient out = {NULL, V, r};
    check_status(
        c, rc_adjoint(&s.problem, &s.rows, &s.parameters, &one_thread, slopes, s.MC * (int64_t)s.size, &out, &error),
        &error);
    check_gradient(c, &s, " of the slopes", V, r, s.MC);

    const double enough = 0.1 * number(c, "residual", 0);
    const rc_coordinate_work work = {columns, starts, penalty, 0.3, 20, 200, enough, enough};
    rc_coordinate_progress progress = {0};
    check_status(c, rc_coordinate_step(descent, &work, &one_thread, &progress, &error), &error);
    rc_coordinate_get(descent, W, b);
    check_minimum(c, &s, &progress, W, b);
    rc_coordinate_free(descent);
    free(columns), free(starts), free(W), free(b), free(slopes), free(V), free(r);
}

/* ---------------------------------------------------------------- pictures */

static void count_colours(const kase *c)
{
    const field *pixels = find(c, "pixels"), *expected = find(c, "counts");
    rc_error error = {0};
    int64_t *counts = output(expected->n, sizeof *counts);
    check_status(c, rc_colour_counts(pixels->data, pixels->n / 4, data_of(c, "bins"), counts, &error), &error);
    expect(c, !memcmp(counts, expected->data, (size_t)expected->n * sizeof *counts), "counts", "differ");
    free(counts);
}

/* ---------------------------------------------------------------- all of them */

static const struct {
    const char *name;
    void (*run)(const kase *);
} operations[] = {{"evaluate", evaluate}, {"predict", predict},       {"conjugate", conjugate},
                  {"adjoint", adjoint},   {"statistics", statistics}, {"penalty", penalty},
                  {"algebra", algebra},   {"descend", descend},       {"pairs", multiply_by_pairs},
                  {"ascend", ascend},     {"colours", count_colours}, {"steps", step_along_columns}};

static void run(const kase *c)
{
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
        if (!strcmp(operations[i].name, c->operation)) {
            operations[i].run(c);
            return;
        }
    give_up("a case of an unknown operation");
}

int main(int argc, char **argv)
{
    static kase c;
    const char *available[8], **levels = (const char **)argv + 2;
    if (argc < 2) give_up("usage: check_kernels CASES [LEVEL ...]");
    int n_levels = argc - 2;
    if (n_levels == 0) {
        n_levels = rc_isa_available(available, 8);
        levels = available;
    }
    for (int i = 0; i < n_levels; i++)
        if (rc_isa_select(levels[i]) != RC_OK) give_up("this machine does not have that level");
    FILE *file = fopen(argv[1], "rb");
    if (!file) give_up("cannot open the file of cases");
    int64_t n_cases = 0;
    while (read_case(file, &c)) {
        n_cases++;
        for (int i = 0; i < n_levels; i++) {
            rc_isa_select(levels[i]);
            run(&c);
        }
        free_case(&c);
    }
    fclose(file);
    printf("check_kernels:");
    for (int i = 0; i < n_levels; i++) printf("%s %s", i ? "," : "", levels[i]);
    printf(" (%s): %lld cases, %lld comparisons, %lld failures; largest error %.2f of what is allowed\n",
           rc_threading(), (long long)n_cases, (long long)n_comparisons, (long long)n_failures, worst);
    return n_failures || n_cases == 0 ? 1 : 0;
}
