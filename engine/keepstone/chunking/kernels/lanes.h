// SPDX-License-Identifier: Apache-2.0
//
// The filter of two-stage in vectors of 16-byte lanes. A kernel includes this once, after it has defined its vectors:
//
//   vec, LANES             a vector, and how many lanes it has
//   FEATURES               what TARGET takes
//   load(p, stride)        16 bytes from p, p + stride ..., one run a lane
//   enter(v, c)            the terms of the sum G, one for each byte
//   times1, 2, 4(v, c)     a term shifted on by so many positions
//   behind(v, before, n)   in each lane, v moved up by n bytes, with the last n of `before` below
//   differs(v, c)          zero where v, which is G, is what the first condition asks for
//   differs8(v, c)         the same for the second condition, whose v is G of eight positions ago
//   least(v, w), either(v, w), none_zero(v)
//   zeros(a, b, c, d, out) for each lane 64 bits: which bytes of four vectors are zero
//   constants, fill(c, r)  what stays the same all the time
//
// Each lane goes through a part of the block of its own. So a shift across vectors needs the vector before and nothing
// more, and log-doubling (1, 2, 4 positions) makes eight terms of one.

typedef struct {
    vec a, b, c, g; // the last vector of each stage
} carried;

// Returns a vector that is zero where a position is a candidate.
TARGET(FEATURES)
INLINE vec step(vec bytes, carried *last, const constants *c)
{
    const vec one = enter(bytes, c);
    const vec two = either(one, times1(behind(one, last->a, 1), c));
    const vec four = either(two, times2(behind(two, last->b, 2), c));
    const vec eight = either(four, times4(behind(four, last->c, 4), c));
    const vec z = both(differs(eight, c), differs8(behind(eight, last->g, 8), c));
    last->a = one, last->b = two, last->c = four, last->g = eight;
    return z;
}

TARGET(FEATURES)
uint64_t MARK(const uint8_t *data, size_t n, const rules *r, uint64_t *marks, uint64_t *values)
{
    const size_t stride = n / LANES;
    uint64_t words = 0;
    constants c;
    carried last;

    (void)values;
    fill(&c, r);
    // The stages of the 16 bytes before the block, as far as they matter: G of the last eight is whole.
    last.a = last.b = last.c = last.g = enter(load(data - BEFORE, stride), &c);
    step(load(data - BEFORE, stride), &last, &c);

    for (size_t j = 0; j < stride; j += 64) {
        for (size_t line = 0; line < LANES; line++)
            WILL_READ(data + n + AHEAD + LANES * j + 64 * line);
        const vec z0 = step(load(data + j, stride), &last, &c);
        const vec z1 = step(load(data + j + 16, stride), &last, &c);
        const vec z2 = step(load(data + j + 32, stride), &last, &c);
        const vec z3 = step(load(data + j + 48, stride), &last, &c);
        if (none_zero(least(least(z0, z1), least(z2, z3))))
            continue;
        uint64_t found[LANES];
        zeros(z0, z1, z2, z3, found);
        for (size_t lane = 0; lane < LANES; lane++) {
            const size_t word = (lane * stride + j) / 64;
            marks[word] = found[lane];
            words |= (uint64_t)(found[lane] != 0) << word;
        }
    }
    return words;
}
