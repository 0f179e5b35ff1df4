/*
 * The losses.  Each turns a class-major block of scores into weight * dloss/dscore in place and returns the sum of
 * weight * loss.  Lanes run along the rows, so a loss is a few vertical loops over the classes.
 *
 *     cross_entropy    log(1 + rest / e_y),  e_j = exp(s_j - max), rest = sum_{j != y} e_j
 *     hinge            sum_{j != y} max(0, s_j - s_y + 1)                                 Weston and Watkins (1999)
 *     squared_hinge    sum_{j != y} max(0, s_j - s_y + 1)^2
 *     crammer_singer   max(0, 1 + max_{j != y} s_j - s_y)                                 Crammer and Singer (2001)
 *
 * Binary forms have one score s and t = +1 or -1: log(1 + exp(-t s)), max(0, 1 - t s), its square.  At a kink the
 * subgradient is 0; of several largest scores the first counts.  cross_entropy keeps `rest` apart from e_y because a
 * well fitted sample has rest << 1: neither its loss nor its gradient is then a difference of nearly equal numbers.
 * With soft targets t (T = sum_c t_c, 1 up to rounding) it is -sum_c t_c log p_c = sum_c t_c (max - s_c) + T log sum_j
 * e_j, with the slopes T p_c - t_c; binary t_1 log(1 + exp(-s)) + t_0 log(1 + exp(s)).  A whole label goes through
 * the form above, which is exact to the last. squared_hinge sums in double: scores of 1e30 are legal in float32 and
 * their squares are not.
 *
 * *check becomes NaN if any score is NaN or infinite (0 * s is 0 for all others).
 */
#ifndef REGCORE_LOSSES_H
#define REGCORE_LOSSES_H

#include "kernels.h"
#include "simd.h"

#define LOSS_VECTORS (RC_VECTOR_BYTES == 64 ? 4 : 1) /* vectors of rows that a loss works on at once, at most */
#define CLASS_RUN 32 /* a float32 sum over the classes starts anew after so many: its error grows with their number */

/* Makes the block loss `name` from name##_rows, which handles one vector of rows: s[c*ld] are their scores of class c,
 * and it returns the unweighted losses, having replaced the scores by weight * derivative. */
#define DEFINE_LOSS(name)                                                                                              \
    static double name(void *S, int64_t ld, int64_t C, int64_t n_padded, const void *y, const void *w, double *check)  \
    {                                                                                                                  \
        vwide sum = w_zero();                                                                                          \
        vreal zero_if_finite = v_set(0);                                                                               \
        for (int64_t r = 0; r < n_padded; r += LANES) {                                                                \
            const vreal label = v_load((const real *)y + r), weight = v_load((const real *)w + r);                     \
            sum += v_widen(weight) * name##_rows((real *)S + r, ld, C, label, weight, &zero_if_finite);                \
        }                                                                                                              \
        *check += w_sum(v_widen(zero_if_finite));                                                                      \
        return w_sum(sum);                                                                                             \
    }
#define ROWS(name)                                                                                                     \
    RC_INLINE vwide name##_rows(real *s, int64_t ld, int64_t C, vreal label, vreal weight, vreal *zero_if_finite)

/*
 * A change of a row's slopes, of a float32's last bits and by turns to either side.  At W = 0 the slopes of all samples
 * of a class are equal, and so are their rounding errors, in them and in what they add to a sum: where the gradient is
 * small because the slopes cancel, these would be left over, N times.  For dense rows each chunk's unit takes care of
 * that (see plan.h); the sums of CSR columns are moved to double at times of their own, which no unit could follow.
 * The turns follow from the row by the golden ratio, and so meet samples in any regular order alike.  A change is of
 * the same size in all slopes of a row, since that is what the sums of each class are rounded to; but small in each.
 */
RC_INLINE vreal by_turns(int64_t row, vreal *other)
{
#define TURN(i) ((uint32_t)(i) * 2654435769u)
    static const ureal turns[16] = {TURN(0), TURN(1), TURN(2),  TURN(3),  TURN(4),  TURN(5),  TURN(6),  TURN(7),
                                    TURN(8), TURN(9), TURN(10), TURN(11), TURN(12), TURN(13), TURN(14), TURN(15)};
    vbits turn;
    memcpy(&turn, turns, sizeof turn);
    turn += (vbits)v_set_bits((ireal)TURN(row));
    *other = v_from_integers((vmask)(turn * 2246822519u)) * REAL_C(0x1p-31);
    return v_from_integers((vmask)turn) * REAL_C(0x1p-31); /* at most 1 */
#undef TURN
}

