// SPDX-License-Identifier: Apache-2.0
//
// Rules and data for the programs of this folder, all from one seed.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"

static uint64_t seed = 88172645463325252u;

static inline uint64_t draw(void) // xorshift64
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1d >> 8;
}

static inline uint64_t up_to(uint64_t most)
{
    return draw() % (most + 1);
}

// Draws the secrets of both algorithms.
typedef struct {
    uint8_t sip_key[16], table[256], t, u, aes_key[16];
} keys;

static inline keys draw_keys(void)
{
    keys k;
    int distinct;
    do {
        uint8_t columns[8], seen[256] = {0};
        distinct = 0;
        for (int bit = 0; bit < 8; bit++)
            columns[bit] = (uint8_t)draw();
        for (int byte = 0; byte < 256; byte++) {
            k.table[byte] = 0;
            for (int bit = 0; bit < 8; bit++)
                k.table[byte] ^= byte >> bit & 1 ? columns[bit] : 0;
            distinct += !seen[k.table[byte]]++;
        }
    } while (distinct < 256);
    for (int i = 0; i < 16; i++)
        k.sip_key[i] = (uint8_t)draw(), k.aes_key[i] = (uint8_t)draw();
    k.t = (uint8_t)draw();
    k.u = (uint8_t)((draw() & 0xfe) | (~k.t & 1));
    return k;
}

// Sets the lengths and thresholds of a mean, as parameters.py does.
static inline void set_mean(rules *r, unsigned exponent)
{
    const size_t mean = (size_t)1 << exponent;
    const unsigned density = exponent < 11 ? 8 : exponent > 15 ? 12 : exponent - 3;
    r->minimum = mean / 4, r->normal = mean / 64 * 53, r->maximum = mean * 4;
    r->mask_bits = density - 8;
    r->strict = (uint64_t)1 << (64 + density - exponent - 2);
    r->loose = (uint64_t)1 << (64 + density - exponent + 2);
}

static inline void prepare(rules *r, const kernel *k, const keys *of)
{
    const char *wrong = k->aes ? prepare_aes(r, of->aes_key) : prepare_two_stage(r, of->sip_key, of->table, of->t, of->u);
    if (wrong) {
        fprintf(stderr, "%s\n", wrong);
        exit(2);
    }
}

static inline const kernel *kernel_named(const char *name, int aes)
{
    for (const kernel *k = kernels; k->name; k++)
        if (k->aes == aes && !strcmp(k->name, name))
            return k;
    fprintf(stderr, "there is no kernel %s\n", name);
    exit(2);
}
