#include "plan.h"

#include <string.h>

#include "access.h"
#include "columns.h"

enum {
    BLOCK_BYTES = 128 << 10,      /* of X in a block: it must stay in L2 between its two uses; */
    ROWS_A_CLASS = 4,             /* at least so many rows, */
    LARGEST_BYTES = 208 << 10,    /* if they are no more than this, */
    SCORE_BYTES = 10 << 10,       /* and a few classes' scores stay in L1 */
    TRANSPOSED_BYTES = 256 << 10, /* of a block of many classes */
    MANY_CLASSES = 64,            /* from here on rows are packed and their scores transposed */
    CLASSES_AT_ONCE = 12,         /* scores by rows read a row once for so many */
    MOST_BLOCK_ROWS = 512,
    CACHE_LINE = 64,
    L1_LINES = 64,                /* so many lines apart, numbers are in the same set of L1, */
    APART = 8,                    /* and from so many on they are well apart */
    SPARSE_SCORE_BYTES = 1 << 20, /* of a block */
    MOST_SPARSE_ROWS = 512,
    PARTIAL_BYTES = 4 << 20,     /* a thread's own gradient; beyond that one is shared */
    SUPER_BLOCK_BYTES = 6 << 20, /* of scores */
    LARGEST_CHUNK = 4096,        /* and they join in double: the error of float32 sums does not grow with N */
    SMALLEST_CHUNK = 256,
    LONG_ROW = 1024, /* features */
    SPARSE_CHUNKS = 8,
    SPARSE_REUSE = 32,           /* nonzeros a column that repay another CSR gradient; */
    SMALL_TABLE_BYTES = 1 << 20, /* half as many if it is so small */
    WORK_PER_THREAD = 4 << 20,   /* multiply-adds that repay waking a thread; as long as some take */
    ROW_WORK = 350,              /* a row, */
    SCORE_WORK = 50,             /* and a score; */
    SPARSE_WORK = 3 << 19,       /* those of CSR, which take longer; as long as some take */
    SPARSE_ROW_WORK = 200,       /* a row, */
    NONZERO_WORK = 24,           /* a nonzero whatever the classes, */
    TABLE_WORK = 12,             /* a number in the tables, */
    GRADIENT_WORK = 4            /* and one in the gradient that is returned */
};

static int64_t clamp(int64_t n, int64_t low, int64_t high) { return n < low ? low : n > high ? high : n; }

/*
 * Scores by rows end each sum with a tree of shuffles, about 1.5 cycles a class and row; scores by transposed rows cost
 * about 3 cycles for each vector of a row, but have longer loops.  So the first pays for few classes, the second for
 * many.  In the second each score is one chain of sums over the features, and each entry of the gradient sums runs of
 * rows that follow from N and D alone, whatever the number of classes: that is how a model of a stack keeps its bits
 * when others come and go.
 */
static int few_classes(const rc_plan *plan)
{
    const int64_t n_vectors = plan->shape.n_vectors;
    if (plan->problem->is_stack) return 0;
    return plan->MC <= 3 || (plan->MC < MANY_CLASSES && plan->MC * (48 + n_vectors) <= 104 * n_vectors);
}

/*
 * X is read in place if its numbers are of the compute type and its rows (or columns) contiguous.  Rows are packed all
 * the same where they are read often enough to repay a copy to aligned memory: NumPy's arrays start 16 bytes into a
 * cache line, so that each of their vectors lies across two, and strides that are multiples of 4096 bytes let the rows
 * of a block evict each other from L1.
 */
