// SPDX-License-Identifier: Apache-2.0
//
// Every kernel of this build, and whether this processor can run it.

#include "scan.h"

#if defined(HAVE_X86) && !defined(EMULATE)
#include <cpuid.h>

enum { SSSE3 = 1, AES = 2, AVX2 = 4, GFNI = 8, VAES = 16, AVX512 = 32, VBMI = 64 };

// Returns what the processor has, and the system saves: vectors whose registers it does not save are not there.
static int features(void)
{
    unsigned a, b, c, d, saved = 0;
    int found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    found |= (c & bit_SSSE3 ? SSSE3 : 0) | (c & bit_AES ? AES : 0);
    if (c & bit_OSXSAVE)
        __asm__("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
    if ((saved & 0x06) != 0x06 || !(c & bit_AVX) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 5))
        return found;
    found |= AVX2 | (c & 1u << 8 ? GFNI : 0) | (c & 1u << 9 ? VAES : 0);
    const unsigned f_bw_vl = 1u << 16 | 1u << 30 | 1u << 31;
    if ((saved & 0xe6) == 0xe6 && (b & f_bw_vl) == f_bw_vl)
        found |= AVX512 | (c & 1u << 1 ? VBMI : 0);
    return found;
}

#define NEEDS(name, set)                                                                                              \
    static int name(void)                                                                                             \
    {                                                                                                                 \
        return (features() & (set)) == (set);                                                                         \
    }
NEEDS(has_ssse3, SSSE3)
NEEDS(has_avx2, AVX2)
NEEDS(has_avx2_gfni, AVX2 | GFNI)
NEEDS(has_avx512_gfni, AVX512 | GFNI)
NEEDS(has_aesni, AES)
NEEDS(has_vaes, AVX2 | VAES)
NEEDS(has_vaes512, AVX512 | VBMI | VAES)
#elif defined(HAVE_X86)
#define has_ssse3 NULL
#define has_avx2 NULL
#define has_avx2_gfni NULL
#define has_avx512_gfni NULL
#define has_aesni NULL
#define has_vaes NULL
#define has_vaes512 NULL
#endif

#ifdef HAVE_NEON_AES
#ifdef __linux__
#include <sys/auxv.h>

static int has_neon_aes(void)
{
    return (getauxval(AT_HWCAP) & 1u << 3) != 0; // HWCAP_AES
}
#else
#define has_neon_aes NULL
#endif
#endif

// Where the compiler has vectors of its own for a plain loop, the loops of `scalar` are fast; elsewhere `plain` is.
#if defined(__SSE2__) || defined(__ARM_NEON) || defined(__ALTIVEC__) || defined(__riscv_vector) || defined(_M_X64)
#define PLAIN_LOOPS {"scalar", mark_scalar, NULL, 1024, 0}, {"plain", mark_plain, NULL, MOST_BLOCK, 0}
#else
#define PLAIN_LOOPS {"plain", mark_plain, NULL, MOST_BLOCK, 0}, {"scalar", mark_scalar, NULL, 1024, 0}
#endif

const kernel kernels[] = {
#ifdef HAVE_X86
    {"avx512-gfni", mark_avx512_gfni, has_avx512_gfni, MOST_BLOCK, 0},
    {"avx2-gfni", mark_avx2_gfni, has_avx2_gfni, MOST_BLOCK, 0},
    {"avx2", mark_avx2, has_avx2, MOST_BLOCK, 0},
    {"ssse3", mark_ssse3, has_ssse3, MOST_BLOCK, 0},
#endif
#ifdef HAVE_NEON
    {"neon", mark_neon, NULL, MOST_BLOCK, 0},
#endif
    PLAIN_LOOPS,
#ifdef HAVE_X86
    {"vaes512", mark_vaes512, has_vaes512, AES_BLOCK, 1},
    {"vaes", mark_vaes, has_vaes, AES_BLOCK, 1},
    {"aesni", mark_aesni, has_aesni, AES_BLOCK, 1},
#endif
#ifdef HAVE_NEON_AES
    {"neon-aes", mark_neon_aes, has_neon_aes, AES_BLOCK, 1},
#endif
    {"scalar", mark_aes_scalar, NULL, AES_BLOCK, 1},
    {NULL, NULL, NULL, 0, 0},
};
