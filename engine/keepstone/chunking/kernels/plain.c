// SPDX-License-Identifier: Apache-2.0
//
// The filter of two-stage byte by byte. For processors without vectors, and the one that the others are compared with.

#include "scan.h"

static inline uint8_t g_of(const uint8_t *last, const rules *r)
{
    uint8_t g = 0;
    for (int i = -7; i <= 0; i++)
        g = (uint8_t)(g << 1) ^ r->image[last[i]];
    return g;
}

uint64_t mark_plain(const uint8_t *data, size_t n, const rules *r, uint64_t *marks, uint64_t *values)
{
    uint64_t words = 0;
    uint8_t g = g_of(data - 1, r);

    (void)values;
    for (size_t word = 0; word < n / 64; word++) {
        uint64_t found = 0;
        for (size_t i = 64 * word; i < 64 * word + 64; i++) {
            g = (uint8_t)(g << 1) ^ r->image[data[i]];
            if (g == r->t && (g_of(data + i - 8, r) & r->mask) == r->u)
                found |= (uint64_t)1 << i % 64;
        }
        marks[word] = found;
        words |= (uint64_t)(found != 0) << word;
    }
    return words;
}
