/*
 * The vector shim: one real type, one vector of it, and the few operations that the kernels need.
 *
 * A file that includes this header is compiled once per real type (RC_REAL_BITS 32 or 64) and CPU level
 * (RC_VECTOR_BYTES 64, 32, 16; 0 for plain C, where a "vector" is a single real).  The compiler flags of the level,
 * not intrinsics, choose the instructions; everything here is static, so that no two levels can share a function.
 */
#ifndef REGCORE_SIMD_H
#define REGCORE_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ == 2
#error "operations must be rounded to their own type; on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif

#if RC_REAL_BITS == 32
typedef float real;
typedef int32_t ireal;
typedef uint32_t ureal;
#define REAL_C(x) x##f
#else
typedef double real;
typedef int64_t ireal;
typedef uint64_t ureal;
#define REAL_C(x) x
#endif

#if defined(__GNUC__) || defined(__clang__)
#define RC_INLINE static inline __attribute__((always_inline, unused))
#define RC_RESTRICT __restrict__
#define RC_UNROLL _Pragma("GCC unroll 16")
#define RC_ROLLED _Pragma("GCC unroll 1")
#define rc_prefetch(p) __builtin_prefetch((p), 0, 3)
#else
#define RC_INLINE static inline
#define RC_RESTRICT
#define RC_UNROLL
#define RC_ROLLED
#define rc_prefetch(p) ((void)(p))
#endif

#if RC_VECTOR_BYTES
#define LANES (RC_VECTOR_BYTES / (RC_REAL_BITS / 8))
typedef real vreal __attribute__((vector_size(RC_VECTOR_BYTES)));
typedef ireal vmask __attribute__((vector_size(RC_VECTOR_BYTES)));
typedef ureal vbits __attribute__((vector_size(RC_VECTOR_BYTES)));
typedef real vreal_unaligned __attribute__((vector_size(RC_VECTOR_BYTES), aligned(RC_REAL_BITS / 8), may_alias));
/* as many doubles as there are lanes: sums that must not lose float32's 24 bits */
typedef double vwide __attribute__((vector_size(8 * LANES)));
typedef double vwide_unaligned __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
/* one register of doubles */
#define DOUBLES (RC_VECTOR_BYTES / 8)
typedef double vdouble __attribute__((vector_size(RC_VECTOR_BYTES)));
typedef double vdouble_unaligned __attribute__((vector_size(RC_VECTOR_BYTES), aligned(8), may_alias));
typedef int64_t dmask __attribute__((vector_size(RC_VECTOR_BYTES)));

RC_INLINE vreal v_load(const real *p) { return *(const vreal_unaligned *)p; }
RC_INLINE void v_store(real *p, vreal v) { *(vreal_unaligned *)p = v; }
RC_INLINE vreal v_set(real x) { return x - (vreal){0}; }
RC_INLINE vreal v_select(vmask m, vreal a, vreal b) { return (vreal)((m & (vmask)a) | (~m & (vmask)b)); }
RC_INLINE vmask v_bits(vreal v) { return (vmask)v; }
RC_INLINE vreal v_from_bits(vmask m) { return (vreal)m; }
RC_INLINE vmask v_set_bits(ireal x) { return x - (vmask){0}; }
RC_INLINE vreal v_from_integers(vmask m) { return __builtin_convertvector(m, vreal); }
RC_INLINE vwide v_widen(vreal v) { return __builtin_convertvector(v, vwide); }
RC_INLINE vreal v_narrow(vwide w) { return __builtin_convertvector(w, vreal); }
RC_INLINE vwide w_load(const double *p) { return *(const vwide_unaligned *)p; }
RC_INLINE void w_store(double *p, vwide w) { *(vwide_unaligned *)p = w; }
RC_INLINE vdouble d_load(const double *p) { return *(const vdouble_unaligned *)p; }
RC_INLINE void d_store(double *p, vdouble d) { *(vdouble_unaligned *)p = d; }
RC_INLINE vdouble d_set(double x) { return x - (vdouble){0}; }
/* a where m, else 0 */
RC_INLINE vdouble d_where(dmask m, vdouble a) { return (vdouble)(m & (dmask)a); }
/* Sums in the order of a tree: neighbours that are half of the lanes apart first. In registers: of loops over an array
 * compilers make memory traffic. */
