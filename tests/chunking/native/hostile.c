// SPDX-License-Identifier: Apache-2.0
//
// Counts the work of scans of data that somebody made to be slow, and prints it: what no clock is needed for.
//
// Build with COUNT_WORK. For each kind of data the luckiest of many keys is taken, so this is more than an adversary
// can do who does not know the key. Lines: algorithm, kind, positions, candidates, hashes, held.

#include "material.h"

#define LENGTH 40000
#define KEYS 300

typedef void maker(uint8_t *data, uint64_t number);

static void alike(uint8_t *data, uint64_t number)
{
    memset(data, (int)number, LENGTH);
}

static void periodic(uint8_t *data, uint64_t number)
{
    const size_t period = 1 + number % 64;
    for (size_t i = 0; i < LENGTH; i++)
        data[i] = i < period ? (uint8_t)draw() : data[i - period];
}

static void line(uint8_t *data, uint64_t number)
{
    char text[80];
    const int length = snprintf(text, sizeof text, "2024-05-06, 17:18 - Someone %u: a message\n", (unsigned)number);
    for (size_t i = 0; i < LENGTH; i++)
        data[i] = (uint8_t)text[i % (size_t)length];
}

// Two bytes in turn, each so often that G stands still for a while.
static void runs(uint8_t *data, uint64_t number)
{
    const uint8_t a = (uint8_t)draw(), b = (uint8_t)draw();
    const size_t each = 9 + number % 24;
    for (size_t i = 0; i < LENGTH; i++)
        data[i] = i / each % 2 ? a : b;
}

static void noise(uint8_t *data, uint64_t number)
{
    (void)number;
    for (size_t i = 0; i < LENGTH; i++)
        data[i] = (uint8_t)draw();
}

// With the key, for comparison: of the periods of 16 bytes, the one with most candidates in many trials.
static uint8_t densest[16];

static void known_key(uint8_t *data, uint64_t number)
{
    (void)number;
    for (size_t i = 0; i < LENGTH; i++)
        data[i] = densest[i % 16];
}

static uint64_t cost(const work *w) // a hash takes about as long as a visit to four candidates
{
    return w->candidates + 4 * w->hashes;
}

int main(void)
{
    static const struct {
        const char *name;
        maker *make;
    } kinds[] = {{"noise", noise}, {"alike", alike}, {"periodic", periodic}, {"line", line}, {"runs", runs},
                 {"known-key", known_key}};
    static uint8_t data[LENGTH];
    static size_t ends[LENGTH / 64 + 1];
    static rules r;

    for (int aes = 0; aes < 2; aes++) {
        const kernel *k = kernel_named(aes ? "scalar" : "plain", aes);
        for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
            work worst = {0, 0, 0, 0};
            for (unsigned number = 0; number < (aes ? KEYS / 10 : 4 * KEYS); number++) {
                keys secret = draw_keys();
                set_mean(&r, 12 + number % 2);
                if (kinds[kind].make == known_key)
                    secret.u = secret.t ^ 1;
                prepare(&r, k, &secret);
                if (kinds[kind].make == known_key) {
                    // b with A b = t + 2 t, eight times: G becomes t and stays; then a byte for which it does not.
                    const uint8_t still = r.preimage[(uint8_t)(r.t ^ r.t << 1)];
                    memset(densest, still, 16);
                    for (int i = 0; i < 8; i++)
                        densest[i] = (uint8_t)draw();
                }
                kinds[kind].make(data, number);
                memset(&counted, 0, sizeof counted);
                scan(k, data, LENGTH, 1, &r, ends);
                if (cost(&counted) * (worst.positions + 1) >= cost(&worst) * (counted.positions + 1))
                    worst = counted;
            }
            printf("%s %s %llu %llu %llu %llu\n", aes ? "aes" : "two-stage", kinds[kind].name,
                   (unsigned long long)worst.positions, (unsigned long long)worst.candidates,
                   (unsigned long long)worst.hashes, (unsigned long long)worst.held);
        }
    }
    return 0;
}
