// SPDX-License-Identifier: Apache-2.0
//
// One deflate block (RFC 1951): the symbols of a block, the codes for them, the bits. No Python here.
//
// Deflate leaves the encoder free; these are the choices that zlib and its ancestor share, so that the bits are theirs:
// how a heap orders equal frequencies, how lengths above the limit are mended, which of the three kinds of block wins.

#ifndef KEEPSTONE_HUFFMAN_H
#define KEEPSTONE_HUFFMAN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LITERALS 286   // literal, end-of-block and length codes
#define DISTANCES 30
#define LENGTHS 19     // codes of code lengths
#define HEAP (2 * LITERALS + 1)
#define END_OF_BLOCK 256
#define MOST_SYMBOLS 32768

typedef struct {
    uint16_t freq[HEAP + 2], parent[HEAP + 2], length[HEAP + 2], code[HEAP + 2];
    int last; // the largest symbol that has a code
} tree;

typedef struct {
    uint8_t *bytes;
    size_t length, capacity;
    uint64_t bits;
    unsigned held;
    int failed; // memory ran out; nothing is written any more
} output;

typedef struct {
    tree literals, distances, lengths;
    long best, fixed; // bits of the block with its own codes, and with the fixed ones
    unsigned count, matches;
    uint16_t distance_of[MOST_SYMBOLS]; // 0 for a literal
    uint8_t length_of[MOST_SYMBOLS];    // the literal, or the length of the match less 3
} block;

static const uint8_t length_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint8_t distance_extra[30] = {0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};
static const uint8_t repeat_extra[19] = {[16] = 2, [17] = 3, [18] = 7};
static const uint8_t length_order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

// Filled once, when the module is loaded, and only read afterwards.
static uint8_t length_code[256], distance_code_low[256], distance_code_high[256];
static uint16_t length_base[29], distance_base[30];
static tree fixed_literals, fixed_distances;

static unsigned distance_code(unsigned distance) // distance less 1
{
    return distance < 256 ? distance_code_low[distance] : distance_code_high[distance >> 7];
}

// Makes room for at least 16 more bytes.
static void reserve(output *out, size_t more)
{
    if (out->failed || out->capacity - out->length >= more + 16)
        return;
    size_t wanted = out->capacity * 2 + more + 4096;
    uint8_t *grown = realloc(out->bytes, wanted);
    if (!grown) {
        out->failed = 1;
        return;
    }
    out->bytes = grown;
    out->capacity = wanted;
}

static void put(output *out, unsigned value, unsigned bits)
{
    out->bits |= (uint64_t)value << out->held;
    out->held += bits;
    if (out->held < 32)
        return;
    reserve(out, 4);
    if (out->failed) {
        out->held = 0;
        out->bits = 0;
        return;
    }
    for (int i = 0; i < 4; i++)
        out->bytes[out->length++] = (uint8_t)(out->bits >> (8 * i));
    out->bits >>= 32;
    out->held -= 32;
}

static void align(output *out)
{
    reserve(out, 8);
    while (out->held && !out->failed) {
        out->bytes[out->length++] = (uint8_t)out->bits;
        out->bits >>= 8;
        out->held = out->held > 8 ? out->held - 8 : 0;
    }
}

static unsigned reversed(unsigned code, unsigned length)
{
    unsigned result = 0;
    while (length--) {
        result = result << 1 | (code & 1);
        code >>= 1;
    }
    return result;
}

static void make_codes(tree *t, const unsigned *counts)
{
    unsigned next[16] = {0}, code = 0;
    for (int bits = 1; bits < 16; bits++)
        next[bits] = code = (code + counts[bits - 1]) << 1;
    for (int n = 0; n <= t->last; n++)
        if (t->length[n])
            t->code[n] = (uint16_t)reversed(next[t->length[n]]++, t->length[n]);
}

// A binary heap from index 1, the least frequent first; of equals, the shallower. An item is a node, and above it what it
// is compared by: its frequency, and how deep the tree below it is.
typedef struct {
    uint64_t item[HEAP + 2];
    int count, sorted; // items from `sorted` on are done, in order of falling frequency
} heap;

#define NO_ITEM UINT64_MAX // stands behind the last one

static uint64_t item_of(unsigned freq, unsigned depth, int node)
{
    return (uint64_t)freq << 24 | depth << 16 | (unsigned)node;
}

static int before(uint64_t n, uint64_t m)
{
    return n >> 16 <= m >> 16;
}

static void sink(heap *h, int at)
{
    uint64_t moved = h->item[at];
    for (int below = at << 1; below <= h->count; below <<= 1) {
        below += before(h->item[below + 1], h->item[below]);
        if (before(moved, h->item[below]))
            break;
        h->item[at] = h->item[below];
        at = below;
    }
    h->item[at] = moved;
}

