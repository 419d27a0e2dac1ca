// SPDX-License-Identifier: Apache-2.0
//
// The counts behind the choice of the cut rule: what thousands of rules make of one history, without reading it anew.
//
// For one key, the candidates of the thinnest filter and their hashes are found once; every rule picks among them.
// A chunk is known by a polynomial hash modulo 2^64, taken from sums over the whole history, so that a chunk costs
// two look-ups and not its length. This is a measurement of our own data, not a defense: nobody chose it to collide.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define STEP 64 // bytes between two sums that are kept
#define WINDOW 64
#define BASE 0x9E3779B97F4A7C15ull

typedef struct {
    uint32_t end; // in its version
    uint8_t older; // G(i-8) xor u
    uint64_t hash;
    uint64_t sum; // of the version up to `end`
} candidate;

typedef struct {
    const uint8_t *data;
    size_t length;
    const size_t *versions; // where each ends in `data`
    size_t count;
    uint64_t *sums;
    candidate *found;
    size_t *first; // the index of the first candidate of each version, and of the end
    size_t room;
    uint64_t low[4096], high[4096]; // powers of BASE
    uint64_t *table;
    size_t slots;
} history;

typedef struct {
    size_t minimum, normal, maximum;
    uint64_t strict, loose;
    uint32_t mask, least_hash;
} rules;

typedef struct {
    uint64_t bytes, chunks, unique, unique_bytes, forced;
    double squares; // of the lengths of all chunks
} counts;

static uint64_t sum_at(const history *h, size_t at)
{
    uint64_t sum = h->sums[at / STEP];
    for (size_t i = at / STEP * STEP; i < at; i++)
        sum = sum * BASE + h->data[i] + 1;
    return sum;
}

history *history_new(const uint8_t *data, size_t length, const size_t *versions, size_t count)
{
    history *h = calloc(1, sizeof *h);
    h->data = data, h->length = length, h->versions = versions, h->count = count;
    h->sums = malloc((length / STEP + 1) * sizeof *h->sums);
    h->first = malloc((count + 1) * sizeof *h->first);
    const uint64_t b2 = BASE * BASE, b3 = b2 * BASE, b4 = b2 * b2;
    uint64_t sum = 0;
    for (size_t i = 0; i <= length; i += 4) {
        if (i % STEP == 0)
            h->sums[i / STEP] = sum;
        if (i + 4 > length)
            break;
        sum = sum * b4 + (data[i] + 1) * b3 + (data[i + 1] + 1) * b2 + (data[i + 2] + 1) * BASE + data[i + 3] + 1;
    }
    h->low[0] = h->high[0] = 1;
    for (int i = 1; i < 4096; i++)
        h->low[i] = h->low[i - 1] * BASE;
    for (int i = 1; i < 4096; i++)
        h->high[i] = h->high[i - 1] * h->low[4095] * BASE;
    return h;
}

void history_free(history *h)
{
    free(h->sums), free(h->first), free(h->found), free(h->table), free(h);
}

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