#if defined(__clang__) || __GNUC__ >= 12
#define D_SHUFFLE(d, ...) __builtin_shufflevector(d, d, __VA_ARGS__)
#else
#define D_SHUFFLE(d, ...) __builtin_shuffle(d, d, (dmask){__VA_ARGS__})
#endif
RC_INLINE double d_sum(vdouble d)
{
#if DOUBLES == 8
    d += D_SHUFFLE(d, 4, 5, 6, 7, 0, 1, 2, 3);
    d += D_SHUFFLE(d, 2, 3, 0, 1, 6, 7, 4, 5);
    d += D_SHUFFLE(d, 1, 0, 3, 2, 5, 4, 7, 6);
#elif DOUBLES == 4
    d += D_SHUFFLE(d, 2, 3, 0, 1);
    d += D_SHUFFLE(d, 1, 0, 3, 2);
#else
    d += D_SHUFFLE(d, 1, 0);
#endif
    return d[0];
}
RC_INLINE double w_sum(vwide w)
{
    vdouble parts[LANES / DOUBLES];
    memcpy(parts, &w, sizeof parts);
    return d_sum(LANES / DOUBLES == 2 ? parts[0] + parts[LANES / DOUBLES - 1] : parts[0]);
}
/* DOUBLES consecutive reals as doubles */
#if RC_REAL_BITS == 32
typedef real vhalf_unaligned __attribute__((vector_size(RC_VECTOR_BYTES / 2), aligned(4), may_alias));
RC_INLINE vdouble d_load_reals(const real *p) { return __builtin_convertvector(*(const vhalf_unaligned *)p, vdouble); }
#else
RC_INLINE vdouble d_load_reals(const real *p) { return d_load(p); }
#endif
RC_INLINE double d_largest(vdouble d)
{
    double lanes[DOUBLES];
    memcpy(lanes, &d, sizeof lanes);
    for (int n = DOUBLES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) lanes[i] = lanes[i] > lanes[i + n] ? lanes[i] : lanes[i + n];
    return lanes[0];
}
#else
#define LANES 1
typedef real vreal;
typedef ireal vmask;
typedef ureal vbits;
typedef double vwide;
#define DOUBLES 1
typedef double vdouble;
typedef int dmask;

RC_INLINE vreal v_load(const real *p) { return *p; }
RC_INLINE void v_store(real *p, vreal v) { *p = v; }
RC_INLINE vreal v_set(real x) { return x; }
RC_INLINE vreal v_select(vmask m, vreal a, vreal b) { return m ? a : b; }
RC_INLINE vmask v_bits(vreal v)
{
    vmask m;
    memcpy(&m, &v, sizeof m);
    return m;
}
RC_INLINE vreal v_from_bits(vmask m)
{
    vreal v;
    memcpy(&v, &m, sizeof v);
    return v;
}
RC_INLINE vmask v_set_bits(ireal x) { return x; }
RC_INLINE vreal v_from_integers(vmask m) { return (real)m; }
RC_INLINE vwide v_widen(vreal v) { return (double)v; }
RC_INLINE vreal v_narrow(vwide w) { return (real)w; }
RC_INLINE vwide w_load(const double *p) { return *p; }
RC_INLINE void w_store(double *p, vwide w) { *p = w; }
RC_INLINE double w_sum(vwide w) { return w; }
RC_INLINE vdouble d_load(const double *p) { return *p; }
RC_INLINE void d_store(double *p, vdouble d) { *p = d; }
RC_INLINE vdouble d_set(double x) { return x; }
RC_INLINE vdouble d_where(dmask m, vdouble a) { return m ? a : 0; }
RC_INLINE double d_sum(vdouble d) { return d; }
RC_INLINE vdouble d_load_reals(const real *p) { return (double)*p; }
RC_INLINE double d_largest(vdouble d) { return d; }
#endif

/* Keeps a value in a register: compilers otherwise repeat its load as an operand of each use, and loads are what is
 * scarce in the products. */
#if defined(__GNUC__) && defined(__AVX512F__)
#define v_pin(x) __asm__("" : "+v"(x))
#elif defined(__GNUC__) && defined(__x86_64__)
#define v_pin(x) __asm__("" : "+x"(x))
#elif defined(__GNUC__) && defined(__aarch64__)
#define v_pin(x) __asm__("" : "+w"(x))
#else
#define v_pin(x) ((void)0)
#endif

