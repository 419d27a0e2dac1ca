// SPDX-License-Identifier: Apache-2.0
//
// The filter of two-stage with NEON, which every 64-bit Arm has: the secret map by two table look-ups.

#include "scan.h"

#ifdef HAVE_NEON
#include <arm_neon.h>

#define MARK mark_neon
#define FEATURES "+simd"
#define LANES 1
typedef uint8x16_t vec;

typedef struct {
    vec low, high, nibble, mask, second;
} constants;

#define load(p, stride) vld1q_u8(p)
#define either(v, w) veorq_u8(v, w)
#define both(v, w) vorrq_u8(v, w)
#define least(v, w) vminq_u8(v, w)
#define behind(v, before, n) vextq_u8(before, v, 16 - (n))
#define enter(v, c) veorq_u8(vqtbl1q_u8((c)->low, vandq_u8(v, (c)->nibble)), vqtbl1q_u8((c)->high, vshrq_n_u8(v, 4)))
#define times1(v, c) vshlq_n_u8(v, 1)
#define times2(v, c) vshlq_n_u8(v, 2)
#define times4(v, c) vshlq_n_u8(v, 4)
#define differs(v, c) (v)
#define differs8(v, c) veorq_u8(vandq_u8(v, (c)->mask), (c)->second)
#define none_zero(v) (vminvq_u8(v) != 0)

INLINE void zeros(vec a, vec b, vec c, vec d, uint64_t *out)
{
    // Each byte's own bit, then three sums of neighbors: 64 bytes become 64 bits in their order.
    const vec bit = vcombine_u8(vcreate_u8(0x8040201008040201), vcreate_u8(0x8040201008040201));
    const vec ab = vpaddq_u8(vandq_u8(vceqzq_u8(a), bit), vandq_u8(vceqzq_u8(b), bit));
    const vec cd = vpaddq_u8(vandq_u8(vceqzq_u8(c), bit), vandq_u8(vceqzq_u8(d), bit));
    const vec all = vpaddq_u8(ab, cd);
    out[0] = vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}

INLINE void fill(constants *c, const rules *r)
{
    c->low = vld1q_u8(r->nibbles[0]), c->high = vld1q_u8(r->nibbles[1]);
    c->nibble = vdupq_n_u8(0x0f);
    c->mask = vdupq_n_u8(r->mask), c->second = vdupq_n_u8((r->t & r->mask) ^ r->u);
}

#include "lanes.h"
#endif
