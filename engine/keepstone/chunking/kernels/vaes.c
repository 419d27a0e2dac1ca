// SPDX-License-Identifier: Apache-2.0
//
// The values of `aes` with AVX2 and VAES: two windows in a vector, sixteen in flight.

#include "scan.h"

#ifdef HAVE_X86
#include "x86.h"

#define FEATURES "avx2,vaes"
#define FLIGHT 8

// Returns the windows of position i, whose first byte is p, and of position i + 2.
TARGET(FEATURES)
INLINE __m256i windows(const uint8_t *p)
{
    const __m256i first = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p));
    return _mm256_inserti128_si256(first, _mm_loadu_si128((const __m128i *)(p + 2)), 1);
}

TARGET(FEATURES)
uint64_t mark_vaes(const uint8_t *data, size_t n, const rules *r, uint64_t *marks, uint64_t *values)
{
    const __m256i top = _mm256_set1_epi64x((long long)~(UINT64_MAX >> (8 + r->mask_bits)));
    const __m256i zero = _mm256_setzero_si256();
    uint64_t words = 0, found = 0;

    for (size_t i = 0; i < n; i += 2 * FLIGHT) {
        __m256i s[FLIGHT], key = _mm256_load_si256((const __m256i *)r->round_keys[0]);
        // s[0] has positions 0 and 2, s[1] 1 and 3, s[2] 4 and 6 ...
#pragma GCC unroll 8
        for (int k = 0; k < FLIGHT; k++)
            s[k] = _mm256_xor_si256(windows(data + i - 15 + k / 2 * 4 + k % 2), key);
#pragma GCC unroll 9
        for (int round = 1; round < 10; round++) {
            key = _mm256_load_si256((const __m256i *)r->round_keys[round]);
#pragma GCC unroll 8
            for (int k = 0; k < FLIGHT; k++)
                s[k] = _mm256_aesenc_epi128(s[k], key);
        }
        key = _mm256_load_si256((const __m256i *)r->round_keys[10]);
#pragma GCC unroll 8
        for (int k = 0; k < FLIGHT; k++)
            s[k] = _mm256_aesenclast_epi128(s[k], key);

        uint64_t bits = 0;
#pragma GCC unroll 4
        for (int k = 0; k < FLIGHT; k += 2) {
            const __m256i four = _mm256_unpacklo_epi64(s[k], s[k + 1]);
            _mm256_storeu_si256((__m256i *)(values + i + 2 * k), four);
            const __m256i is = _mm256_cmpeq_epi64(_mm256_and_si256(four, top), zero);
            bits |= (uint64_t)(unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(is)) << 2 * k;
        }
        found |= bits << i % 64;
        if (i % 64 == 64 - 2 * FLIGHT) {
            marks[i / 64] = found;
            words |= (uint64_t)(found != 0) << i / 64;
            found = 0;
        }
    }
    return words;
}
#endif
