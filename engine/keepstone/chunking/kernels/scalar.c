// SPDX-License-Identifier: Apache-2.0
//
// The filter of two-stage in plain loops over bytes that a compiler turns into vector code, for processors that have no
// kernel of their own: no branch and no table, because the secret map is linear, so an image is a sum of columns.

#include "scan.h"

#define BLOCK 1024

uint64_t mark_scalar(const uint8_t *data, size_t n, const rules *r, uint64_t *marks, uint64_t *values)
{
    // Each array holds the sum of as many terms as its name says, from the first index where they all exist.
    uint8_t one[BLOCK + BEFORE], two[BLOCK + BEFORE], four[BLOCK + BEFORE], eight[BLOCK + BEFORE], found[BLOCK];
    const uint8_t c0 = r->image[1], c1 = r->image[2], c2 = r->image[4], c3 = r->image[8];
    const uint8_t c4 = r->image[16], c5 = r->image[32], c6 = r->image[64], c7 = r->image[128];
    const uint8_t t = r->t, mask = r->mask, u = r->u;
    const size_t length = n + BEFORE;
    uint64_t words = 0;

    (void)values;
    data -= BEFORE;
    for (size_t i = 0; i < length; i++) {
        // Each bit in turn is moved to the sign, where one comparison makes it a mask for its column.
        uint8_t b = data[i], image = (int8_t)b < 0 ? c7 : 0;
        b += b, image ^= (int8_t)b < 0 ? c6 : 0;
        b += b, image ^= (int8_t)b < 0 ? c5 : 0;
        b += b, image ^= (int8_t)b < 0 ? c4 : 0;
        b += b, image ^= (int8_t)b < 0 ? c3 : 0;
        b += b, image ^= (int8_t)b < 0 ? c2 : 0;
        b += b, image ^= (int8_t)b < 0 ? c1 : 0;
        b += b, image ^= (int8_t)b < 0 ? c0 : 0;
        one[i] = image;
    }
    for (size_t i = 1; i < length; i++)
        two[i] = one[i] ^ (uint8_t)(one[i - 1] << 1);
    for (size_t i = 3; i < length; i++)
        four[i] = two[i] ^ (uint8_t)(two[i - 2] << 2);
    for (size_t i = 7; i < length; i++)
        eight[i] = four[i] ^ (uint8_t)(four[i - 4] << 4);

    uint8_t any = 0;
    for (size_t i = 0; i < n; i++) {
        found[i] = (eight[i + BEFORE] == t) & ((eight[i + BEFORE - 8] & mask) == u);
        any |= found[i];
    }
    if (!any)
        return 0;
    for (size_t word = 0; word < n / 64; word++) {
        uint8_t some = 0;
        for (size_t i = 0; i < 64; i++)
            some |= found[64 * word + i];
        if (!some)
            continue;
        uint64_t bits = 0;
        for (size_t i = 0; i < 64; i++)
            bits |= (uint64_t)found[64 * word + i] << i;
        marks[word] = bits;
        words |= (uint64_t)1 << word;
    }
    return words;
}