/* n vectors of rows at once: their chains of dependent operations run side by side */
RC_INLINE vwide cross_entropy_rows(const int n, const int turns, real *s, int64_t ld, int64_t C, const real *label,
                                   const real *weight, int64_t row, vreal *zero_if_finite)
{
    vreal y[LOSS_VECTORS], largest[LOSS_VECTORS], own[LOSS_VECTORS], rest[LOSS_VECTORS], own_exp[LOSS_VECTORS];
    RC_UNROLL for (int i = 0; i < n; i++)
    {
        y[i] = v_load(label + i * LANES);
        largest[i] = v_load(s + i * LANES);
        own[i] = rest[i] = own_exp[i] = v_set(0);
    }
    vreal class_ = v_set(0);
    for (int64_t c = 0; c < C; c++, class_ += REAL_C(1.0)) RC_UNROLL for (int i = 0; i < n; i++)
        {
            const vreal score = v_load(s + c * ld + i * LANES);
            zero_if_finite[i] += score * REAL_C(0.0);
            largest[i] = v_max(largest[i], score);
            own[i] = v_join(own[i], v_where(y[i] == class_, score));
        }
    class_ = v_set(0);
    for (int64_t first = 0; first < C; first += CLASS_RUN) {
        vreal run[LOSS_VECTORS];
        RC_UNROLL for (int i = 0; i < n; i++) run[i] = v_set(0);
        for (int64_t c = first; c < C && c < first + CLASS_RUN; c++, class_ += REAL_C(1.0))
            RC_UNROLL for (int i = 0; i < n; i++)
            {
                real *at = s + c * ld + i * LANES;
                const vreal e = v_exp_nonpositive(v_load(at) - largest[i]);
                const vmask is_own = y[i] == class_;
                v_store(at, e);
                run[i] += v_where_not(is_own, e);
                own_exp[i] = v_join(own_exp[i], v_where(is_own, e));
            }
        RC_UNROLL for (int i = 0; i < n; i++) rest[i] += run[i];
    }
    vreal factor[LOSS_VECTORS], own_slope[LOSS_VECTORS], turn[LOSS_VECTORS], most[LOSS_VECTORS];
    vwide loss = w_zero();
    RC_UNROLL for (int i = 0; i < n; i++)
    {
        const vreal w = v_load(weight + i * LANES);
        factor[i] = w / (rest[i] + own_exp[i]);
        vreal others = rest[i];
        if (turns) {
            vreal other_turn;
            turn[i] = by_turns(row + i * LANES, &other_turn);
            most[i] = rest[i] * REAL_C(0x1p-21);
            others += turn[i] * most[i];
            factor[i] += factor[i] * (other_turn * REAL_C(0x1p-21));
        }
        own_slope[i] = factor[i] * -others;
        loss += v_widen(w) * v_widen(v_log1p_nonnegative(rest[i] + (own_exp[i] - REAL_C(1.0))) + (largest[i] - own[i]));
    }
    class_ = v_set(0);
    for (int64_t c = 0; c < C; c++, class_ += REAL_C(1.0)) RC_UNROLL for (int i = 0; i < n; i++)
        {
            real *at = s + c * ld + i * LANES;
            vreal e = v_load(at);
            if (turns) e += turn[i] * v_min(e * REAL_C(0x1p-16), most[i]);
            v_store(at, v_select(y[i] == class_, own_slope[i], factor[i] * e));
        }
    return loss;
}

RC_INLINE double cross_entropy_block(const int turns, void *S, int64_t ld, int64_t C, int64_t n_padded, const void *y,
                                     const void *w, int64_t row, double *check)
{
    const real *label = y, *weight = w;
    vwide sum = w_zero();
    vreal zero_if_finite[LOSS_VECTORS];
    for (int i = 0; i < LOSS_VECTORS; i++) zero_if_finite[i] = v_set(0);
    int64_t r = 0;
#define CROSS_ENTROPY_ROWS(n)                                                                                          \
    for (; r + (n) * LANES <= n_padded; r += (n) * LANES)                                                              \
        sum += cross_entropy_rows(n, turns, (real *)S + r, ld, C, label + r, weight + r, row + r, zero_if_finite);
#if RC_VECTOR_BYTES == 64
    CROSS_ENTROPY_ROWS(LOSS_VECTORS)
    CROSS_ENTROPY_ROWS(LOSS_VECTORS / 2)
#endif
    CROSS_ENTROPY_ROWS(1)
#undef CROSS_ENTROPY_ROWS
    for (int i = 0; i < LOSS_VECTORS; i++) *check += w_sum(v_widen(zero_if_finite[i]));
    return w_sum(sum);
}

