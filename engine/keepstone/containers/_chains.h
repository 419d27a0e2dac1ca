// SPDX-License-Identifier: Apache-2.0
//
// The window and the search for matches in it, with the outcome of zlib's hash chains. No Python here.
//
// A chain is followed from the newest string with the same hash to older ones. Levels 1 to 3 do just this. Above them
// further chains, of strings with the same four and the same eight bytes, are followed instead: they are shorter.

#ifndef KEEPSTONE_CHAINS_H
#define KEEPSTONE_CHAINS_H

#include "_huffman.h"

#define WINDOW 32768u
#define LEAST 3u
#define MOST 258u
#define AHEAD (MOST + LEAST + 1)
#define FARTHEST (WINDOW - AHEAD)
#define TOO_FAR 4096u
#define DEEP_BITS 16
#define BATCH 240u         // strings are entered this far ahead; less than AHEAD by more than eight
#define FARTHEST_DOUBT 120u // half of it
#define FEW_STEPS 8u
#define MANY_STEPS 64u
#define MOST_STEPS 256

// What finds the same matches faster: chains of strings with the same four and the same eight bytes, and for each string
// how many of its hash chain came before it, so that a short cut through a chain knows how many links it left out.
typedef struct {
    uint16_t head4[1 << DEEP_BITS], head8[1 << DEEP_BITS], previous4[WINDOW], previous8[WINDOW];
    uint16_t rank[WINDOW];
    uint32_t head[1 << 16]; // the newest string with a hash, and above its 16 bits how many there were
} deep;

typedef struct {
    int level, ancestor, clamps;
    unsigned good, lazy, nice, chain, hash_bits, hash_shift;
} settings;

// The symbols that were found and not yet taken, as _huffman.h has them.
typedef struct {
    uint16_t *distance_of;
    uint8_t *length_of;
    size_t count, room;
    size_t *slid_at; // how many symbols there were at each slide of the window
    size_t slides, slides_room;
    uint64_t origin; // of the window at the first of these symbols
} symbols;

// Looks for matches: the window as zlib keeps it, and what is known of the strings in it.
typedef struct {
    settings set;
    uint8_t window[2 * WINDOW + MOST + 8];
    uint16_t previous[WINDOW];
    uint16_t *head; // up to level 3
    deep *deep;     // above it
    uint64_t origin; // where the window begins in the input
    unsigned entered, at, ahead, match_at, match_length, before_length, before_at;
    int pending, ended;
    symbols found;
} searcher;

// A part of the input in memory.
typedef struct {
    const uint8_t *bytes;
    uint64_t begin, end; // its first byte's offset in the input, and the offset behind its last
    int final;           // nothing follows
} input;

static const uint16_t levels[10][4] = { // good, lazy, nice, chain
    {0, 0, 0, 0},      {4, 4, 8, 4},       {4, 5, 16, 8},       {4, 6, 32, 32},       {4, 4, 16, 16},
    {8, 16, 32, 32},   {8, 16, 128, 128},  {8, 32, 128, 256},   {32, 128, 258, 1024}, {32, 258, 258, 4096},
};

static unsigned hash_of(const searcher *e, const uint8_t *at)
{
    unsigned shift = e->set.hash_shift;
    return ((unsigned)at[0] << 2 * shift ^ (unsigned)at[1] << shift ^ at[2]) & ((1u << e->set.hash_bits) - 1);
}

// Enters the string at `at` and returns the newest earlier one with its hash; 0 is none, so position 0 is never found.
static unsigned insert(searcher *e, unsigned at)
{
    unsigned hash = hash_of(e, e->window + at), found;
    if (e->deep) {
        found = e->deep->head[hash] & 0xFFFF;
        e->deep->head[hash] = at;
    } else {
        found = e->head[hash];
        e->head[hash] = (uint16_t)at;
    }
    e->previous[at & (WINDOW - 1)] = (uint16_t)found;
    return found;
}

static void age(uint16_t *positions, size_t count)
{
    for (size_t i = 0; i < count; i++)
        positions[i] = positions[i] >= WINDOW ? (uint16_t)(positions[i] - WINDOW) : 0;
}

static void slide(searcher *e)
{
    memcpy(e->window, e->window + WINDOW, WINDOW);
    e->match_at -= WINDOW;
    e->at -= WINDOW;
    e->entered -= WINDOW;
    e->origin += WINDOW;
    e->found.slid_at[e->found.slides++] = e->found.count;
    age(e->previous, WINDOW);
    if (!e->deep) {
        age(e->head, (size_t)1 << e->set.hash_bits);
    } else {
        for (size_t i = 0; i < (size_t)1 << e->set.hash_bits; i++) {
            uint32_t at = e->deep->head[i] & 0xFFFF;
            e->deep->head[i] = (e->deep->head[i] & 0xFFFF0000) | (at >= WINDOW ? at - WINDOW : 0);
        }
        age(e->deep->head4, 1 << DEEP_BITS);
        age(e->deep->head8, 1 << DEEP_BITS);
        age(e->deep->previous4, WINDOW);
        age(e->deep->previous8, WINDOW);
    }
}

