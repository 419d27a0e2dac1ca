// SPDX-License-Identifier: Apache-2.0
//
// What lanes.h asks of a vector of 256 bits, whatever the secret map is made of. Included by kernels alone.

#define LANES 2
typedef __m256i vec;

#define either(v, w) _mm256_xor_si256(v, w)
#define both(v, w) _mm256_or_si256(v, w)
#define least(v, w) _mm256_min_epu8(v, w)
#define behind(v, before, n) _mm256_alignr_epi8(v, before, 16 - (n))

TARGET(FEATURES)
INLINE vec load(const uint8_t *p, size_t stride)
{
    const __m128i first = _mm_loadu_si128((const __m128i *)p);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first), _mm_loadu_si128((const __m128i *)(p + stride)), 1);
}

TARGET(FEATURES)
INLINE uint32_t zero_bytes(vec v)
{
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_setzero_si256()));
}

TARGET(FEATURES)
INLINE int none_zero(vec v)
{
    return !zero_bytes(v);
}

TARGET(FEATURES)
INLINE void zeros(vec a, vec b, vec c, vec d, uint64_t *out)
{
    const uint64_t low = zero_bytes(a) | (uint64_t)zero_bytes(c) << 32;
    const uint64_t high = zero_bytes(b) | (uint64_t)zero_bytes(d) << 32;
    const uint64_t first = 0x0000ffff0000ffff;
    out[0] = (low & first) | (high & first) << 16;
    out[1] = (low & ~first) >> 16 | (high & ~first);
}
