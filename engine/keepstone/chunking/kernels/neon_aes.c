// SPDX-License-Identifier: Apache-2.0
//
// The values of `aes` with the AES instructions of 64-bit Arm, eight windows in flight.

#include "scan.h"

#ifdef HAVE_NEON_AES
#include <arm_neon.h>

#define FLIGHT 8

#ifndef __ARM_FEATURE_AES
__attribute__((target("+crypto")))
#endif
uint64_t mark_neon_aes(const uint8_t *data, size_t n, const rules *r, uint64_t *marks, uint64_t *values)
{
    const int rest = 64 - 8 - (int)r->mask_bits;
    uint64_t words = 0, found = 0;

    for (size_t i = 0; i < n; i += FLIGHT) {
        uint8x16_t s[FLIGHT];
#pragma GCC unroll 8
        for (int k = 0; k < FLIGHT; k++)
            s[k] = vld1q_u8(data + i - 15 + k);
        // This instruction adds the key before the round, so the last key remains for the end.
#pragma GCC unroll 9
        for (int round = 0; round < 9; round++) {
            const uint8x16_t key = vld1q_u8(r->round_keys[round]);
#pragma GCC unroll 8
            for (int k = 0; k < FLIGHT; k++)
                s[k] = vaesmcq_u8(vaeseq_u8(s[k], key));
        }
        const uint8x16_t ninth = vld1q_u8(r->round_keys[9]), tenth = vld1q_u8(r->round_keys[10]);
        uint64_t bits = 0;
#pragma GCC unroll 8
        for (int k = 0; k < FLIGHT; k++) {
            s[k] = veorq_u8(vaeseq_u8(s[k], ninth), tenth);
            const uint64_t value = vgetq_lane_u64(vreinterpretq_u64_u8(s[k]), 0);
            values[i + k] = value;
            bits |= (uint64_t)(value >> rest == 0) << k;
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
