// SPDX-License-Identifier: Apache-2.0
//
// The filter of two-stage with AVX2 and GFNI, whose affine instruction is any linear map of bytes.

#include "scan.h"

#ifdef HAVE_X86
#include "x86.h"

#define MARK mark_avx2_gfni
#define FEATURES "avx2,gfni"

typedef struct {
    __m256i by1, by2, by4, low, first, second;
} constants;

#define enter(v, c) (v)
#define times1(v, c) _mm256_gf2p8affine_epi64_epi8(v, (c)->by1, 0)
#define times2(v, c) _mm256_gf2p8affine_epi64_epi8(v, (c)->by2, 0)
#define times4(v, c) _mm256_gf2p8affine_epi64_epi8(v, (c)->by4, 0)
#define differs(v, c) _mm256_xor_si256(v, (c)->first)
#define differs8(v, c) _mm256_xor_si256(_mm256_gf2p8affine_epi64_epi8(v, (c)->low, 0), (c)->second)

TARGET(FEATURES)
INLINE void fill(constants *c, const rules *r)
{
    c->by1 = _mm256_set1_epi64x((long long)r->by[0]);
    c->by2 = _mm256_set1_epi64x((long long)r->by[1]);
    c->by4 = _mm256_set1_epi64x((long long)r->by[2]);
    c->low = _mm256_set1_epi64x((long long)r->low);
    c->first = _mm256_set1_epi8((char)r->preimage[r->t]), c->second = _mm256_set1_epi8((char)r->u);
}

#include "lanes256.h"
#include "lanes.h"
#endif
