// SPDX-License-Identifier: Apache-2.0
//
// The rules of a call from its secrets: what the kernels would otherwise work out for every block.

#include <string.h>

#include "scan.h"

static uint64_t word_at(const uint8_t *p)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

static const char *check_lengths(const rules *r)
{
    if (r->mask_bits > 8 || r->minimum < HASH_WINDOW || r->normal < r->minimum || r->maximum < r->normal ||
        r->maximum > PTRDIFF_MAX / 2 || r->maximum > MOST_HELD * r->minimum || r->strict > r->loose)
        return "the parameters of the chunker contradict each other";
    return NULL;
}

// Two tables of the map by nibbles, with a constant that makes G zero where it would be t. The sum of a constant's eight
// terms is a map with ones on its diagonal and nothing above, so there is one such constant.
static void fill_nibbles(rules *r)
{
    uint8_t constant = 0;
    for (int bit = 0; bit < 8; bit++) {
        uint8_t sum = 0;
        for (int term = 0; term < 8; term++)
            sum ^= (uint8_t)(constant << term);
        constant ^= (sum ^ r->t) & (1 << bit);
    }
    for (int i = 0; i < 16; i++) {
        r->nibbles[0][i] = r->image[i] ^ constant;
        r->nibbles[1][i] = r->image[i << 4];
    }
}

// Returns the matrix of the map whose images of single bits are given, as GFNI wants it: byte 7 - r is row r.
static uint64_t matrix_of(const uint8_t images[8])
{
    uint64_t matrix = 0;
    for (int row = 0; row < 8; row++)
        for (int bit = 0; bit < 8; bit++)
            matrix |= (uint64_t)(images[bit] >> row & 1) << (8 * (7 - row) + bit);
    return matrix;
}

// Matrices for processors that have an instruction for a linear map of bytes. They sum the bytes themselves: with
// N = A^-1 S A, where S is the shift by one bit, G = A H for H(i) = b[i] + N b[i-1] + N^2 b[i-2] + ... So one map a
// doubling is enough, and none is needed at the start.
static void fill_matrices(rules *r)
{
    uint8_t images[8];
    for (int power = 0; power < 3; power++) {
        for (int bit = 0; bit < 8; bit++)
            images[bit] = r->preimage[(uint8_t)(r->image[1 << bit] << (1 << power))];
        r->by[power] = matrix_of(images);
    }
    for (int bit = 0; bit < 8; bit++)
        images[bit] = r->image[1 << bit] & r->mask;
    r->low = matrix_of(images);
}

const char *prepare_two_stage(rules *r, const uint8_t sip_key[16], const uint8_t table[256], uint8_t t, uint8_t u)
{
    uint8_t seen[256] = {0};
    for (int byte = 0; byte < 256; byte++) {
        const int lowest = byte & -byte;
        if (table[byte] != (table[lowest] ^ table[byte ^ lowest]) || seen[table[byte]]++)
            return "a secret of the chunker is not a linear, invertible map";
        r->image[byte] = table[byte];
        r->preimage[table[byte]] = (uint8_t)byte;
    }
    r->k0 = word_at(sip_key);
    r->k1 = word_at(sip_key + 8);
    r->mask = (uint8_t)((1u << r->mask_bits) - 1);
    r->t = t;
    r->u = u & r->mask;
    fill_nibbles(r);
    fill_matrices(r);
    return check_lengths(r);
}

// AES-128, FIPS 197: the key's eleven round keys.
const char *prepare_aes(rules *r, const uint8_t key[16])
{
    uint8_t words[44][4], constant = 1;
    memcpy(words, key, 16);
    for (int i = 4; i < 44; i++) {
        const uint8_t *last = words[i - 1];
        uint8_t next[4] = {last[0], last[1], last[2], last[3]};
        if (i % 4 == 0) {
            next[0] = aes_sbox[last[1]] ^ constant, next[1] = aes_sbox[last[2]];
            next[2] = aes_sbox[last[3]], next[3] = aes_sbox[last[0]];
            constant = (uint8_t)(constant << 1 ^ (constant >> 7) * 0x1b);
        }
        for (int j = 0; j < 4; j++)
            words[i][j] = words[i - 4][j] ^ next[j];
    }
    for (int round = 0; round < 11; round++)
        for (int copy = 0; copy < 4; copy++)
            memcpy(r->round_keys[round] + 16 * copy, words + 4 * round, 16);
    for (int byte = 0; byte < 256; byte++) {
        const uint32_t once = aes_sbox[byte], twice = (once << 1 ^ (once >> 7) * 0x1b) & 0xff;
        r->round_table[byte] = twice | once << 8 | once << 16 | (twice ^ once) << 24;
    }
    return check_lengths(r);
}
