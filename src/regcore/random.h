/* Random numbers: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). */
#ifndef REGCORE_RANDOM_H
#define REGCORE_RANDOM_H

#include <stdint.h>

static inline uint64_t mix64(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t next_random(uint64_t *state) { return mix64(*state += 0x9e3779b97f4a7c15u); }

/* A number in [0, n): the high half of a product; its bias of n / 2^32 is nothing where n is a number of rows. */
static inline int64_t random_below(uint64_t *state, int64_t n)
{
    const uint64_t r = next_random(state);
    if ((uint64_t)n >> 32) return (int64_t)(r % (uint64_t)n);
    return (int64_t)(((r >> 32) * (uint64_t)n) >> 32);
}

#endif