static void choose_views(rc_plan *plan, rc_dtype real)
{
    const rc_matrix *X = &plan->problem->X;
    const int64_t size = (int64_t)plan->k->real_size, lanes = plan->k->lanes;
    const int native = X->dtype == real && (uintptr_t)X->data % (uintptr_t)size == 0;
    const int native_rows = native && X->column_stride == size && X->row_stride % size == 0;
    const int loadable = X->dtype == RC_FLOAT16 || X->dtype == RC_UINT8 || X->dtype == RC_INT8;
    const int direct_rows = native_rows || (loadable && X->column_stride == rc_item_size(X->dtype));
    const int direct_columns =
        native && !plan->rows.index && X->row_stride * plan->rows.step == size && X->column_stride % size == 0;
    const int row_like = X->column_stride == rc_item_size(X->dtype) || plan->rows.index ||
                         X->row_stride * plan->rows.step != rc_item_size(X->dtype);

    const int collides = X->row_stride % 4096 == 0;
    if (plan->D < lanes || (!row_like && few_classes(plan))) {
        plan->scores_view = plan->gradient_view = BY_COLUMNS;
        plan->column_source = direct_columns ? DIRECT : PACKED;
    } else if (few_classes(plan)) {
        plan->scores_view = plan->gradient_view = BY_ROWS;
        plan->row_source = direct_rows && !(collides && plan->MC > CLASSES_AT_ONCE) ? DIRECT : PACKED;
    } else if (row_like) {
        plan->scores_view = BY_TRANSPOSED_ROWS;
        plan->gradient_view = BY_ROWS;
        plan->row_source = native_rows && !collides && plan->MC < MANY_CLASSES ? DIRECT : PACKED;
    } else {
        plan->scores_view = BY_COLUMNS;
        plan->gradient_view = BY_ROWS;
        plan->column_source = direct_columns ? DIRECT : PACKED;
        plan->row_source = TRANSPOSED;
    }
}

/* Most rows of a block: the more classes, the more rows must share what it takes to read W and to update G. */
static int64_t block_rows(const rc_plan *plan)
{
    const int64_t size = (int64_t)plan->k->real_size, row = size * plan->D, usual = BLOCK_BYTES / row;
    if (plan->scores_view == BY_COLUMNS) return usual;
    if (plan->scores_view == BY_TRANSPOSED_ROWS) return TRANSPOSED_BYTES / row;
    const int64_t rows = clamp(ROWS_A_CLASS * plan->MC, usual, LARGEST_BYTES / row),
                  most = SCORE_BYTES / (size * plan->MC);
    return rows < most ? rows : most;
}

/* The length of a row of packed W and G. Pieces of the rows of several classes are read side by side, so that they
 * must not share the sets of L1. */
static int64_t packed_length(const rc_plan *plan)
{
    const int64_t lanes = plan->k->lanes, line = CACHE_LINE / (int64_t)plan->k->real_size;
    const int64_t length = plan->shape.n_vectors * lanes, lines = (length + line - 1) / line;
    const int64_t beyond = (lines + APART) % L1_LINES;
    return lines > L1_LINES - APART && beyond < 2 * APART ? (lines + 2 * APART - beyond) * line : length;
}

/* What an inner iteration of the products prefetches, so that all of them together get the next block */
static ptrdiff_t prefetch_step(const rc_plan *plan, int with_gradient)
{
    const rc_kernels *k = plan->k;
    const int64_t n = plan->block, vectors = (n + k->lanes - 1) / k->lanes, row_vectors = plan->shape.n_vectors;
    int64_t iterations = plan->scores_view == BY_ROWS ? k->dot_iterations(plan->MC, n, row_vectors)
                                                      : k->outer_iterations(plan->MC, plan->D, vectors);
    if (with_gradient)
        iterations += plan->gradient_view == BY_ROWS ? k->outer_iterations(plan->MC, n, row_vectors)
                                                     : k->dot_iterations(plan->MC, plan->D, vectors);
    return n * plan->D * rc_item_size(plan->problem->X.dtype) / iterations + 1;
}

/* The threads share the classes of a super-block's gradient, so that one wants the rows in any case. */
static void share_gradient(rc_plan *plan)
{
    const int64_t size = (int64_t)plan->k->real_size;
    plan->shared_gradient = 1;
    if (plan->gradient_view == BY_COLUMNS) {
        plan->gradient_view = BY_ROWS;
        plan->row_source = TRANSPOSED;
    }
    plan->block = clamp(plan->block, plan->D <= 16384 ? 64 : 16, MOST_BLOCK_ROWS);
    plan->super_block = clamp(SUPER_BLOCK_BYTES / (size * plan->MC) / plan->block, 1, 16) * plan->block;
    plan->task_classes = clamp(plan->MC / 32, 1, 12);
    plan->gradient_length = plan->task_classes * plan->shape.packed;
}

