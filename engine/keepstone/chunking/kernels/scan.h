// SPDX-License-Identifier: Apache-2.0
//
// What the files of the compiled chunker share: the rules of one call, what a kernel is, and the scan.
//
// A kernel marks the candidates of a block of bytes, and nothing else; the cut rule stands once, in scan.c, so kernels
// can differ in speed alone. Nothing here needs the GIL, allocates, or knows of Python.

#ifndef KEEPSTONE_SCAN_H
#define KEEPSTONE_SCAN_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) && !defined(_WIN32)
#pragma GCC visibility push(hidden)
#endif

#define HASH_WINDOW 64
#define BEFORE 16       // a kernel reads so many bytes before the first position of a block, and never more
#define UNIT 256        // a block is a multiple of this
#define MOST_BLOCK 4096 // 64 words of 64 marks: one bit a word in what a kernel returns
#define AES_BLOCK 1024  // the same for kernels of `aes`, which write 8 bytes a position besides
#define MOST_HELD 16    // the largest maximum / minimum

// What decides the cuts; the names are those of parameters.py. Prepared once a call, read by every thread of it.
typedef struct {
    size_t minimum, normal, maximum;
    uint64_t strict, loose;
    unsigned mask_bits;

    // two-stage
    uint64_t k0, k1;
    uint8_t t, u, mask;
    uint8_t image[256], preimage[256]; // the secret map A and its inverse
    uint8_t nibbles[2][16];            // the images of 0 to 15, with a constant, and of 0, 16 ... 240
    uint64_t by[3], low;               // matrices for GFNI: a term moved on by 1, 2, 4 positions; the low bits of A

    // aes: the round keys, each four times over, and one table of the round for machines without AES instructions
    _Alignas(64) uint8_t round_keys[11][64];
    uint32_t round_table[256];
} rules;

// Marks the candidates among the positions data[0..n), where n is a multiple of UNIT up to the kernel's `block`, and
// returns a word whose bit w is set if marks[w] is written and not zero; other marks are not written. Bit i of marks[w]
// stands for position 64 w + i. A kernel of `aes` also writes the value of every position. Reads data[-BEFORE..n) and no
// byte outside.
typedef uint64_t marker(const uint8_t *data, size_t n, const rules *r, uint64_t *marks, uint64_t *values);

typedef struct {
    const char *name;
    marker *mark;
    int (*works)(void); // whether this processor, and the system, can run it; NULL: always
    size_t block;       // the largest block it takes
    int aes;            // which algorithm it belongs to
} kernel;

// All kernels of this build, the faster first within each algorithm; the last has no name.
extern const kernel kernels[];

// Completes rules whose lengths and thresholds are set. Returns NULL, or what is wrong: then no scan is safe with them.
const char *prepare_two_stage(rules *r, const uint8_t sip_key[16], const uint8_t table[256], uint8_t t, uint8_t u);
const char *prepare_aes(rules *r, const uint8_t key[16]);

// Writes the ends of the chunks of data[0..length) that are decided and returns how many they are, at most
// length / minimum + 1. If `final`, the data's end is the last chunk's. Its time is linear in length.
size_t scan(const kernel *k, const uint8_t *data, size_t length, int final, const rules *r, size_t *ends);

extern const uint8_t aes_sbox[256];

// The work of a scan is counted where a test asks for it; the product has no counters.
#ifdef COUNT_WORK
typedef struct {
    uint64_t positions, candidates, hashes, held;
} work;
extern work counted;
#define COUNT(what, by) (counted.what += (by))
#else
#define COUNT(what, by) ((void)0)
#endif

marker mark_plain, mark_scalar, mark_aes_scalar;

// Which kernels a compiler can build. All are in every build that can have them: machine code for a processor is asked
// for function by function (TARGET), so no flag of the compiler is needed, and `works` keeps it from running elsewhere.
// A test may build them for another machine (EMULATE is a header that stands in for the intrinsics).
#if defined(EMULATE)
#define HAVE_X86
#define TARGET(features)
#elif defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 8 : defined(__GNUC__) && __GNUC__ >= 9)
#define HAVE_X86
#define TARGET(features) __attribute__((target(features)))
#elif defined(__aarch64__) && defined(__GNUC__) && !defined(__AARCH64EB__)
#define HAVE_NEON
#define TARGET(features) // NEON is part of every 64-bit Arm
#if defined(__ARM_FEATURE_AES) || (defined(__linux__) && !defined(__clang__) && __GNUC__ >= 9)
#define HAVE_NEON_AES
#endif
#endif

// A kernel asks for the bytes of the next block while it marks this one, and a little further: processors do not read
// ahead well across a page, or for lanes that are apart. Measured on an EPYC 7003 at a mean of 64 KiB, data in DRAM,
// `avx2`: 7.4 GB/s without, 10.3 to 10.7 a block ahead, 11.4 to 11.7 with these 2 KiB more; a read there makes 16.
#define AHEAD 2048
#ifdef __GNUC__
#define WILL_READ(p) __builtin_prefetch(p)
#endif

#ifdef __GNUC__
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#ifdef HAVE_X86
marker mark_ssse3, mark_avx2, mark_avx2_gfni, mark_avx512_gfni, mark_aesni, mark_vaes, mark_vaes512;
#endif
#ifdef HAVE_NEON
marker mark_neon;
#endif
#ifdef HAVE_NEON_AES
marker mark_neon_aes;
#endif

#if defined(__GNUC__) && !defined(_WIN32)
#pragma GCC visibility pop
#endif

#endif