// Gives each symbol the length of its code, at most `most` bits, and adds what the block costs to b->best and, where
// there is a fixed tree, to b->fixed.
static void limit_lengths(block *b, tree *t, heap *h, const tree *fixed, const uint8_t *extra, int base, int most)
{
    unsigned counts[16] = {0};
    int overflow = 0, at;

    t->length[(uint16_t)h->item[h->sorted]] = 0;
    for (at = h->sorted + 1; at < HEAP; at++) {
        int n = (uint16_t)h->item[at], bits = t->length[t->parent[n]] + 1, more;
        if (bits > most)
            bits = most, overflow++;
        t->length[n] = (uint16_t)bits;
        if (n > t->last)
            continue;
        counts[bits]++;
        more = n >= base ? extra[n - base] : 0;
        b->best += (long)t->freq[n] * (bits + more);
        if (fixed)
            b->fixed += (long)t->freq[n] * (fixed->length[n] + more);
    }
    for (int left = overflow; left > 0; left -= 2) {
        int bits = most - 1;
        while (!counts[bits])
            bits--;
        counts[bits]--;
        counts[bits + 1] += 2;
        counts[most]--;
    }
    for (int bits = overflow ? most : 0; bits; bits--)
        for (unsigned left = counts[bits]; left;) {
            int n = (uint16_t)h->item[--at];
            if (n > t->last)
                continue;
            b->best += ((long)bits - t->length[n]) * t->freq[n];
            t->length[n] = (uint16_t)bits;
            left--;
        }
    make_codes(t, counts);
}

static void build(block *b, tree *t, int symbols, const tree *fixed, const uint8_t *extra, int base, int most)
{
    heap h;
    int node = symbols;

    h.count = 0, h.sorted = HEAP, t->last = -1;
    for (int n = 0; n < symbols; n++) {
        if (t->freq[n]) {
            h.item[++h.count] = item_of(t->freq[n], 0, n);
            t->last = n;
        } else {
            t->length[n] = 0;
        }
    }
    // There are always two codes, used or not.
    while (h.count < 2) {
        int n = t->last < 2 ? ++t->last : 0;
        t->freq[n] = 1;
        h.item[++h.count] = item_of(1, 0, n);
        b->best--;
        if (fixed)
            b->fixed -= fixed->length[n];
    }
    h.item[h.count + 1] = NO_ITEM;
    for (int n = h.count / 2; n; n--)
        sink(&h, n);
    do {
        uint64_t least = h.item[1], next;
        h.item[1] = h.item[h.count];
        h.item[h.count--] = NO_ITEM;
        sink(&h, 1);
        next = h.item[1];
        h.item[--h.sorted] = least;
        h.item[--h.sorted] = next;
        unsigned depth = (uint8_t)(least >> 16), other = (uint8_t)(next >> 16);
        t->freq[node] = (uint16_t)(t->freq[(uint16_t)least] + t->freq[(uint16_t)next]);
        t->parent[(uint16_t)least] = t->parent[(uint16_t)next] = (uint16_t)node;
        h.item[1] = item_of(t->freq[node], (uint8_t)((depth >= other ? depth : other) + 1), node);
        node++;
        sink(&h, 1);
    } while (h.count >= 2);
    h.item[--h.sorted] = h.item[1];
    limit_lengths(b, t, &h, fixed, extra, base, most);
}

// Walks the code lengths of a tree as runs. With `out`, writes them; without, counts their codes.
static void walk_lengths(block *b, const tree *t, output *out)
{
    int previous = -1, count = 0, most = t->length[0] ? 7 : 138, least = t->length[0] ? 4 : 3;

    for (int n = 0; n <= t->last; n++) {
        int here = t->length[n], next = n < t->last ? t->length[n + 1] : -1;
        int symbol, repeats = 0;
        if (++count < most && here == next)
            continue;
        if (count < least) {
            for (int i = 0; i < count; i++) {
                if (out)
                    put(out, b->lengths.code[here], b->lengths.length[here]);
                else
                    b->lengths.freq[here]++;
            }
        } else {
            if (here && here != previous) {
                if (out)
                    put(out, b->lengths.code[here], b->lengths.length[here]);
                else
                    b->lengths.freq[here]++;
                count--;
            }
            symbol = here ? 16 : count <= 10 ? 17 : 18;
            repeats = count - (symbol == 18 ? 11 : 3);
            if (out) {
                put(out, b->lengths.code[symbol], b->lengths.length[symbol]);
                put(out, (unsigned)repeats, repeat_extra[symbol]);
            } else {
                b->lengths.freq[symbol]++;
            }
        }
        count = 0;
        previous = here;
        most = !next ? 138 : here == next ? 6 : 7;
        least = !next || here == next ? 3 : 4;
    }
}

// Writes eight bytes, the lowest first, of which the whole ones count.
static inline uint8_t *store(uint8_t *to, uint64_t *bits, unsigned *held)
{
    uint64_t value = *bits;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(to, &value, sizeof value);
#else
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(value >> (8 * i));
#endif
    to += *held >> 3;
    *bits = value >> (*held & ~7u);
    *held &= 7;
    return to;
}