/* The threads share the strips of classes of a super-block: one table for all of them. */
static void share_sparse_gradient(rc_plan *plan)
{
    const int64_t lanes = plan->k->lanes, bytes = (int64_t)plan->k->real_size * plan->MC;
    plan->shared_gradient = 1;
    plan->block = clamp(SUPER_BLOCK_BYTES / 16 / bytes, lanes, MOST_BLOCK_ROWS) / lanes * lanes;
    plan->super_block = clamp((plan->rows.n + plan->block - 1) / plan->block, 1, 16) * plan->block;
}

/* Dense chunks are guided: each is 1/16 of what is left, within bounds. Half of the least is enough of long rows. */
static int64_t dense_chunk(const rc_plan *plan, int64_t left)
{
    const int64_t least = plan->D < LONG_ROW ? SMALLEST_CHUNK : SMALLEST_CHUNK / 2;
    return left < least ? left : round_up(clamp(left / 16, least, LARGEST_CHUNK), 64);
}

/*
 * CSR chunks are few, since each has a gradient of its own, cleared before and summed after.  In all, a CSR call takes
 * tables of n_table x ldw reals (n_table: D, or the columns that occur if the nonzeros are fewer than D / 4; ldw: C
 * rounded up to whole vectors and a power of two): one for W if C > 1, and for the gradient 2, 4 or SPARSE_CHUNKS, or a
 * shared one if it is above PARTIAL_BYTES and its classes make several strips; for each gradient in float32 also the
 * frequent columns in double (at most 8192 of them, see columns.h); and up to 1 MiB of scores a thread, or 6 MiB for
 * all.
 */
static int64_t sparse_chunks(const rc_plan *plan)
{
    const int64_t most = (plan->rows.n + SMALLEST_CHUNK - 1) / SMALLEST_CHUNK;
    const int64_t models = plan->problem->is_stack ? plan->M : 1; /* whose number must not change the chunks */
    const int64_t bytes = plan->gradient_length * (int64_t)plan->k->real_size / models;
    const double reuse = plan->nonzeros / (double)(plan->n_table + 1);
    int64_t chunks = 2;
    if (plan->shared_gradient) return 1;
    const double enough = bytes <= SMALL_TABLE_BYTES ? SPARSE_REUSE / 2 : SPARSE_REUSE;
    while (chunks < SPARSE_CHUNKS && 2 * (double)chunks * enough <= reuse) chunks *= 2;
    return chunks < most ? chunks : most;
}

