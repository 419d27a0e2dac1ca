// SPDX-License-Identifier: Apache-2.0
//
// The filter of two-stage with AVX2: the secret map by two byte shuffles.

#include "scan.h"

#ifdef HAVE_X86
#include "x86.h"

#define MARK mark_avx2
#define FEATURES "avx2"

typedef struct {
    __m256i low, high, nibble, mask, second;
} constants;

#define enter(v, c)                                                                                                   \
    _mm256_xor_si256(_mm256_shuffle_epi8((c)->low, _mm256_and_si256(v, (c)->nibble)),                                 \
                     _mm256_shuffle_epi8((c)->high, _mm256_and_si256(_mm256_srli_epi16(v, 4), (c)->nibble)))
#define times1(v, c) twice(v)
#define times2(v, c) twice(twice(v))
#define times4(v, c) _mm256_slli_epi16(_mm256_and_si256(v, (c)->nibble), 4)
#define differs(v, c) (v)
#define differs8(v, c) _mm256_xor_si256(_mm256_and_si256(v, (c)->mask), (c)->second)

TARGET(FEATURES)
INLINE __m256i twice(__m256i v)
{
    return _mm256_add_epi8(v, v);
}

TARGET(FEATURES)
INLINE void fill(constants *c, const rules *r)
{
    c->low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)r->nibbles[0]));
    c->high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)r->nibbles[1]));
    c->nibble = _mm256_set1_epi8(0x0f);
    c->mask = _mm256_set1_epi8((char)r->mask), c->second = _mm256_set1_epi8((char)((r->t & r->mask) ^ r->u));
}

#include "lanes256.h"
#include "lanes.h"
#endif