static double cross_entropy(void *S, int64_t ld, int64_t C, int64_t n_padded, const void *y, const void *w,
                            double *check)
{
    return cross_entropy_block(0, S, ld, C, n_padded, y, w, 0, check);
}

static double cross_entropy_by_turns(void *S, int64_t ld, int64_t C, int64_t n_padded, const void *y, const void *w,
                                     int64_t row, double *check)
{
    return cross_entropy_block(RC_REAL_BITS == 32, S, ld, C, n_padded, y, w, row, check);
}

RC_INLINE vwide soft_rows(real *s, int64_t ld, int64_t C, const real *t, int64_t ldt, vreal weight,
                          vreal *zero_if_finite)
{
    vreal largest = v_load(s);
    for (int64_t c = 0; c < C; c++) {
        const vreal score = v_load(s + c * ld);
        *zero_if_finite += score * REAL_C(0.0);
        largest = v_max(largest, score);
    }
    /* the largest class (the first of several), with e = 1, is left out of the sum, which may be small */
    vreal rest = v_set(0), behind = v_set(0), total = v_set(0), found = v_set(0);
    for (int64_t first = 0; first < C; first += CLASS_RUN) {
        vreal run = v_set(0), run_behind = v_set(0), run_total = v_set(0);
        for (int64_t c = first; c < C && c < first + CLASS_RUN; c++) {
            const vreal below = v_load(s + c * ld) - largest, e = v_exp_nonpositive(below);
            const vreal target = v_load(t + c * ldt);
            const vmask is_largest = (below == v_set(0)) & (found == v_set(0));
            v_store(s + c * ld, e);
            run += v_select(is_largest, v_set(0), e);
            found = v_select(is_largest, v_set(1), found);
            run_behind -= v_select(target == v_set(0), v_set(0), target * below); /* below may be infinite */
            run_total += target;
        }
        rest += run;
        behind += run_behind;
        total += run_total;
    }
    const vreal factor = total / (REAL_C(1.0) + rest);
    for (int64_t c = 0; c < C; c++) v_store(s + c * ld, weight * (factor * v_load(s + c * ld) - v_load(t + c * ldt)));
    return v_widen(behind + total * v_log1p_nonnegative(rest));
}

RC_INLINE vwide soft_binary_rows(real *s, int64_t ld, int64_t C, const real *t, int64_t ldt, vreal weight,
                                 vreal *zero_if_finite)
{
    (void)ld, (void)C;
    const vreal score = v_load(s), zero = v_load(t), one = v_load(t + ldt);
    *zero_if_finite += score * REAL_C(0.0);
    const vreal e = v_exp_nonpositive(v_min(score, -score));
    const vreal small = e / (e + REAL_C(1.0)), large = REAL_C(1.0) / (e + REAL_C(1.0));
    const vmask positive = score > v_set(0);
    v_store(s, weight * (zero * v_select(positive, large, small) - one * v_select(positive, small, large)));
    return v_widen((zero + one) * v_log1p_nonnegative(e) + v_select(positive, zero * score, -one * score));
}

#define DEFINE_SOFT_LOSS(name, rows)                                                                                   \
    static double name(void *S, int64_t ld, int64_t C, int64_t n_padded, const void *T, int64_t ldt, const void *w,    \
                       double *check)                                                                                  \
    {                                                                                                                  \
        vwide sum = w_zero();                                                                                          \
        vreal zero_if_finite = v_set(0);                                                                               \
        for (int64_t r = 0; r < n_padded; r += LANES) {                                                                \
            const vreal weight = v_load((const real *)w + r);                                                          \
            sum += v_widen(weight) * rows((real *)S + r, ld, C, (const real *)T + r, ldt, weight, &zero_if_finite);    \
        }                                                                                                              \
        *check += w_sum(v_widen(zero_if_finite));                                                                      \
        return w_sum(sum);                                                                                             \
    }
DEFINE_SOFT_LOSS(soft_cross_entropy, soft_rows)
DEFINE_SOFT_LOSS(soft_binary_cross_entropy, soft_binary_rows)