/* They have equal numbers of nonzeros where rows follow each other, else of rows. */
static int64_t sparse_chunk_start(const rc_plan *plan, int64_t chunk)
{
    const rc_rows *rows = &plan->rows;
    if (chunk <= 0) return 0;
    if (chunk >= plan->n_chunks) return rows->n;
    if (rows->index || rows->step != 1) return rows->n / plan->n_chunks * chunk;
    const int64_t first = row_start(&plan->problem->X, rows->start),
                  end = row_start(&plan->problem->X, rows->start + rows->n);
    const int64_t wanted = first + (end - first) / plan->n_chunks * chunk;
    int64_t low = 0, high = rows->n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (row_start(&plan->problem->X, rows->start + middle) < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The start of a chunk; *chunk is lowered to the number of chunks if there are fewer. */
static int64_t walk_chunks(const rc_plan *plan, int64_t *chunk)
{
    const int64_t n = plan->rows.n;
    /* chunks of the largest size stand first and are counted at once, the rest are few */
    const int64_t full = n >= 16 * LARGEST_CHUNK ? (n - 16 * LARGEST_CHUNK) / LARGEST_CHUNK : 0;
    int64_t i = *chunk < full ? *chunk : full, start = i * LARGEST_CHUNK;
    while (i < *chunk && start < n) {
        start += dense_chunk(plan, n - start);
        start = start < n ? start : n;
        i++;
    }
    *chunk = i;
    return start;
}

int64_t rc_chunk_start(const rc_plan *plan, int64_t chunk)
{
    return plan->sparse ? sparse_chunk_start(plan, chunk) : walk_chunks(plan, &chunk);
}

void rc_make_plan(rc_plan *plan, const rc_problem *problem, const rc_rows *rows, rc_dtype real, int with_gradient,
                  const rc_occurring *occurring)
{
    memset(plan, 0, sizeof *plan);
    plan->k = rc_kernels_for(real);
    plan->problem = problem;
    plan->rows = *rows;
    plan->D = problem->X.n_columns;
    plan->C = problem->n_classes;
    plan->M = problem->n_models;
    plan->MC = plan->M * plan->C;
    plan->sparse = problem->X.indices != NULL;
    plan->soft = rc_is_soft(problem);

    const int64_t lanes = plan->k->lanes, size = (int64_t)plan->k->real_size;
    const int64_t n_vectors = (plan->D + lanes - 1) / lanes;
    plan->shape = (rc_row_shape){n_vectors, plan->D - lanes, 0};
    plan->shape.packed = packed_length(plan);

    if (plan->sparse) {
        for (plan->ldw = 0; plan->ldw < plan->MC;) plan->ldw += plan->k->csr_panel(plan->MC - plan->ldw);
        plan->n_table = occurring ? occurring->n : plan->D;
        plan->gradient_length = round_up(plan->n_table * plan->ldw + 1, CACHE_LINE / size);
        /* a prediction only decides by it how many threads to wake */
        plan->nonzeros = with_gradient ? (double)rc_count_nonzeros(&problem->X, rows)
                                       : (double)problem->X.nnz * (double)rows->n / (double)problem->X.n_rows;
        /* large blocks: the weights are read for many rows before the gradient displaces them */
        const int64_t wide = problem->is_stack ? plan->C : plan->MC;
        plan->block = clamp(SPARSE_SCORE_BYTES / (size * wide), lanes, MOST_SPARSE_ROWS) / lanes * lanes;
        if (with_gradient && plan->gradient_length * size > PARTIAL_BYTES && plan->k->csr_strip(plan->MC) < plan->MC)
            share_sparse_gradient(plan);
    } else {
        choose_views(plan, real);
        plan->stored = plan->row_source == DIRECT ? problem->X.dtype : real;
        const int64_t gradient_row = plan->gradient_view == BY_ROWS ? plan->shape.packed : plan->D;
        plan->gradient_length = plan->MC * gradient_row;
        const int64_t granule = lanes > 16 ? lanes : 16;
        plan->block = clamp(block_rows(plan), granule, MOST_BLOCK_ROWS) / granule * granule;
        if (with_gradient && plan->D >= lanes && plan->gradient_length * size > PARTIAL_BYTES) share_gradient(plan);
    }
    if (!with_gradient) plan->gradient_length = 0;
    plan->load = plan->scores_view == BY_ROWS && plan->row_source == PACKED ? plan->k->row_tile : plan->block;
    if (plan->block > rows->n) plan->block = round_up(rows->n > 0 ? rows->n : 1, plan->k->row_tile);
    /* one vector more than a multiple of 4096 bytes can be: the classes of a row must not share a cache set */
    if (plan->load > plan->block) plan->load = plan->block;
    plan->ld = round_up(plan->shared_gradient ? plan->super_block : plan->block, plan->k->row_tile) + lanes;
    plan->column_ld = round_up(plan->block, plan->k->row_tile) + lanes;
    plan->target_ld = plan->column_ld;
    plan->row_ld = plan->shape.packed + (plan->shape.packed * size % 1024 ? 0 : lanes);
    if (plan->sparse) {
        plan->n_chunks = sparse_chunks(plan);
        const double chunks = (double)plan->n_chunks;
        if (real == RC_FLOAT32 && with_gradient)
            plan->most_frequent = rc_most_frequent(plan->n_table, (double)rows->n / chunks, plan->nonzeros / chunks);
        return;
    }
    plan->prefetch_step = prefetch_step(plan, with_gradient);
    plan->n_chunks = INT64_MAX;
    walk_chunks(plan, &plan->n_chunks);
}

static void *carve(char *memory, size_t *used, int64_t n, size_t size)
{
    void *p = memory ? memory + *used : NULL;
    *used += ((size_t)n * size + 127) / 64 * 64;
    return p;
}

size_t rc_layout_scratch(const rc_plan *plan, char *memory, rc_scratch *s)
{
    const size_t size = plan->k->real_size;
    const int64_t rows = round_up(plan->block, plan->k->row_tile) + plan->k->row_tile;
    size_t used = 0;
    s->sources = carve(memory, &used, rows, sizeof *s->sources);
    s->x_rows = carve(memory, &used, rows, sizeof *s->x_rows);
    s->row_ids = carve(memory, &used, plan->sparse ? rows : 0, sizeof *s->row_ids);
    s->x_columns = carve(memory, &used, plan->column_source ? plan->D + plan->k->row_tile : 0, sizeof *s->x_columns);
    s->packed_rows = carve(memory, &used, plan->row_source >= PACKED ? rows * plan->row_ld : 0, size);
    s->piece =
        carve(memory, &used, plan->scores_view == BY_TRANSPOSED_ROWS ? TRANSPOSED_FEATURES * TRANSPOSED_LD : 0, size);
    s->packed_columns = carve(memory, &used, plan->column_source ? plan->D * plan->column_ld : 0, size);
    s->y = carve(memory, &used, rows, size);
    s->w = carve(memory, &used, rows, size);
    s->T = carve(memory, &used, plan->soft ? (plan->C > 1 ? plan->C : 2) * plan->target_ld : 0, size);
    s->S = carve(memory, &used, plan->shared_gradient ? 0 : plan->MC * plan->ld, size);
    s->pair = carve(memory, &used, plan->C == 1 ? 2 * plan->ld : 0, size);
    /* the first panel is the widest */
    s->features = carve(memory, &used, plan->sparse ? FEATURE_RUN * plan->k->csr_panel(plan->MC) : 0, sizeof(double));
    /* chunks have gradients of their own; a thread needs one beside them to share */
    s->G = carve(memory, &used, plan->shared_gradient && !plan->sparse ? plan->gradient_length : 0, size);
    return used;
}

void rc_load_rows(const rc_plan *plan, const rc_scratch *s, int64_t first, int64_t at, int64_t n)
{
    const rc_matrix *X = &plan->problem->X;
    const int64_t size = (int64_t)plan->k->real_size;
    const void **x_rows = s->x_rows + at;
    const char **sources = s->sources;
    char *packed_rows = (char *)s->packed_rows + at * plan->row_ld * size;
    if (plan->sparse) {
        for (int64_t r = 0; r < n; r++) s->row_ids[at + r] = rc_row_at(&plan->rows, first + r);
        return;
    }
    if (plan->rows.index)
        for (int64_t r = 0; r < n; r++)
            sources[r] = (const char *)X->data + plan->rows.index[first + r] * X->row_stride;
    else {
        const char *source = (const char *)X->data + rc_row_at(&plan->rows, first) * X->row_stride;
        const int64_t step = plan->rows.step * X->row_stride;
        for (int64_t r = 0; r < n; r++) sources[r] = source + r * step;
    }

    if (plan->column_source) {
        /* a direct column must be readable to the end of its last vector */
        const int direct = plan->column_source == DIRECT && n % plan->k->lanes == 0;
        const char *columns = direct ? sources[0] : s->packed_columns;
        const int64_t stride = direct ? X->column_stride : plan->column_ld * size;
        if (!direct)
            plan->k->pack_columns(sources, X->dtype, X->column_stride, n, plan->D, s->packed_columns, plan->column_ld);
        for (int64_t d = 0; d < plan->D; d++) s->x_columns[d] = columns + d * stride;
        for (int64_t d = plan->D; d < plan->D + plan->k->row_tile; d++) s->x_columns[d] = s->x_columns[plan->D - 1];
    }
    if (plan->row_source) {
        if (plan->row_source == PACKED)
            plan->k->pack_rows(sources, X->dtype, X->column_stride, n, plan->D, packed_rows, plan->row_ld);
        if (plan->row_source == TRANSPOSED)
            plan->k->transpose(s->x_columns, plan->D, round_up(n, plan->k->lanes), packed_rows, plan->row_ld);
        for (int64_t r = 0; r < n; r++)
            x_rows[r] = plan->row_source == DIRECT ? sources[r] : packed_rows + r * plan->row_ld * size;
        for (int64_t r = n; r < round_up(n, plan->k->row_tile); r++) x_rows[r] = x_rows[n - 1];
    }
}

/* The numbers of a block are a few lines far from all others: the next block's would be waited for. */
static void prefetch_vector(const rc_plan *plan, const rc_vector *v, int64_t first, int64_t n)
{
    const int64_t size = rc_item_size(v->dtype), left = plan->rows.n - first;
    if (plan->rows.index || plan->rows.step * v->stride != size || left <= 0) return;
#if defined(__GNUC__)
    const char *next = (const char *)v->data + rc_row_at(&plan->rows, first) * v->stride;
    for (int64_t i = 0; i < (n < left ? n : left) * size; i += CACHE_LINE) __builtin_prefetch(next + i);
#else
    (void)n;
#endif
}

void rc_load_labels(const rc_plan *plan, const rc_scratch *s, int64_t first, int64_t n)
{
    const rc_problem *problem = plan->problem;
    const int64_t padded = round_up(n, plan->k->lanes);
    if (problem->y.data) {
        plan->k->load_vector(&problem->y, &plan->rows, first, n, padded, s->y);
        prefetch_vector(plan, &problem->y, first + n, n);
    }
    if (plan->soft) plan->k->load_targets(problem, &plan->rows, first, n, padded, s->y, s->T, plan->target_ld);
}

double rc_unit(const rc_plan *plan, int64_t chunk)
{
    enum { UNIT_BITS = 12 };
    if (plan->sparse || plan->k->real_size == sizeof(double)) return 1;
    /* the golden ratio spreads them evenly, however many there are */
    const uint32_t turn = (uint32_t)chunk * 2654435769u;
    return 1 - (turn >> (32 - UNIT_BITS)) * (0.5 / (1 << UNIT_BITS));
}

double rc_block_loss(const rc_plan *plan, const rc_scratch *s, void *S, int64_t first, int64_t n, double *check)
{
    const rc_kernels *k = plan->k;
    const int64_t padded = round_up(n, k->lanes);
    if (plan->soft)
        return (plan->C == 1 ? k->soft_binary_loss : k->soft_loss)(S, plan->ld, plan->C, padded, s->T, plan->target_ld,
                                                                   s->w, check);
    if (plan->sparse && plan->C > 1 && plan->problem->loss == RC_CROSS_ENTROPY)
        return k->cross_entropy_by_turns(S, plan->ld, plan->C, padded, s->y, s->w, first, check);
    return (plan->C == 1 ? k->binary_loss : k->loss)[plan->problem->loss](S, plan->ld, plan->C, padded, s->y, s->w,
                                                                          check);
}

int rc_useful_threads(const rc_plan *plan, int wanted)
{
    const double rows = (double)plan->rows.n;
    double useful = rows * (double)(plan->D * (2 * plan->MC + 4) + SCORE_WORK * plan->MC + ROW_WORK) / WORK_PER_THREAD;
    if (plan->sparse) {
        const double tables =
            plan->gradient_length ? (double)(TABLE_WORK * plan->n_table + GRADIENT_WORK * plan->D) : 0;
        useful = (rows * SPARSE_ROW_WORK + plan->nonzeros * (double)(2 * plan->MC + NONZERO_WORK) +
                  tables * (double)plan->MC) /
                 SPARSE_WORK;
    }
    if (wanted < 1) wanted = rc_default_threads();
    return useful < 2 ? 1 : useful < wanted ? (int)useful : wanted;
}