// Refills the window. Returns 0 if there is not enough input yet: a refill is always as large as the window allows,
// whatever the pieces in which the input comes.
static int refill(searcher *e, const input *in)
{
    unsigned sliding = e->at >= WINDOW + FARTHEST ? WINDOW : 0;
    size_t more = 2 * WINDOW - e->ahead - e->at + sliding;
    uint64_t from = e->origin + e->at + e->ahead;

    if (in->end - from < more) {
        if (!in->final)
            return 0;
        more = (size_t)(in->end - from);
    }
    if (sliding)
        slide(e);
    memcpy(e->window + e->at + e->ahead, in->bytes + (from - in->begin), more);
    e->ahead += (unsigned)more;
    if (!more) {
        e->ended = 1;
        if (e->at + e->ahead < sizeof e->window - LEAST)
            memset(e->window + e->at + e->ahead, 0, LEAST - 1);
    }
    return 1;
}

// zlib enters no string that reaches beyond the input.
static unsigned insert_here(searcher *e)
{
    return e->set.ancestor || e->ahead >= LEAST ? insert(e, e->at) : 0;
}

static int within(const searcher *e, unsigned candidate)
{
    return candidate && e->at - candidate <= FARTHEST && e->at <= 2 * WINDOW - AHEAD;
}

static unsigned same_bytes(const uint8_t *a, const uint8_t *b)
{
    unsigned n = 0;
#if defined(__GNUC__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    while (n <= MOST - 8) {
        uint64_t x, y;
        memcpy(&x, a + n, 8);
        memcpy(&y, b + n, 8);
        if (x != y)
            return n + ((unsigned)__builtin_ctzll(x ^ y) >> 3);
        n += 8;
    }
#endif
    while (n < MOST && a[n] == b[n])
        n++;
    return n;
}