static void put_symbols(const block *b, const tree *literals, const tree *distances, output *out)
{
    uint64_t bits, value;
    unsigned held;
    uint8_t *to;

    // A symbol has at most 15 + 5 + 15 + 13 bits, and less than a byte waits before it.
    reserve(out, 6 * ((size_t)b->count + 1) + 8);
    if (out->failed)
        return;
    to = out->bytes + out->length, bits = out->bits, held = out->held;
    to = store(to, &bits, &held);
    for (unsigned i = 0; i < b->count; i++) {
        unsigned distance = b->distance_of[i], length = b->length_of[i], code, used;
        if (!distance) {
            value = literals->code[length], used = literals->length[length];
        } else {
            code = length_code[length];
            value = literals->code[code + 257], used = literals->length[code + 257];
            value |= (uint64_t)(length - length_base[code]) << used, used += length_extra[code];
            distance--;
            code = distance_code(distance);
            value |= (uint64_t)distances->code[code] << used, used += distances->length[code];
            value |= (uint64_t)(distance - distance_base[code]) << used, used += distance_extra[code];
        }
        bits |= value << held;
        held += used;
        to = store(to, &bits, &held);
    }
    out->length = (size_t)(to - out->bytes), out->bits = bits, out->held = held;
    put(out, literals->code[END_OF_BLOCK], literals->length[END_OF_BLOCK]);
}

static void begin_block(block *b)
{
    memset(b->literals.freq, 0, sizeof b->literals.freq);
    memset(b->distances.freq, 0, sizeof b->distances.freq);
    memset(b->lengths.freq, 0, sizeof b->lengths.freq);
    b->literals.freq[END_OF_BLOCK] = 1;
    b->best = b->fixed = 0;
    b->count = b->matches = 0;
}

// Ends the block in the cheapest of three ways. `plain` are its bytes, or NULL if they are no longer there.
static void end_block(block *b, const uint8_t *plain, size_t length, int last, output *out)
{
    int used = LENGTHS - 1;
    long best, fixed;

    build(b, &b->literals, LITERALS, &fixed_literals, length_extra, 257, 15);
    build(b, &b->distances, DISTANCES, &fixed_distances, distance_extra, 0, 15);
    walk_lengths(b, &b->literals, NULL);
    walk_lengths(b, &b->distances, NULL);
    build(b, &b->lengths, LENGTHS, NULL, repeat_extra, 0, 7);
    while (used >= 3 && !b->lengths.length[length_order[used]])
        used--;
    b->best += 3 * (used + 1) + 5 + 5 + 4;
    best = (b->best + 3 + 7) >> 3;
    fixed = (b->fixed + 3 + 7) >> 3;
    if (fixed <= best)
        best = fixed;
    if (plain && (long)length + 4 <= best) {
        put(out, (unsigned)last, 3);
        align(out);
        reserve(out, length + 4);
        if (!out->failed) {
            uint8_t head[4] = {(uint8_t)length, (uint8_t)(length >> 8), (uint8_t)~length, (uint8_t)(~length >> 8)};
            memcpy(out->bytes + out->length, head, 4);
            memcpy(out->bytes + out->length + 4, plain, length);
            out->length += length + 4;
        }
    } else if (fixed == best) {
        put(out, 2 + (unsigned)last, 3);
        put_symbols(b, &fixed_literals, &fixed_distances, out);
    } else {
        put(out, 4 + (unsigned)last, 3);
        put(out, (unsigned)b->literals.last + 1 - 257, 5);
        put(out, (unsigned)b->distances.last + 1 - 1, 5);
        put(out, (unsigned)used + 1 - 4, 4);
        for (int i = 0; i <= used; i++)
            put(out, b->lengths.length[length_order[i]], 3);
        walk_lengths(b, &b->literals, out);
        walk_lengths(b, &b->distances, out);
        put_symbols(b, &b->literals, &b->distances, out);
    }
    if (last)
        align(out);
    begin_block(b);
}

// A stored block of no bytes, which is not the last.
static void put_empty_block(output *out)
{
    put(out, 0, 3);
    align(out);
    put(out, 0xFFFF0000u, 32);
}

static void fill_tables(void)
{
    unsigned counts[16] = {[7] = 24, [8] = 152, [9] = 112}, at = 0;

    for (unsigned code = 0; code < 28; code++) {
        length_base[code] = (uint16_t)at;
        for (unsigned i = 0; i < 1u << length_extra[code]; i++)
            length_code[at++ & 255] = (uint8_t)code;
    }
    length_code[255] = 28;
    length_base[28] = 255;
    at = 0;
    for (unsigned code = 0; code < DISTANCES; code++) {
        distance_base[code] = (uint16_t)at;
        for (unsigned i = 0; i < 1u << distance_extra[code]; i++, at++) {
            if (at < 256)
                distance_code_low[at] = (uint8_t)code;
            distance_code_high[at >> 7] = (uint8_t)code;
        }
    }
    for (unsigned n = 0; n < 288; n++)
        fixed_literals.length[n] = n < 144 ? 8 : n < 256 ? 9 : n < 280 ? 7 : 8;
    fixed_literals.last = 287;
    make_codes(&fixed_literals, counts);
    for (unsigned n = 0; n < DISTANCES; n++) {
        fixed_distances.length[n] = 5;
        fixed_distances.code[n] = (uint16_t)reversed(n, 5);
    }
}

#endif