/* s_y of each row */
RC_INLINE vreal own_score(const real *s, int64_t ld, int64_t C, vreal label, vreal *zero_if_finite)
{
    vreal own = v_set(0);
    for (int64_t c = 0; c < C; c++) {
        const vreal score = v_load(s + c * ld);
        *zero_if_finite += score * REAL_C(0.0);
        own = v_select(label == (real)c, score, own);
    }
    return own;
}

ROWS(hinge)
{
    const vreal shift = REAL_C(1.0) - own_score(s, ld, C, label, zero_if_finite);
    vwide loss = w_zero();
    vreal violations = v_set(0);
    for (int64_t first = 0; first < C; first += CLASS_RUN) {
        vreal run = v_set(0);
        for (int64_t c = first; c < C && c < first + CLASS_RUN; c++) {
            const vreal margin = v_select(label == (real)c, v_set(0), v_load(s + c * ld) + shift);
            const vmask violated = margin > v_set(0);
            run += v_select(violated, margin, v_set(0));
            violations += v_select(violated, v_set(1), v_set(0));
            v_store(s + c * ld, v_select(violated, weight, v_set(0)));
        }
        loss += v_widen(run);
    }
    for (int64_t c = 0; c < C; c++)
        v_store(s + c * ld, v_select(label == (real)c, -weight * violations, v_load(s + c * ld)));
    return loss;
}
DEFINE_LOSS(hinge)

ROWS(squared_hinge)
{
    const vreal shift = REAL_C(1.0) - own_score(s, ld, C, label, zero_if_finite);
    vwide loss = w_zero();
    vreal total = v_set(0);
    for (int64_t first = 0; first < C; first += CLASS_RUN) {
        vreal run = v_set(0);
        for (int64_t c = first; c < C && c < first + CLASS_RUN; c++) {
            vreal margin = v_max(v_load(s + c * ld) + shift, v_set(0));
            margin = v_select(label == (real)c, v_set(0), margin);
            loss += v_widen(margin) * v_widen(margin);
            run += margin;
            v_store(s + c * ld, 2 * weight * margin);
        }
        total += run;
    }
    for (int64_t c = 0; c < C; c++)
        v_store(s + c * ld, v_select(label == (real)c, -2 * weight * total, v_load(s + c * ld)));
    return loss;
}
DEFINE_LOSS(squared_hinge)

ROWS(crammer_singer)
{
    const vreal own = own_score(s, ld, C, label, zero_if_finite);
    vreal rival_class = v_set(-1), rival = v_set(0);
    for (int64_t c = 0; c < C; c++) {
        const vreal score = v_load(s + c * ld);
        const vmask better = (label != (real)c) & ((score > rival) | (rival_class < v_set(0)));
        rival = v_select(better, score, rival);
        rival_class = v_select(better, v_set((real)c), rival_class);
    }
    vreal margin = REAL_C(1.0) + (rival - own);
    margin = v_select(rival_class < v_set(0), v_set(0), v_max(margin, v_set(0)));
    const vreal step = v_select(margin > v_set(0), weight, v_set(0));
    for (int64_t c = 0; c < C; c++) {
        const vreal up = v_select(rival_class == (real)c, step, v_set(0));
        v_store(s + c * ld, v_select(label == (real)c, -step, up));
    }
    return v_widen(margin);
}
DEFINE_LOSS(crammer_singer)

ROWS(binary_cross_entropy)
{
    (void)ld, (void)C;
    const vreal score = v_load(s);
    *zero_if_finite += score * REAL_C(0.0);
    const vreal sign = 2 * label - REAL_C(1.0), z = sign * score;
    const vreal e = v_exp_nonpositive(v_min(z, -z));                         /* exp(-|z|) */
    const vreal p = v_select(z > v_set(0), e, v_set(1)) / (e + REAL_C(1.0)); /* 1 - P(y) */
    v_store(s, -sign * weight * p);
    return v_widen(v_log1p_nonnegative(e) + v_max(-z, v_set(0)));
}
DEFINE_LOSS(binary_cross_entropy)

ROWS(binary_hinge)
{
    (void)ld, (void)C;
    const vreal score = v_load(s);
    *zero_if_finite += score * REAL_C(0.0);
    const vreal sign = 2 * label - REAL_C(1.0), margin = v_max(REAL_C(1.0) - sign * score, v_set(0));
    v_store(s, v_select(margin > v_set(0), -sign * weight, v_set(0)));
    return v_widen(margin);
}
DEFINE_LOSS(binary_hinge)

