// SPDX-License-Identifier: Apache-2.0
//
// Published chunkers to compare with, written from their papers:
//
//   fastcdc  Xia, Zou, Jiang, Zhou, Feng, Liu, Zhang: "The design of fast content-defined chunking for data
//            deduplication based storage systems", IEEE TPDS 31(9), 2020; the form that rolls two bytes a step
//   gear     Xia, Jiang, Feng, Tian, Fu, Zhou: "Ddelta: a deduplication-inspired fast delta compression approach",
//            Performance Evaluation 79, 2014
//   ram      Widodo, Lim, Atiquzzaman: "A new content-defined chunking algorithm for data deduplication in cloud
//            storage", Future Generation Computer Systems 71, 2017
//   ae       Zhang, Jiang, Feng, Xia, Fu, Huang, Zhou: "AE: an asymmetric extremum content defined chunking algorithm
//            for fast and bandwidth-efficient data deduplication", INFOCOM 2015
//
// Each chunker is a function from a chunk's first byte to its length. It looks at no more than `n` bytes, which
// is at most the maximum, and returns `n` if it finds no cut among them.

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    size_t minimum, normal, maximum;
    size_t window;                  // of ram and ae
    uint64_t strict, loose;         // masks of fastcdc; `strict` is the threshold of gear
    uint64_t gear[256];
    uint64_t gear_shifted[256];     // each a bit to the left, for the first of two bytes
} rules;

typedef size_t chunker(const uint8_t *data, size_t n, const rules *r);

// Two bytes a step: after the first, the hash is kept a bit further to the left, and so is the mask it is held against.
static inline size_t fastcdc_until(const uint8_t *data, size_t i, size_t end, uint64_t *hash, uint64_t mask,
                                   const rules *r)
{
    uint64_t h = *hash;
    const uint64_t shifted = mask << 1;
    for (; i + 1 < end; i += 2) {
        h = (h << 2) + r->gear_shifted[data[i]];
        if (!(h & shifted))
            return i;
        h += r->gear[data[i + 1]];
        if (!(h & mask))
            return i + 1;
    }
    if (i < end) {
        h = (h << 1) + r->gear[data[i]];
        if (!(h & mask))
            return i;
    }
    *hash = h;
    return end;
}

static size_t fastcdc(const uint8_t *data, size_t n, const rules *r)
{
    if (n <= r->minimum)
        return n;
    const size_t normal = n < r->normal ? n : r->normal;
    uint64_t hash = 0;
    size_t i = fastcdc_until(data, r->minimum, normal, &hash, r->strict, r);
    return i < normal ? i : fastcdc_until(data, normal, n, &hash, r->loose, r);
}

static size_t gear(const uint8_t *data, size_t n, const rules *r)
{
    uint64_t hash = 0;
    for (size_t i = r->minimum; i < n; i++) {
        hash = (hash << 1) + r->gear[data[i]];
        if (hash < r->strict)
            return i;
    }
    return n;
}

// The cut is after the first byte, behind a window, that is not less than every byte of the window.
static size_t ram(const uint8_t *data, size_t n, const rules *r)
{
    if (n <= r->window)
        return n;
    uint8_t most = 0;
    for (size_t i = 0; i < r->window; i++)
        most = data[i] > most ? data[i] : most;
    size_t i = r->window;
    for (; i + 64 <= n; i += 64) { // 64 at once, which a compiler turns into vector code
        uint8_t any = 0;
        for (size_t k = 0; k < 64; k++)
            any |= data[i + k] >= most;
        if (any)
            break;
    }
    for (; i < n; i++)
        if (data[i] >= most)
            return i + 1;
    return n;
}

static inline uint64_t value_at(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

// The values are those of eight bytes. The cut is a window behind the first value that is greater than all before it
// and not less than any in the window.
static size_t ae(const uint8_t *data, size_t n, const rules *r)
{
    if (n < 8)
        return n;
    uint64_t most = value_at(data);
    size_t at = 0;
    for (size_t i = 1; i + 8 <= n; i++) {
        uint64_t value = value_at(data + i);
        if (value > most) {
            most = value;
            at = i;
        } else if (i == at + r->window) {
            return i;
        }
    }
    return n;
}

static chunker *const chunkers[] = {fastcdc, gear, ram, ae};

// Writes the ends of the chunks of data[0..length) that are decided, and returns how many they are: if `final`, all.
// A chunk that reaches the end of the data, and not the maximum, is undecided.
size_t keepstone_reference_cuts(int which, const uint8_t *data, size_t length, int final, const rules *r, size_t *ends)
{
    size_t found = 0, start = 0;
    while (start < length) {
        size_t n = length - start < r->maximum ? length - start : r->maximum;
        size_t cut = chunkers[which](data + start, n, r);
        if (cut == n && n < r->maximum && !final)
            break;
        ends[found++] = start += cut;
    }
    return found;
}
