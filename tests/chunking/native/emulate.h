// SPDX-License-Identifier: Apache-2.0
//
// The intrinsics of processors that are not here, from SIMDe, and those that it lacks from their descriptions: slow,
// and for tests alone.

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/gfni.h>
#include <string.h>

typedef uint64_t __mmask64;
typedef uint32_t __mmask32;

extern const uint8_t aes_sbox[256];

static inline void aes_round(uint8_t state[16], const uint8_t key[16], int last)
{
    uint8_t moved[16];
    for (int i = 0; i < 16; i++)
        moved[i] = aes_sbox[state[(i + i % 4 * 4) % 16]];
    for (int column = 0; column < 16; column += 4)
        for (int row = 0; row < 4; row++) {
            const uint8_t a = moved[column + row], b = moved[column + (row + 1) % 4];
            const uint8_t c = moved[column + (row + 2) % 4], d = moved[column + (row + 3) % 4];
            const uint8_t twice = (uint8_t)((a ^ b) << 1 ^ ((a ^ b) >> 7) * 0x1b);
            state[column + row] = (last ? a : twice ^ b ^ c ^ d) ^ key[column + row];
        }
}

#define AES_OF(type, name, last)                                                                                      \
    static inline type name(type state, type key)                                                                     \
    {                                                                                                                 \
        uint8_t s[sizeof(type)], k[sizeof(type)];                                                                     \
        memcpy(s, &state, sizeof s), memcpy(k, &key, sizeof k);                                                       \
        for (size_t i = 0; i < sizeof s; i += 16)                                                                     \
            aes_round(s + i, k + i, last);                                                                            \
        memcpy(&state, s, sizeof s);                                                                                  \
        return state;                                                                                                 \
    }
AES_OF(__m128i, emulate_aesenc128, 0)
AES_OF(__m128i, emulate_aesenclast128, 1)
AES_OF(__m256i, emulate_aesenc256, 0)
AES_OF(__m256i, emulate_aesenclast256, 1)
AES_OF(__m512i, emulate_aesenc512, 0)
AES_OF(__m512i, emulate_aesenclast512, 1)

// Both vectors in a row, high first, moved down by so many bytes.
static inline __m512i emulate_align(__m512i high, __m512i low, size_t bytes)
{
    uint8_t both[128];
    memcpy(both, &low, 64), memcpy(both + 64, &high, 64);
    memcpy(&low, both + bytes, 64);
    return low;
}

static inline uint64_t emulate_testn(__m512i a, __m512i b)
{
    uint8_t x[64], y[64];
    uint64_t mask = 0;
    memcpy(x, &a, 64), memcpy(y, &b, 64);
    for (int i = 0; i < 64; i++)
        mask |= (uint64_t)((x[i] & y[i]) == 0) << i;
    return mask;
}

static inline __m256i emulate_masked_load(uint32_t mask, const void *p)
{
    uint8_t bytes[32];
    __m256i loaded;
    for (int i = 0; i < 32; i++)
        bytes[i] = mask >> i & 1 ? ((const uint8_t *)p)[i] : 0;
    memcpy(&loaded, bytes, 32);
    return loaded;
}

#define _mm_aesenc_si128 emulate_aesenc128
#define _mm_aesenclast_si128 emulate_aesenclast128
#define _mm256_aesenc_epi128 emulate_aesenc256
#define _mm256_aesenclast_epi128 emulate_aesenclast256
#define _mm512_aesenc_epi128 emulate_aesenc512
#define _mm512_aesenclast_epi128 emulate_aesenclast512
#define _mm512_alignr_epi32(high, low, n) emulate_align(high, low, 4 * (n))
#define _mm512_alignr_epi64(high, low, n) emulate_align(high, low, 8 * (n))
#define _mm512_testn_epi8_mask emulate_testn
#define _mm256_maskz_loadu_epi8 emulate_masked_load