/* a > b ? a : b and a < b ? a : b: of a NaN and b, b. Compilers do not find x86's single instructions for them. */
#if RC_VECTOR_BYTES == 64 && defined(__AVX512F__)
#define X86_PREFIX _mm512_
#elif RC_VECTOR_BYTES == 32 && defined(__AVX__)
#define X86_PREFIX _mm256_
#elif RC_VECTOR_BYTES == 16 && defined(__SSE2__)
#define X86_PREFIX _mm_
#endif
#ifdef X86_PREFIX
#include <immintrin.h>
#if RC_REAL_BITS == 32
#define X86_SUFFIX _ps
#else
#define X86_SUFFIX _pd
#endif
#define X86_NAME__(prefix, name, suffix) prefix##name##suffix
#define X86_NAME_(prefix, name, suffix) X86_NAME__(prefix, name, suffix)
#define X86(name) X86_NAME_(X86_PREFIX, name, X86_SUFFIX)
RC_INLINE vreal v_max(vreal a, vreal b) { return (vreal)X86(max)(a, b); }
RC_INLINE vreal v_min(vreal a, vreal b) { return (vreal)X86(min)(a, b); }
#else
RC_INLINE vreal v_max(vreal a, vreal b) { return v_select(a > b, a, b); }
RC_INLINE vreal v_min(vreal a, vreal b) { return v_select(a < b, a, b); }
#endif
/* a where m, else 0; a where not m, else 0; and a | b: of two that are nowhere both different from 0, the other one */
RC_INLINE vreal v_where(vmask m, vreal a) { return v_select(m, a, v_set(0)); }
RC_INLINE vreal v_where_not(vmask m, vreal a) { return v_select(m, v_set(0), a); }
RC_INLINE vreal v_join(vreal a, vreal b) { return v_from_bits(v_bits(a) | v_bits(b)); }
RC_INLINE vwide w_zero(void) { return v_widen(v_set(0)); }

/*
 * Many sums at once, and the transpose: both are log2(LANES) stages of LOW and HIGH, which pick half of the lanes of a
 * pair of vectors each.  The patterns are those that x86 has as single instructions without an index register.
 */
#if LANES > 1
#if defined(__clang__) || __GNUC__ >= 12
#define V_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define V_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vmask){__VA_ARGS__})
#endif
#endif

#if LANES == 16
#define LOW_1(a, b) V_SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH_1(a, b) V_SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW_2(a, b) V_SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH_2(a, b) V_SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define LOW_3(a, b) V_SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define HIGH_3(a, b) V_SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define LOW_4(a, b) V_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define HIGH_4(a, b) V_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
#define TRANSPOSED_AT(c) (((c) >> 1 & 5) | ((c) << 1 & 10))
#elif LANES == 8 && RC_REAL_BITS == 32
#define LOW_1(a, b) V_SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGH_1(a, b) V_SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LOW_2(a, b) V_SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define HIGH_2(a, b) V_SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define LOW_3(a, b) V_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define HIGH_3(a, b) V_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#define TRANSPOSED_AT(c) (((c) >> 1 & 1) | ((c) << 1 & 2) | ((c) & 4))
#elif LANES == 8
#define LOW_1(a, b) V_SHUFFLE(a, b, 0, 8, 2, 10, 4, 12, 6, 14)
#define HIGH_1(a, b) V_SHUFFLE(a, b, 1, 9, 3, 11, 5, 13, 7, 15)
#define LOW_2(a, b) V_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define HIGH_2(a, b) V_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#define LOW_3(a, b) V_SHUFFLE(a, b, 0, 1, 4, 5, 8, 9, 12, 13)
#define HIGH_3(a, b) V_SHUFFLE(a, b, 2, 3, 6, 7, 10, 11, 14, 15)
#define TRANSPOSED_AT(c) (((c) & 1) | ((c) >> 1 & 2) | ((c) << 1 & 4))
#elif LANES == 4 && RC_REAL_BITS == 32
#define LOW_1(a, b) V_SHUFFLE(a, b, 0, 4, 1, 5)
#define HIGH_1(a, b) V_SHUFFLE(a, b, 2, 6, 3, 7)
#define LOW_2(a, b) V_SHUFFLE(a, b, 0, 1, 4, 5)
#define HIGH_2(a, b) V_SHUFFLE(a, b, 2, 3, 6, 7)
#define TRANSPOSED_AT(c) (((c) >> 1 & 1) | ((c) << 1 & 2))
#elif LANES == 4
#define LOW_1(a, b) V_SHUFFLE(a, b, 0, 4, 2, 6)
#define HIGH_1(a, b) V_SHUFFLE(a, b, 1, 5, 3, 7)
#define LOW_2(a, b) V_SHUFFLE(a, b, 0, 1, 4, 5)
#define HIGH_2(a, b) V_SHUFFLE(a, b, 2, 3, 6, 7)
#define TRANSPOSED_AT(c) (c)
#elif LANES == 2
#define LOW_1(a, b) V_SHUFFLE(a, b, 0, 2)
#define HIGH_1(a, b) V_SHUFFLE(a, b, 1, 3)
#define TRANSPOSED_AT(c) (c)
#else
#define TRANSPOSED_AT(c) (c)
#endif

