// SPDX-License-Identifier: Apache-2.0
//
// The values of `aes` with AES-NI: eight windows in flight, because a round takes longer than the next one can wait.

#include "scan.h"

#ifdef HAVE_X86
#include "x86.h"

#define FEATURES "sse2,aes"
#define FLIGHT 8

TARGET(FEATURES)
uint64_t mark_aesni(const uint8_t *data, size_t n, const rules *r, uint64_t *marks, uint64_t *values)
{
    const __m128i top = _mm_set1_epi32((int)~(0xffffffffu >> (8 + r->mask_bits))), zero = _mm_setzero_si128();
    uint64_t words = 0, found = 0;

    for (size_t i = 0; i < n; i += FLIGHT) {
        __m128i s[FLIGHT], key = _mm_load_si128((const __m128i *)r->round_keys[0]);
#pragma GCC unroll 8
        for (int k = 0; k < FLIGHT; k++)
            s[k] = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(data + i - 15 + k)), key);
#pragma GCC unroll 9
        for (int round = 1; round < 10; round++) {
            key = _mm_load_si128((const __m128i *)r->round_keys[round]);
#pragma GCC unroll 8
            for (int k = 0; k < FLIGHT; k++)
                s[k] = _mm_aesenc_si128(s[k], key);
        }
        key = _mm_load_si128((const __m128i *)r->round_keys[10]);
#pragma GCC unroll 8
        for (int k = 0; k < FLIGHT; k++)
            s[k] = _mm_aesenclast_si128(s[k], key);

        uint64_t bits = 0;
#pragma GCC unroll 2
        for (int k = 0; k < FLIGHT; k += 4) {
            const __m128i a = _mm_unpacklo_epi64(s[k], s[k + 1]), b = _mm_unpacklo_epi64(s[k + 2], s[k + 3]);
            _mm_storeu_si128((__m128i *)(values + i + k), a);
            _mm_storeu_si128((__m128i *)(values + i + k + 2), b);
            const __m128i high = _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), 0xdd));
            const __m128i is = _mm_cmpeq_epi32(_mm_and_si128(high, top), zero);
            bits |= (uint64_t)(unsigned)_mm_movemask_ps(_mm_castsi128_ps(is)) << k;
        }
        found |= bits << i % 64;
        if (i % 64 == 64 - FLIGHT) {
            marks[i / 64] = found;
            words |= (uint64_t)(found != 0) << i / 64;
            found = 0;
        }
    }
    return words;
}
#endif