ROWS(binary_squared_hinge)
{
    (void)ld, (void)C;
    const vreal score = v_load(s);
    *zero_if_finite += score * REAL_C(0.0);
    const vreal sign = 2 * label - REAL_C(1.0), margin = v_max(REAL_C(1.0) - sign * score, v_set(0));
    v_store(s, -2 * sign * weight * margin);
    return v_widen(margin) * v_widen(margin);
}
DEFINE_LOSS(binary_squared_hinge)

#define ROW_RUN 256 /* likewise for a sum over the rows */

static void row_sums(const void *S, int64_t ld, int64_t C, int64_t n_padded, double unit, double *sums)
{
    for (int64_t c = 0; c < C; c++)
        for (int64_t first = 0; first < n_padded; first += ROW_RUN) {
            vreal sum = v_set(0);
            for (int64_t r = first; r < n_padded && r < first + ROW_RUN; r += LANES)
                sum += v_load((const real *)S + c * ld + r);
            sums[c] += w_sum(v_widen(sum)) / unit;
        }
}

/* ---------------------------------------------------------------- prediction */

/* 0, or NaN if a number is not finite */
RC_INLINE double check_row(const real *x, int64_t n)
{
    vreal sum = v_set(0);
    real rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) sum += v_load(x + i) * REAL_C(0.0);
    for (; i < n; i++) rest += x[i] * REAL_C(0.0);
    return w_sum(v_widen(sum)) + (double)rest;
}

static double check_scores(const void *S, int64_t ld, int64_t C, int64_t n)
{
    double check = 0;
    for (int64_t c = 0; c < C; c++) check += check_row((const real *)S + c * ld, n);
    return check;
}

static void store_scores(const void *S, int64_t ld, int64_t C, int64_t n, void *out, int64_t stride)
{
    for (int64_t r = 0; r < n; r++) {
        real *o = (real *)(void *)((char *)out + r * stride);
        for (int64_t c = 0; c < C; c++) o[c] = ((const real *)S)[c * ld + r];
    }
}

/* Scores to softmax probabilities; the binary form fills S[0], S[ld] with P(0), P(1). */
static void probabilities(void *S, int64_t ld, int64_t C, int64_t n_padded)
{
    for (int64_t r = 0; r < n_padded; r += LANES) {
        real *s = (real *)S + r;
        if (C == 1) {
            const vreal z = v_load(s), e = v_exp_nonpositive(v_min(z, -z));
            const vreal small = e / (e + REAL_C(1.0)), large = REAL_C(1.0) / (e + REAL_C(1.0));
            v_store(s, v_select(z > v_set(0), small, large));
            v_store(s + ld, v_select(z > v_set(0), large, small));
            continue;
        }
        vreal largest = v_load(s), sum = v_set(0);
        for (int64_t c = 1; c < C; c++) largest = v_max(largest, v_load(s + c * ld));
        for (int64_t first = 0; first < C; first += CLASS_RUN) {
            vreal run = v_set(0);
            for (int64_t c = first; c < C && c < first + CLASS_RUN; c++) {
                const vreal e = v_exp_nonpositive(v_load(s + c * ld) - largest);
                v_store(s + c * ld, e);
                run += e;
            }
            sum += run;
        }
        for (int64_t c = 0; c < C; c++) v_store(s + c * ld, v_load(s + c * ld) / sum);
    }
}

/* The first class with the largest score; the binary form compares with 0. Stride in bytes. */
static void labels(const void *S, int64_t ld, int64_t C, int64_t n, int64_t *out, int64_t stride)
{
    real best_class[LANES];
    for (int64_t r = 0; r < n; r += LANES) {
        const real *s = (const real *)S + r;
        vreal best = v_load(s), arg = v_set(0);
        if (C == 1) arg = v_select(best > v_set(0), v_set(1), v_set(0));
        for (int64_t c = 1; c < C; c++) {
            const vreal score = v_load(s + c * ld);
            arg = v_select(score > best, v_set((real)c), arg);
            best = v_max(best, score);
        }
        v_store(best_class, arg);
        for (int64_t i = 0; i < LANES && r + i < n; i++)
            *(int64_t *)(void *)((char *)out + (r + i) * stride) = (int64_t)best_class[i];
    }
}

#endif
