// SPDX-License-Identifier: Apache-2.0
//
// The values of `aes` with AVX-512 and VAES: one byte permutation makes four windows, and 32 are in flight.

#include "scan.h"

#ifdef HAVE_X86
#include "x86.h"

#define FEATURES "avx512f,avx512bw,avx512vl,avx512vbmi,vaes"
#define FLIGHT 8

TARGET(FEATURES)
uint64_t mark_vaes512(const uint8_t *data, size_t n, const rules *r, uint64_t *marks, uint64_t *values)
{
    static const uint8_t overlapping[64] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
        2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
    };
    const __m512i spread = _mm512_loadu_si512(overlapping);
    const __m512i low_halves = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i top = _mm512_set1_epi64((long long)~(UINT64_MAX >> (8 + r->mask_bits)));
    const __mmask32 nineteen = 0x7ffff;
    uint64_t words = 0, found = 0;

    for (size_t i = 0; i < n; i += 4 * FLIGHT) {
        __m512i s[FLIGHT], key = _mm512_load_si512(r->round_keys[0]);
#pragma GCC unroll 8
        for (int k = 0; k < FLIGHT; k++) {
            const __m256i bytes = _mm256_maskz_loadu_epi8(nineteen, data + i - 15 + 4 * k);
            s[k] = _mm512_xor_si512(_mm512_permutexvar_epi8(spread, _mm512_castsi256_si512(bytes)), key);
        }
#pragma GCC unroll 9
        for (int round = 1; round < 10; round++) {
            key = _mm512_load_si512(r->round_keys[round]);
#pragma GCC unroll 8
            for (int k = 0; k < FLIGHT; k++)
                s[k] = _mm512_aesenc_epi128(s[k], key);
        }
        key = _mm512_load_si512(r->round_keys[10]);
#pragma GCC unroll 8
        for (int k = 0; k < FLIGHT; k++)
            s[k] = _mm512_aesenclast_epi128(s[k], key);

        uint64_t bits = 0;
#pragma GCC unroll 4
        for (int k = 0; k < FLIGHT; k += 2) {
            const __m512i eight = _mm512_permutex2var_epi64(s[k], low_halves, s[k + 1]);
            _mm512_storeu_si512(values + i + 4 * k, eight);
            bits |= (uint64_t)_mm512_testn_epi64_mask(eight, top) << 4 * k;
        }
        found |= bits << i % 64;
        if (i % 64 == 64 - 4 * FLIGHT) {
            marks[i / 64] = found;
            words |= (uint64_t)(found != 0) << i / 64;
            found = 0;
        }
    }
    return words;
}
#endif
