// SPDX-License-Identifier: Apache-2.0
//
// The filter of two-stage with AVX-512BW and GFNI: 64 positions in 17 instructions, three of them loads, and one branch
// for 256 positions. The sum of four terms is taken from memory, where a shift costs nothing; the sum of eight,
// and the second condition, from the vector before, by a move of whole words of 4 bytes.

#include "scan.h"

#ifdef HAVE_X86
#include "x86.h"

#define FEATURES "avx512f,avx512bw,gfni"
#define XOR3 0x96

typedef struct {
    __m512i by1, by2, by4, low, first, second;
} constants;

#define times(v, matrix) _mm512_gf2p8affine_epi64_epi8(v, matrix, 0)

// Returns H plus the constant that makes its low bits zero where the second condition holds. `last` has the sum of four
// terms of the vector before.
TARGET(FEATURES)
INLINE __m512i sum(const uint8_t *p, __m512i *last, const constants *c)
{
    const __m512i odd = _mm512_xor_si512(times(_mm512_loadu_si512(p - 3), c->by1), _mm512_loadu_si512(p - 2));
    const __m512i near = times(_mm512_loadu_si512(p - 1), c->by1);
    const __m512i four = _mm512_ternarylogic_epi64(times(odd, c->by2), near, _mm512_loadu_si512(p), XOR3);
    const __m512i behind = _mm512_alignr_epi32(four, *last, 15);
    *last = four;
    return _mm512_ternarylogic_epi64(times(behind, c->by4), four, c->second, XOR3);
}

// Returns the marks of 64 positions, whose sum is `here`, after those whose sum is `before`.
TARGET(FEATURES)
INLINE __mmask64 candidates(__m512i here, __m512i before, const constants *c)
{
    const __m512i second = times(_mm512_alignr_epi64(here, before, 7), c->low);
    return _mm512_mask_cmpeq_epi8_mask(_mm512_testn_epi8_mask(second, second), here, c->first);
}

TARGET(FEATURES)
uint64_t mark_avx512_gfni(const uint8_t *data, size_t n, const rules *r, uint64_t *marks, uint64_t *values)
{
    // A^-1 u: as the map is linear, what is added to H comes out of A as u.
    const uint8_t u = r->preimage[r->u];
    const constants c = {
        .by1 = _mm512_set1_epi64((long long)r->by[0]),
        .by2 = _mm512_set1_epi64((long long)r->by[1]),
        .by4 = _mm512_set1_epi64((long long)r->by[2]),
        .low = _mm512_set1_epi64((long long)r->low),
        .first = _mm512_set1_epi8((char)(r->preimage[r->t] ^ u)),
        .second = _mm512_set1_epi8((char)u),
    };
    uint64_t words = 0;
    __m512i last, before;

    (void)values;
    // The sums of the last 16 positions before the block. No byte further back is read, so only G of the last eight,
    // which the second condition asks for, is whole.
    {
        uint8_t room[BEFORE + 64] = {0};
        __builtin_memcpy(room + 64, data - BEFORE, BEFORE);
        last = _mm512_setzero_si512();
        before = sum(room + BEFORE, &last, &c);
    }
    for (size_t j = 0; j < n; j += 256) {
        for (size_t line = 0; line < 4; line++)
            WILL_READ(data + n + AHEAD + j + 64 * line);
        const __m512i s0 = sum(data + j, &last, &c), s1 = sum(data + j + 64, &last, &c);
        const __m512i s2 = sum(data + j + 128, &last, &c), s3 = sum(data + j + 192, &last, &c);
        const __mmask64 found[4] = {candidates(s0, before, &c), candidates(s1, s0, &c), candidates(s2, s1, &c),
                                    candidates(s3, s2, &c)};
        before = s3;
        if (!(found[0] | found[1] | found[2] | found[3]))
            continue;
        for (size_t i = 0; i < 4; i++) {
            marks[j / 64 + i] = found[i];
            words |= (uint64_t)(found[i] != 0) << (j / 64 + i);
        }
    }
    return words;
}
#endif
