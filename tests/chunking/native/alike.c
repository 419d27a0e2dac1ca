// SPDX-License-Identifier: Apache-2.0
//
// Compares the kernels of this build that run here with the simplest ones: cuts of hostile data of every length, in
// buffers of exactly that size, so that a sanitizer sees each byte read outside.
//
// alike ROUNDS [KERNEL...]: prints each kernel and how many scans were alike; with names, those kernels must be there.

#include "material.h"

static uint8_t *data_of(size_t length)
{
    uint8_t *data = malloc(length ? length : 1);
    const uint64_t kind = up_to(7), period = kind == 6 ? 1 + up_to(64) : 1 + up_to(3000);
    for (size_t i = 0; i < length; i++) {
        switch (kind) {
        case 0: data[i] = 0; break;
        case 1: data[i] = (uint8_t)draw() & 1; break;
        case 2: data[i] = (uint8_t)(97 + (draw() & 3)); break;
        case 3: case 4: data[i] = (uint8_t)draw(); break;
        default: data[i] = i < period ? (uint8_t)draw() : data[i - period];
        }
    }
    for (uint64_t changes = up_to(4); length && changes; changes--)
        data[up_to(length - 1)] = (uint8_t)draw();
    return data;
}

static void set_rules(rules *r)
{
    static const uint64_t thresholds[][2] = {{0, 0}, {1ull << 58, 1ull << 58}, {UINT64_MAX, UINT64_MAX},
                                             {1ull << 58, 1ull << 62}, {0, 1ull << 60}, {0, UINT64_MAX}};
    static const size_t factors[] = {1, 2, 5, 16};
    const size_t chosen = up_to(5), factor = factors[up_to(3)];
    if (up_to(3) == 0) {
        set_mean(r, 12 + (unsigned)up_to(2));
        return;
    }
    r->minimum = 64 + up_to(2) * up_to(500), r->maximum = r->minimum * factor;
    r->normal = r->minimum * (factor + 1) / 2;
    r->mask_bits = (unsigned)up_to(8);
    r->strict = thresholds[chosen][0], r->loose = thresholds[chosen][1];
}

int main(int argc, char **argv)
{
    const uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    const kernel *simple[2] = {kernel_named("plain", 0), kernel_named("scalar", 1)};
    uint64_t alike[32] = {0}, cuts = 0;
    rules r;

    for (uint64_t round = 0; round < rounds; round++) {
        const size_t length = round % 3 ? up_to(3000) : up_to(40000);
        const int final = (int)up_to(1);
        const keys secret = draw_keys();
        uint8_t *data = data_of(length);
        set_rules(&r);
        size_t *wanted = malloc((length / r.minimum + 1) * sizeof *wanted);
        size_t *found = malloc((length / r.minimum + 1) * sizeof *found);
        for (int aes = 0; aes < 2; aes++) {
            prepare(&r, simple[aes], &secret);
            const size_t count = scan(simple[aes], data, length, final, &r, wanted);
            cuts += count;
            for (const kernel *k = kernels; k->name; k++) {
                if (k->aes != aes || (k->works && !k->works()))
                    continue;
                const size_t other = scan(k, data, length, final, &r, found);
                if (other != count || memcmp(found, wanted, count * sizeof *found)) {
                    printf("%s cuts otherwise in round %llu\n", k->name, (unsigned long long)round);
                    return 1;
                }
                alike[k - kernels]++;
            }
        }
        free(data), free(wanted), free(found);
    }
    for (const kernel *k = kernels; k->name; k++)
        if (!k->works || k->works())
            printf("%s %s: %llu scans alike\n", k->aes ? "aes" : "two-stage", k->name,
                   (unsigned long long)alike[k - kernels]);
    printf("%llu cuts\n", (unsigned long long)cuts);
    for (int i = 2; i < argc; i++) {
        int there = 0;
        for (const kernel *k = kernels; k->name; k++)
            there |= !strcmp(k->name, argv[i]) && alike[k - kernels] == rounds;
        if (!there) {
            printf("%s did not run\n", argv[i]);
            return 3;
        }
    }
    return 0;
}
