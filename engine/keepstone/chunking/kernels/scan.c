// SPDX-License-Identifier: Apache-2.0
//
// The cut rule of both algorithms: the same cuts as oracle.py, fast.
//
// A kernel marks a block of positions at once, and only then does a loop look at the candidates, one position in 512 to
// 4096. What would slow that loop down on hostile data is bounded: of equal windows one is hashed, and of the
// candidates that can still become a forced cut at most MOST_HELD are held, so no byte is looked at twice.

#include <string.h>

#include "scan.h"

#ifdef COUNT_WORK
work counted;
#endif

// A candidate that was not cut, kept for the case that the maximum is reached.
typedef struct {
    size_t end;
    uint64_t hash;
} candidate;

#define KNOWN 16 // a power of two; hashes that are remembered

// Hashes of earlier windows. Data of a period has candidates at the same few phases over and over.
typedef struct {
    const uint8_t *end; // of a window in the data of this call, or NULL
    uint64_t hash;
} known;

static inline uint64_t word_at(const uint8_t *p)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t value;
    memcpy(&value, p, 8);
    return value;
#else
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
#endif
}

static inline int lowest_bit(uint64_t word)
{
#ifdef __GNUC__
    return __builtin_ctzll(word);
#else
    int bit = 0;
    for (; !(word & 1); word >>= 1)
        bit++;
    return bit;
#endif
}

static inline uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

#define SIP_ROUND                                                                                                     \
    (v0 += v1, v2 += v3, v1 = rotate(v1, 13) ^ v0, v3 = rotate(v3, 16) ^ v2, v0 = rotate(v0, 32), v2 += v1, v0 += v3,  \
     v1 = rotate(v1, 17) ^ v2, v3 = rotate(v3, 21) ^ v0, v2 = rotate(v2, 32))
#define SIP_WORD(word) (v3 ^= (word), SIP_ROUND, v0 ^= (word))

// Returns SipHash-1-3 of the HASH_WINDOW bytes before `end`.
static inline uint64_t sip_hash(const uint8_t *end, const rules *r)
{
    uint64_t v0 = r->k0 ^ 0x736f6d6570736575, v1 = r->k1 ^ 0x646f72616e646f6d;
    uint64_t v2 = r->k0 ^ 0x6c7967656e657261, v3 = r->k1 ^ 0x7465646279746573;
    const uint8_t *p = end - HASH_WINDOW;
    COUNT(hashes, 1);
    SIP_WORD(word_at(p));
    SIP_WORD(word_at(p + 8));
    SIP_WORD(word_at(p + 16));
    SIP_WORD(word_at(p + 24));
    SIP_WORD(word_at(p + 32));
    SIP_WORD(word_at(p + 40));
    SIP_WORD(word_at(p + 48));
    SIP_WORD(word_at(p + 56));
    SIP_WORD((uint64_t)HASH_WINDOW << 56);
    v2 ^= 0xff;
    SIP_ROUND, SIP_ROUND, SIP_ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

// Returns the decision hash of the window before `end`, from memory if the same bytes were hashed a short while ago.
static inline uint64_t decision(const uint8_t *end, const rules *r, known *memory)
{
    known *place = memory + (word_at(end - 16) * 0x9e3779b97f4a7c15 >> 60) % KNOWN;
    if (place->end && !memcmp(place->end - HASH_WINDOW, end - HASH_WINDOW, HASH_WINDOW))
        return place->hash;
    place->end = end;
    return place->hash = sip_hash(end, r);
}

// Adds a candidate to those held and returns how many are held then, at most maximum / minimum.
//
// held[0] is the earliest candidate with the least hash of its chunk, and held[i + 1] is that of the chunk that would
// begin at held[i]. So hashes do not fall, neighbors are at least the minimum apart, and no byte is looked at
// twice, whatever the data.
static size_t hold(candidate *held, size_t count, candidate new, size_t minimum)
{
    while (count && held[count - 1].hash > new.hash)
        count--;
    if (!count || new.end - held[count - 1].end >= minimum) {
        held[count++] = new;
        COUNT(held, 1);
    }
    return count;
}

// Returns the length of the blocks to mark. What is marked behind a cut is lost, so blocks are short where chunks are.
static size_t block_for(const kernel *k, const rules *r)
{
    size_t block = r->minimum / 2 / UNIT * UNIT;
    if (block > k->block)
        block = k->block;
    return block < UNIT ? UNIT : block;
}

// Marks up to `n` positions from data[at], as many as there are before `length` at least if n is not less. Returns what
// the kernel returns. The end of the data is marked in a copy, so that no kernel reads what lies behind.
static uint64_t mark(const kernel *k, const uint8_t *data, size_t at, size_t length, size_t *n, const rules *r,
                     uint64_t *marks, uint64_t *values)
{
    const size_t left = length - at;
    if (left >= UNIT) {
        size_t whole = left / UNIT * UNIT, wanted = (*n + UNIT - 1) / UNIT * UNIT;
        size_t block = wanted < whole ? wanted : whole;
        if (*n > block)
            *n = block;
        COUNT(positions, block);
        return k->mark(data + at, block, r, marks, values);
    }
    uint8_t copy[BEFORE + UNIT] = {0};
    memcpy(copy, data + at - BEFORE, BEFORE + left);
    COUNT(positions, UNIT);
    return k->mark(copy + BEFORE, UNIT, r, marks, values);
}

size_t scan(const kernel *k, const uint8_t *data, size_t length, int final, const rules *r, size_t *ends)
{
    uint64_t marks[MOST_BLOCK / 64], values[AES_BLOCK];
    known memory[KNOWN] = {{NULL, 0}};
    candidate held[MOST_HELD];
    size_t holding = 0, found = 0, start = 0;
    size_t at = r->minimum - 1; // the next position to look at
    const size_t block = block_for(k, r);
    const unsigned density = 8 + r->mask_bits;

    for (;;) {
        const size_t stop = length - start < r->maximum ? length : start + r->maximum;
        size_t cut = 0;

        while (at < stop && !cut) {
            size_t n = stop - at < block ? stop - at : block;
            uint64_t words = mark(k, data, at, length, &n, r, marks, values);
            for (; words && !cut; words &= words - 1) {
                const size_t base = (size_t)lowest_bit(words) * 64;
                for (uint64_t bits = marks[base / 64]; bits; bits &= bits - 1) {
                    const size_t i = base + (size_t)lowest_bit(bits);
                    if (i >= n)
                        break;
                    COUNT(candidates, 1);
                    candidate here = {at + i + 1, 0};
                    here.hash = k->aes ? values[i] << density : decision(data + here.end, r, memory);
                    if (here.hash < (here.end - start <= r->normal ? r->strict : r->loose)) {
                        cut = here.end;
                        break;
                    }
                    holding = hold(held, holding, here, r->minimum);
                }
            }
            at += n;
        }
        if (cut) {
            holding = 0;
            at = cut;
        } else if (length - start < r->maximum) {
            break;
        } else if (holding) {
            // What lies between this cut and `at` was refused by a threshold at least as high as the one that the
            // next chunk has there, so the scan goes on at `at` with the candidates that are still held.
            cut = held[0].end;
            memmove(held, held + 1, --holding * sizeof *held);
        } else {
            cut = stop;
        }
        ends[found++] = start = cut;
        if (at < start + r->minimum - 1)
            at = start + r->minimum - 1;
    }
    if (final && start < length)
        ends[found++] = length;
    return found;
}
