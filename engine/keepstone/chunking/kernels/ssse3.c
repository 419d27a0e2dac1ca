// SPDX-License-Identifier: Apache-2.0
//
// The filter of two-stage with SSSE3: the secret map by two byte shuffles.

#include "scan.h"

#ifdef HAVE_X86
#include "x86.h"

#define MARK mark_ssse3
#define FEATURES "ssse3"
#define LANES 1
typedef __m128i vec;

typedef struct {
    vec low, high, nibble, mask, second;
} constants;

#define load(p, stride) _mm_loadu_si128((const __m128i *)(p))
#define either(v, w) _mm_xor_si128(v, w)
#define both(v, w) _mm_or_si128(v, w)
#define least(v, w) _mm_min_epu8(v, w)
#define behind(v, before, n) _mm_alignr_epi8(v, before, 16 - (n))
#define enter(v, c)                                                                                                   \
    _mm_xor_si128(_mm_shuffle_epi8((c)->low, _mm_and_si128(v, (c)->nibble)),                                          \
                  _mm_shuffle_epi8((c)->high, _mm_and_si128(_mm_srli_epi16(v, 4), (c)->nibble)))
#define times1(v, c) twice(v)
#define times2(v, c) twice(twice(v))
#define times4(v, c) _mm_slli_epi16(_mm_and_si128(v, (c)->nibble), 4)
#define differs(v, c) (v)
#define differs8(v, c) _mm_xor_si128(_mm_and_si128(v, (c)->mask), (c)->second)

TARGET(FEATURES)
INLINE vec twice(vec v)
{
    return _mm_add_epi8(v, v);
}

TARGET(FEATURES)
INLINE int none_zero(vec v)
{
    return !_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128()));
}

TARGET(FEATURES)
INLINE uint64_t zero_bytes(vec v)
{
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128()));
}

TARGET(FEATURES)
INLINE void zeros(vec a, vec b, vec c, vec d, uint64_t *out)
{
    out[0] = zero_bytes(a) | zero_bytes(b) << 16 | zero_bytes(c) << 32 | zero_bytes(d) << 48;
}

TARGET(FEATURES)
INLINE void fill(constants *c, const rules *r)
{
    c->low = load(r->nibbles[0], 0), c->high = load(r->nibbles[1], 0);
    c->nibble = _mm_set1_epi8(0x0f);
    c->mask = _mm_set1_epi8((char)r->mask), c->second = _mm_set1_epi8((char)((r->t & r->mask) ^ r->u));
}

#include "lanes.h"
#endif
