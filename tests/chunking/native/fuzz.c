// SPDX-License-Identifier: Apache-2.0
//
// A target for libFuzzer: bytes become rules and data, and all kernels that run here must cut alike.
//
//   clang -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I KERNELS fuzz.c KERNELS/*.c -o fuzz
//   ./fuzz -max_len=20000 FOLDER

#include "material.h"

#define HEAD 16

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static const size_t factors[] = {1, 2, 5, 16};
    rules r;
    if (size < HEAD)
        return 0;
    seed = 0;
    memcpy(&seed, input, 4);
    seed = seed * 2 + 1; // never zero, where xorshift stands still
    const keys secret = draw_keys();
    r.minimum = 64 + input[4] % 64 * 8u, r.maximum = r.minimum * factors[input[5] % 4];
    r.normal = r.minimum + (r.maximum - r.minimum) * (input[6] % 9) / 8;
    r.mask_bits = input[7] % 9;
    r.loose = input[8] ? UINT64_MAX >> input[8] % 64 : 0;
    r.strict = input[9] ? r.loose >> input[9] % 64 : 0;

    const size_t length = size - HEAD;
    uint8_t *data = malloc(length ? length : 1); // so that the sanitizer sees both ends
    memcpy(data, input + HEAD, length);
    size_t *wanted = malloc((length / r.minimum + 1) * sizeof *wanted);
    size_t *found = malloc((length / r.minimum + 1) * sizeof *found);
    for (int aes = 0; aes < 2; aes++) {
        const kernel *simple = kernel_named(aes ? "scalar" : "plain", aes);
        prepare(&r, simple, &secret);
        const size_t count = scan(simple, data, length, input[10] & 1, &r, wanted);
        for (const kernel *k = kernels; k->name; k++) {
            if (k->aes != aes || k == simple || (k->works && !k->works()))
                continue;
            if (scan(k, data, length, input[10] & 1, &r, found) != count ||
                memcmp(found, wanted, count * sizeof *found)) {
                fprintf(stderr, "%s cuts otherwise\n", k->name);
                abort();
            }
        }
        for (size_t i = 0; i < count; i++)
            if (wanted[i] > length || wanted[i] <= (i ? wanted[i - 1] : 0))
                abort();
    }
    free(data), free(wanted), free(found);
    return 0;
}
