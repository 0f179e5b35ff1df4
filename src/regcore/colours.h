/*
 * The bin of each pixel of a picture in a histogram over hue, saturation and value.
 *
 * These follow OpenCV's 8-bit convention: V = max, C = V - min, S = 255 C / V, and H in steps of two degrees, where a
 * quotient is a product with a reciprocal of 12 fractional bits, rounded.  The reciprocals are quotients of integers
 * below 2^21; their nearest float lies on the same side of every half, so rounding it gives the integer that OpenCV's
 * tables hold, and no table has to be gathered from.
 */
#ifndef REGCORE_COLOURS_H
#define REGCORE_COLOURS_H

#include "simd.h"

/* The nearest integer, halves to even, of 0 <= x < 2^22 */
RC_INLINE int32_t rounded(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: the spacing of floats there is 1 */
    return (int32_t)((x + magic) - magic);
}

static void colour_bins(const unsigned char *RC_RESTRICT pixels, int64_t n, const int32_t *bins,
                        int32_t *RC_RESTRICT index)
{
    const int32_t n_hue = bins[0], n_saturation = bins[1], n_value = bins[2];
    for (int64_t i = 0; i < n; i++) {
        uint32_t pixel;
        memcpy(&pixel, pixels + 4 * i, 4);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        pixel = pixel >> 24 | (pixel >> 8 & 0xff00) | (pixel << 8 & 0xff0000);
#endif
        const int32_t r = (int32_t)(pixel & 255), g = (int32_t)(pixel >> 8 & 255), b = (int32_t)(pixel >> 16 & 255);
        const int32_t gb = g > b ? g : b, least_gb = g < b ? g : b;
        const int32_t value = r > gb ? r : gb;
        const int32_t chroma = value - (r < least_gb ? r : least_gb);
        /* red wins ties, then green; a third of a turn is 2 chroma */
        const int32_t blue_part = r - g + 4 * chroma, green_part = b - r + 2 * chroma;
        const int32_t other = value == g ? green_part : blue_part;
        const int32_t numerator = value == r ? g - b : other;
        const int32_t by_chroma = rounded(122880.0f / (float)(chroma > 0 ? chroma : 1));
        const int32_t by_value = rounded(1044480.0f / (float)(value > 0 ? value : 1));
        int32_t hue = (numerator * by_chroma + 2048) >> 12;
        hue += hue < 0 ? 180 : 0;
        int32_t saturation = (chroma * by_value + 2048) >> 12;
        saturation = saturation < 255 ? saturation : 255;
        const int32_t hue_bin = (int32_t)((uint32_t)(hue * n_hue) / 180u);
        index[i] = (hue_bin * n_saturation + (saturation * n_saturation >> 8)) * n_value + (value * n_value >> 8);
    }
}

#endif