/*
 * Lane i of the last stage's result is the sum over the lanes of a[i]: LANES - 1 pairs in all.  Stages first..last of
 * n vectors leave n >> (last - first + 1) of them at the beginning of a, so that a tree can be left and taken up again.
 */
#define SUM_STAGE(k)                                                                                                   \
    if (first <= (k) && (k) <= last) {                                                                                 \
        n /= 2;                                                                                                        \
        RC_UNROLL for (int i = 0; i < n; i++) a[i] =                                                                   \
            LOW_##k(a[2 * i], a[2 * i + 1]) + HIGH_##k(a[2 * i], a[2 * i + 1]);                                        \
    }
#define SUM_STAGES (LANES >= 16 ? 4 : LANES >= 8 ? 3 : LANES >= 4 ? 2 : LANES >= 2 ? 1 : 0)

RC_INLINE void v_sum_stages(const int first, const int last, int n, vreal *a)
{
#if LANES >= 2
    SUM_STAGE(1)
#endif
#if LANES >= 4
    SUM_STAGE(2)
#endif
#if LANES >= 8
    SUM_STAGE(3)
#endif
#if LANES >= 16
    SUM_STAGE(4)
#endif
    (void)first, (void)last, (void)n, (void)a;
}

RC_INLINE vreal v_sums(vreal *a)
{
    v_sum_stages(1, SUM_STAGES, LANES, a);
    return a[0];
}

/* Column c of the LANES x LANES matrix of rows a[] ends in a[TRANSPOSED_AT(c)]. */
#define TRANSPOSE_STAGE(k, bit)                                                                                        \
    RC_UNROLL for (int i = 0; i < LANES; i++)                                                                          \
    {                                                                                                                  \
        if (i & (bit)) continue;                                                                                       \
        const vreal low = LOW_##k(a[i], a[i | (bit)]);                                                                 \
        a[i | (bit)] = HIGH_##k(a[i], a[i | (bit)]);                                                                   \
        a[i] = low;                                                                                                    \
    }

RC_INLINE void v_transpose(vreal *a)
{
#if LANES >= 2
    TRANSPOSE_STAGE(1, 1)
#endif
#if LANES >= 4
    TRANSPOSE_STAGE(2, 2)
#endif
#if LANES >= 8
    TRANSPOSE_STAGE(3, 4)
#endif
#if LANES >= 16
    TRANSPOSE_STAGE(4, 8)
#endif
    (void)a;
}

/*
 * exp for x <= 0 and log(1 + t) for t >= 0, to about one unit in the last place; nothing else is needed by the losses.
 *
 * exp: x = n ln2 + r, |r| <= ln2/2 (ln2 split in two so that n*ln2 loses nothing), e^r = 1 + r + r^2 q(r) with q the
 * Chebyshev interpolant of its degree; adding 1.5*2^mantissa leaves n in the low bits, from where it moves into the
 * exponent.  Below the smallest normal number the result is 0.
 * log: u = 1 + t = 2^k m, sqrt(1/2) <= m < sqrt(2), log m = 2 artanh((m-1)/(m+1)) by its series; what the rounding of
 * 1 + t lost is put back as (t - (u - 1)) / u, so small t keep their relative accuracy.
 */
#if RC_REAL_BITS == 32
#define EXP_LOWEST REAL_C(-87.0)
#define EXP_MAGIC REAL_C(12582912.0)
#define MANTISSA_BITS 23
#define LN2_HIGH REAL_C(0.693145751953125)
#define LN2_LOW REAL_C(1.428606765330187e-06)
#define SQRT_HALF_BITS 0x3f3504f3
#define ONE_BITS 0x3f800000
static const real exp_q[] = {1.3926183587713495e-03f, 8.3631790527225774e-03f, 4.1666554617204574e-02f,
                             1.6666576986987757e-01f, 0.5f};