static uint64_t siphash_1_3(const uint8_t *p, uint64_t k0, uint64_t k1)
{
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                     k1 ^ 0x7465646279746573};
    for (int i = 0; i <= WINDOW; i += 8) {
        uint64_t word = (uint64_t)WINDOW << 56;
        if (i < WINDOW)
            memcpy(&word, p + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void keep(history *h, size_t *n, candidate new)
{
    if (*n == h->room) {
        h->room = h->room ? h->room * 2 : 1 << 16;
        h->found = realloc(h->found, h->room * sizeof *h->found);
    }
    h->found[(*n)++] = new;
}

// The filters that were tried: how a value is moved on before the next byte's image is added. `SHIFT` loses a value
// after 8 bytes, so its low bits depend on few bytes; the others keep it whole, and look at 8 bytes by definition.
enum filter { SHIFT, SHIFT_HIGH, ROTATE, LFSR };

static uint8_t move(uint8_t g, enum filter kind)
{
    if (kind == ROTATE)
        return (uint8_t)(g << 1 | g >> 7);
    if (kind == LFSR)
        return (uint8_t)(g << 1 ^ (g >> 7) * 0x1d);
    return (uint8_t)(g << 1);
}

static uint8_t reverse(uint8_t x)
{
    x = (uint8_t)(x >> 4 | x << 4);
    x = (uint8_t)((x & 0xcc) >> 2 | (x & 0x33) << 2);
    return (uint8_t)((x & 0xaa) >> 1 | (x & 0x55) << 1);
}

// Finds the candidates of one key under a mask, which is that of the densest filter to be tried. SHIFT_HIGH compares
// the high bits of the older value; its mask counts from there.
size_t history_prepare(history *h, const uint8_t *table, uint8_t t, uint8_t u, uint64_t k0, uint64_t k1, uint8_t mask,
                       int kind)
{
    size_t n = 0, begin = 0;
    uint8_t moved[8][256];
    for (int b = 0; b < 256; b++) {
        moved[0][b] = table[b];
        for (int k = 1; k < 8; k++)
            moved[k][b] = move(moved[k - 1][b], kind);
    }
    for (size_t v = 0; v < h->count; v++) {
        const uint8_t *data = h->data + begin;
        uint64_t before = 0; // G(i-1) in the lowest byte, G(i-8) in the highest
        h->first[v] = n;
        for (size_t i = 7; i < h->versions[v] - begin; i++) {
            uint8_t g = 0, older = (uint8_t)(before >> 56) ^ u;
            for (int k = 0; k < 8; k++)
                g ^= moved[k][data[i - k]];
            before = before << 8 | g;
            if (g != t || i + 1 < WINDOW)
                continue;
            if (kind == SHIFT_HIGH)
                older = reverse(older);
            if (!(older & mask))
                keep(h, &n, (candidate){(uint32_t)(i + 1), older, siphash_1_3(data + i + 1 - WINDOW, k0, k1),
                                        sum_at(h, begin + i + 1)});
        }
        begin = h->versions[v];
    }
    h->first[h->count] = n;
    return n;
}

static void clear(history *h)
{
    h->slots = 1 << 12;
    free(h->table);
    h->table = calloc(h->slots, sizeof *h->table);
}

// Adds an id that is not zero. Returns whether it is new.
static int add(uint64_t *table, size_t slots, uint64_t id)
{
    size_t slot = id & (slots - 1);
    for (; table[slot]; slot = (slot + 1) & (slots - 1))
        if (table[slot] == id)
            return 0;
    table[slot] = id;
    return 1;
}

static void double_table(history *h)
{
    uint64_t *larger = calloc(h->slots * 2, sizeof *larger);
    for (size_t i = 0; i < h->slots; i++)
        if (h->table[i])
            add(larger, h->slots * 2, h->table[i]);
    free(h->table);
    h->table = larger, h->slots *= 2;
}

static void count_chunk(history *h, counts *c, uint64_t before, uint64_t after, size_t length)
{
    uint64_t power = h->low[length % 4096];
    for (size_t rest = length / 4096; rest; rest = rest > 4095 ? rest - 4095 : 0)
        power *= h->high[rest > 4095 ? 4095 : rest];
    uint64_t id = (after - before * power) ^ length * 0xD6E8FEB86659FD93ull;
    id = (id ^ id >> 32) * 0xD6E8FEB86659FD93ull;
    id ^= id >> 32;
    id |= !id;
    c->chunks++;
    c->squares += (double)length * (double)length;
    if (add(h->table, h->slots, id)) {
        c->unique++;
        c->unique_bytes += length;
        if (c->unique * 2 > h->slots)
            double_table(h);
    }
}

// Counts what one rule makes of the history. If `ends` is not NULL it takes the ends of all chunks in `data`.
void history_count(history *h, const rules *r, counts *c, size_t *ends)
{
    memset(c, 0, sizeof *c);
    clear(h);
    size_t begin = 0;
    for (size_t v = 0; v < h->count; v++) {
        const size_t length = h->versions[v] - begin;
        const candidate *at = h->found + h->first[v], *stop = h->found + h->first[v + 1];
        uint64_t before = sum_at(h, begin);
        for (size_t start = 0; start < length;) {
            const candidate *least = NULL, *cut = NULL;
            while (at < stop && at->end < start + r->minimum)
                at++;
            const candidate *seen = at;
            for (; seen < stop && seen->end <= start + r->maximum; seen++) {
                if (seen->older & r->mask)
                    continue;
                if (seen->hash < (seen->end - start <= r->normal ? r->strict : r->loose)) {
                    cut = seen;
                    break;
                }
                if (r->least_hash && (!least || seen->hash < least->hash))
                    least = seen;
            }
            size_t end = start + r->maximum < length ? start + r->maximum : length;
            if (!cut && length - start >= r->maximum) {
                c->forced++;
                cut = least;
            }
            uint64_t after = cut ? cut->sum : sum_at(h, begin + end);
            if (cut)
                end = cut->end;
            count_chunk(h, c, before, after, end - start);
            if (ends)
                *ends++ = begin + end;
            start = end, before = after;
            if (cut)
                at = cut; // it may be before `seen`, if the chunk was forced
        }
        begin = h->versions[v];
    }
    c->bytes = h->length;
}

// Counts chunks whose ends are given; the end of each version is among them.
void history_count_ends(history *h, const size_t *ends, size_t n, counts *c)
{
    memset(c, 0, sizeof *c);
    clear(h);
    size_t start = 0;
    uint64_t before = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t after = sum_at(h, ends[i]);
        count_chunk(h, c, before, after, ends[i] - start);
        start = ends[i], before = after;
    }
    c->bytes = h->length;
}