static uint16_t two_bytes(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

// Follows a chain and returns the length of the longest match, longer than before_length, or before_length. Reads at
// most MOST bytes from `at`, which the window always has.
static unsigned search(searcher *e, unsigned candidate)
{
    const uint8_t *here = e->window + e->at;
    unsigned limit = e->at > FARTHEST ? e->at - FARTHEST : 0;
    unsigned best = e->before_length, left = best >= e->set.good ? e->set.chain >> 2 : e->set.chain;
    unsigned nice = e->set.clamps && e->set.nice > e->ahead ? e->ahead : e->set.nice;
    uint16_t end = two_bytes(here + best - 1);

    do {
        const uint8_t *there = e->window + candidate;
        if (two_bytes(there + best - 1) != end)
            continue;
        unsigned length = same_bytes(here, there);
        if (length > best) {
            e->match_at = candidate;
            best = length;
            if (length >= nice)
                break;
            end = two_bytes(here + best - 1);
        }
    } while ((candidate = e->previous[candidate & (WINDOW - 1)]) > limit && --left);
    return best <= e->ahead ? best : e->ahead;
}

// The first byte is the lowest, on every machine.
static uint64_t eight_bytes(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

// Enters all strings before `end`, which the input reaches by eight bytes and more.
static void enter_deep(searcher *e, unsigned end)
{
    deep *d = e->deep;
    unsigned shift = e->set.hash_shift, mask = (1u << e->set.hash_bits) - 1;
    uint16_t *head4 = NULL, *head8 = NULL;
    uint32_t *head = NULL, count = 0;
    uint64_t before = ~eight_bytes(e->window + e->entered);
    for (unsigned n = e->entered; n < end; n++) {
        uint64_t eight = eight_bytes(e->window + n);
        const uint8_t *three = e->window + n;
        unsigned slot = n & (WINDOW - 1);
        if (eight == before) { // in a run of one byte all stands where the string before was entered
            d->rank[slot] = (uint16_t)++count;
            e->previous[slot] = d->previous4[slot] = d->previous8[slot] = (uint16_t)(n - 1);
        } else {
            head = d->head + (((unsigned)three[0] << 2 * shift ^ (unsigned)three[1] << shift ^ three[2]) & mask);
            head4 = d->head4 + ((uint32_t)eight * 0x9E3779B1u >> (32 - DEEP_BITS));
            head8 = d->head8 + (eight * 0x9E3779B97F4A7C15u >> (64 - DEEP_BITS));
            count = *head >> 16;
            d->rank[slot] = (uint16_t)count;
            e->previous[slot] = (uint16_t)*head;
            d->previous4[slot] = *head4;
            d->previous8[slot] = *head8;
            before = eight;
        }
        *head = (count + 1) << 16 | n;
        *head4 = *head8 = (uint16_t)n;
    }
    e->entered = end;
}

// Looks for a match of more than `best` bytes, and of eight at least, as search does. A string that matches further has
// the same eight bytes not only where it begins but also around the first byte that is still in doubt. Whichever of the
// two chains is short ends the search.
static unsigned search8(searcher *e, unsigned best, unsigned limit, unsigned left)
{
    const deep *d = e->deep;
    const uint8_t *window = e->window, *here = window + e->at;
    uint64_t eight = eight_bytes(here);
    uint16_t rank = d->rank[e->at & (WINDOW - 1)];
    unsigned next = d->previous8[e->at & (WINDOW - 1)], doubt = 0, steps = FEW_STEPS;
    unsigned newest = next; // of the strings that were not looked at

    while (next > limit + doubt) {
        unsigned c = next - doubt, length = 0;
        next = d->previous8[next & (WINDOW - 1)];
        if (c <= newest) {
            newest = c - 1;
            if (eight_bytes(window + c) == eight) {
                if ((uint16_t)(rank - d->rank[c & (WINDOW - 1)]) > left)
                    return best;
                if (best < 8 || eight_bytes(window + c + best - 7) == eight_bytes(here + best - 7))
                    length = same_bytes(here, window + c);
            }
        }
        if (length > best) {
            e->match_at = c;
            best = length;
            if (length >= e->set.nice)
                return best;
            if (!doubt)
                continue;
        } else if (--steps) {
            continue;
        } else if (doubt || best < 8) {
            doubt = 0; // to the end
            steps = WINDOW;
            next = d->previous8[e->at & (WINDOW - 1)];
            continue;
        }
        doubt = best - 7 < FARTHEST_DOUBT ? best - 7 : FARTHEST_DOUBT;
        steps = MANY_STEPS;
        next = d->previous8[(e->at + doubt) & (WINDOW - 1)];
    }
    return best;
}

// As insert_here and search, where the input goes on for AHEAD bytes: every match is one of input, and every string
// before this one was entered.
static unsigned find_deep(searcher *e)
{
    const deep *d = e->deep;
    const uint8_t *window = e->window;
    unsigned at = e->at, best = e->before_length, slot = at & (WINDOW - 1), first, c, length;
    unsigned left = best >= e->set.good ? e->set.chain >> 2 : e->set.chain;
    unsigned limit = at > FARTHEST ? at - FARTHEST : 0;

    if (e->entered <= at + FARTHEST_DOUBT)
        enter_deep(e, at + BATCH);
    first = e->previous[slot];
    if (best >= e->set.lazy || !first || first < limit)
        return 0;
    if (first == limit) // only the first may lie there
        limit--;
    if (best >= 7)
        return search8(e, best, limit, left);
    uint64_t eight = eight_bytes(window + at);
    // As in search8: what matches further than `best` has the same four bytes around the first one in doubt, too.
    int sought = 0, steps = MOST_STEPS;
    unsigned doubt = best > 3 ? best - 3 : 0, next = d->previous4[(at + doubt) & (WINDOW - 1)], newest = at - 1;
    while (next > limit + doubt) {
        if (doubt && !steps--) {
            doubt = 0; // to the end
            next = d->previous4[slot];
            continue;
        }
        c = next - doubt;
        next = d->previous4[next & (WINDOW - 1)];
        if (c > newest)
            continue;
        newest = c - 1;
        uint64_t other = eight_bytes(window + c) ^ eight;
        if ((uint32_t)other)
            continue;
        if ((uint16_t)(d->rank[slot] - d->rank[c & (WINDOW - 1)]) > left)
            break;
        if (!sought) {
            // A match of eight bytes makes all shorter ones needless.
            length = search8(e, best, limit, left);
            if (length >= 8)
                return length;
            sought = 1;
        }
        for (length = 4; length < 7 && !(other >> 8 * length & 0xFF); length++) // not all eight are the same
            ;
        if (length > best) {
            e->match_at = c;
            best = length;
            if (length == 7)
                break;
            if (steps > 0) {
                doubt = best - 3;
                next = d->previous4[(at + doubt) & (WINDOW - 1)];
            }
        }
    }
    if (best >= LEAST)
        return best;
    if (at - limit > TOO_FAR)
        limit = at - TOO_FAR - 1;
    for (c = first; c > limit && left; left--, c = e->previous[c & (WINDOW - 1)])
        if (!((uint32_t)(eight_bytes(window + c) ^ eight) & 0xFFFFFF)) {
            e->match_at = c;
            return LEAST;
        }
    return best;
}

#endif