#define LOG_TERMS 5
#else
#define EXP_LOWEST REAL_C(-708.0)
#define EXP_MAGIC REAL_C(6755399441055744.0)
#define MANTISSA_BITS 52
#define LN2_HIGH REAL_C(0.693147180369123816490)
#define LN2_LOW REAL_C(1.90821492927058770002e-10)
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcd
#define ONE_BITS 0x3ff0000000000000
static const real exp_q[] = {2.5100385495510319e-08, 2.7620088445409748e-07, 2.7557268459997065e-06,
                             2.4801521295954375e-05, 1.9841269853863617e-04, 1.3888888917213717e-03,
                             8.3333333333300618e-03, 4.1666666666624128e-02, 1.6666666666666667e-01,
                             0.5000000000000001};
#define LOG_TERMS 11
#endif
#define EXP_TERMS ((int)(sizeof exp_q / sizeof exp_q[0]))

RC_INLINE vreal v_exp_nonpositive(vreal x)
{
    const vmask underflow = x < v_set(EXP_LOWEST);
    x = v_max(x, v_set(EXP_LOWEST));
    const vreal shifted = x * REAL_C(1.44269504088896340736) + EXP_MAGIC;
    const vreal n = shifted - EXP_MAGIC;
    const vreal r = (x - n * LN2_HIGH) - n * LN2_LOW;
    vreal q = v_set(exp_q[0]);
    RC_UNROLL for (int i = 1; i < EXP_TERMS; i++) q = q * r + exp_q[i];
    const vreal e = (q * r) * r + r + REAL_C(1.0);
    const vmask scale = (vmask)(((vbits)v_bits(shifted) << MANTISSA_BITS) + (vbits)v_bits(e));
    return v_select(underflow, v_set(0), v_from_bits(scale));
}

RC_INLINE vreal v_log1p_nonnegative(vreal t)
{
    const vreal u = t + REAL_C(1.0);
    const vreal lost = t - (u - REAL_C(1.0));
    const vmask k = (v_bits(u) - v_set_bits(SQRT_HALF_BITS)) >> MANTISSA_BITS;
    const vreal m = v_from_bits(v_bits(u) - (k << MANTISSA_BITS));
    const vreal f = m - REAL_C(1.0), s = f / (m + REAL_C(1.0)), s2 = s * s;
    vreal p = v_set(REAL_C(1.0) / (2 * LOG_TERMS + 1));
    RC_UNROLL for (int i = LOG_TERMS - 1; i > 0; i--) p = p * s2 + REAL_C(1.0) / (2 * i + 1);
    /* k + magic through the bit pattern: no conversion instruction is needed at any level */
    const vreal kr = v_from_bits(k + v_bits(v_set(EXP_MAGIC))) - EXP_MAGIC;
    const vreal log_m = 2 * s + (2 * s) * (s2 * p);
    return kr * LN2_HIGH + (log_m + (kr * LN2_LOW + lost / u));
}

/* log(x) of a normal x > 0; near 1 it keeps its relative accuracy. Other x give some number. */
RC_INLINE vreal v_log_normal(vreal x)
{
    const vmask k = (vmask)((vbits)v_bits(x) - (vbits)v_set_bits(SQRT_HALF_BITS)) >> MANTISSA_BITS;
    const vreal m = v_from_bits((vmask)((vbits)v_bits(x) - ((vbits)k << MANTISSA_BITS)));
    const vreal f = m - REAL_C(1.0), s = f / (m + REAL_C(1.0)), s2 = s * s;
    vreal p = v_set(REAL_C(1.0) / (2 * LOG_TERMS + 1));
    RC_UNROLL for (int i = LOG_TERMS - 1; i > 0; i--) p = p * s2 + REAL_C(1.0) / (2 * i + 1);
    const vreal kr = v_from_bits((vmask)((vbits)k + (vbits)v_bits(v_set(EXP_MAGIC)))) - EXP_MAGIC;
    return kr * LN2_HIGH + ((2 * s + (2 * s) * (s2 * p)) + kr * LN2_LOW);
}

#endif
