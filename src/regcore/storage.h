/*
 * Loading a vector of reals from the types that X may be stored in.  The conversions are an instruction or a few at the
 * x86 levels and with NEON; compilers do not find them from plain C, so they stand here as intrinsics, with a loop for
 * everything else.
 */
#ifndef REGCORE_STORAGE_H
#define REGCORE_STORAGE_H

#include "simd.h"

#if defined(__SSE4_1__) && LANES > 1
#include <immintrin.h>
#define X86_LOADS 1
#elif defined(__aarch64__) && defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN) && LANES > 1
#include <arm_neon.h>
#define NEON_LOADS 1
#endif

/* IEEE half to real without a branch, subnormals and specials included: shift the 15 magnitude bits into float32's
 * place, rescale the exponent by a multiplication with 2^112, and put the specials' exponent back. */
RC_INLINE real half_to_real(uint16_t h)
{
    const uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    float value;
    memcpy(&value, &magnitude, sizeof value);
    value *= 5.192296858534828e+33f; /* 2^112 */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits |= (uint32_t)(h & 0x8000) << 16 | (magnitude >= 0x0f800000 ? 0x7f800000u : 0u);
    memcpy(&value, &bits, sizeof value);
    return (real)value;
}
#define CAST(x) ((real)(x))

/* The first LANES items at p, one by one */
#define LOAD_ONE_BY_ONE(type, convert, p)                                                                              \
    real items[LANES];                                                                                                 \
    for (int i = 0; i < LANES; i++) {                                                                                  \
        type item;                                                                                                     \
        memcpy(&item, (p) + i, sizeof item);                                                                           \
        items[i] = convert(item);                                                                                      \
    }                                                                                                                  \
    return v_load(items);

#if X86_LOADS
/* The bytes of LANES items of `size` bytes, in the low part of a register */
RC_INLINE __m128i load_bytes(const void *p, const int size)
{
    __m128i x = _mm_setzero_si128();
    const size_t bytes = (size_t)(LANES * size) < 16 ? (size_t)(LANES * size) : 16;
    if (bytes == 16) return _mm_loadu_si128((const __m128i *)p);
    if (bytes == 8) return _mm_loadl_epi64((const __m128i *)p);
    memcpy(&x, p, bytes);
    return x;
}

/* LANES 32-bit integers to reals */
#if LANES == 16
#define WIDEN_INTEGERS(kind, p) (vreal) _mm512_cvtepi32_ps(_mm512_cvtep##kind##8_epi32(load_bytes(p, 1)))
#elif LANES == 8 && RC_REAL_BITS == 32
#define WIDEN_INTEGERS(kind, p) (vreal) _mm256_cvtepi32_ps(_mm256_cvtep##kind##8_epi32(load_bytes(p, 1)))
#elif LANES == 8
#define WIDEN_INTEGERS(kind, p) (vreal) _mm512_cvtepi32_pd(_mm256_cvtep##kind##8_epi32(load_bytes(p, 1)))
#elif LANES == 4 && RC_REAL_BITS == 32
#define WIDEN_INTEGERS(kind, p) (vreal) _mm_cvtepi32_ps(_mm_cvtep##kind##8_epi32(load_bytes(p, 1)))
#elif LANES == 4
#define WIDEN_INTEGERS(kind, p) (vreal) _mm256_cvtepi32_pd(_mm_cvtep##kind##8_epi32(load_bytes(p, 1)))
#else
#define WIDEN_INTEGERS(kind, p) (vreal) _mm_cvtepi32_pd(_mm_cvtep##kind##8_epi32(load_bytes(p, 1)))
#endif
#endif

#if NEON_LOADS
/* The bytes of LANES items of `size` bytes, in the low part of a register's half */
RC_INLINE uint64_t load_bits(const void *p, const int size)
{
    uint64_t bits = 0;
    memcpy(&bits, p, (size_t)(LANES * size));
    return bits;
}
#endif

RC_INLINE vreal v_load_uint8(const uint8_t *p)
{
#if X86_LOADS
    return WIDEN_INTEGERS(u, p);
#elif NEON_LOADS && RC_REAL_BITS == 32
    return (vreal)vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(load_bits(p, 1))))));
#elif NEON_LOADS
    const uint32x4_t wide = vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(load_bits(p, 1)))));
    return (vreal)vcvtq_f64_u64(vmovl_u32(vget_low_u32(wide)));
#else
    LOAD_ONE_BY_ONE(uint8_t, CAST, p)
#endif
}

RC_INLINE vreal v_load_int8(const int8_t *p)
{
#if X86_LOADS
    return WIDEN_INTEGERS(i, p);
#elif NEON_LOADS && RC_REAL_BITS == 32
    return (vreal)vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(load_bits(p, 1))))));
#elif NEON_LOADS
    const int32x4_t wide = vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(load_bits(p, 1)))));
    return (vreal)vcvtq_f64_s64(vmovl_s32(vget_low_s32(wide)));
#else
    LOAD_ONE_BY_ONE(int8_t, CAST, p)
#endif
}

RC_INLINE vreal v_load_half(const uint16_t *p)
{
#if X86_LOADS && defined(__F16C__) && LANES == 16
    return (vreal)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
#elif X86_LOADS && defined(__F16C__) && LANES == 8 && RC_REAL_BITS == 32
    return (vreal)_mm256_cvtph_ps(load_bytes(p, 2));
#elif X86_LOADS && defined(__F16C__) && LANES == 8
    return (vreal)_mm512_cvtps_pd(_mm256_cvtph_ps(load_bytes(p, 2)));
#elif X86_LOADS && defined(__F16C__) && LANES == 4
    return (vreal)_mm256_cvtps_pd(_mm_cvtph_ps(load_bytes(p, 2)));
#elif NEON_LOADS && RC_REAL_BITS == 32
    return (vreal)vcvt_f32_f16(vcreate_f16(load_bits(p, 2)));
#elif NEON_LOADS
    return (vreal)vcvt_f64_f32(vget_low_f32(vcvt_f32_f16(vcreate_f16(load_bits(p, 2)))));
#else
    LOAD_ONE_BY_ONE(uint16_t, half_to_real, p)
#endif
}

#endif
