// SPDX-License-Identifier: Apache-2.0
//
// What a searcher does with its matches: which of them become symbols, and where two searches of one input meet. No
// Python here.
//
// Above level 3 zlib enters every string into its chains, so what it knows at a place is the 32 KiB before it, and all it
// remembers besides is the match that waits for a better one. A search that begins further on, with those bytes
// before it, therefore goes the same way as the one from the beginning as soon as both stand at the same place with the
// same match. That is how one stream is encoded by several threads.

#ifndef KEEPSTONE_SEARCH_H
#define KEEPSTONE_SEARCH_H

#include "_chains.h"

// What a search remembers beside the window.
typedef struct {
    uint64_t at, match_at;
    unsigned match_length;
    int pending;
    size_t count; // of symbols found before
} moment;

enum { MOMENTS = 2048 };

typedef struct {
    moment at[MOMENTS];
    size_t count;
} beginnings;

// Makes room for the symbols and slides of so many bytes.
static int expect(searcher *e, size_t bytes)
{
    symbols *f = &e->found;
    size_t slides = f->slides + bytes / WINDOW + 4, count = f->count + bytes + 4;
    if (count > f->room) {
        void *distances = realloc(f->distance_of, count * sizeof *f->distance_of);
        if (distances)
            f->distance_of = distances;
        void *lengths = realloc(f->length_of, count);
        if (lengths)
            f->length_of = lengths;
        if (!distances || !lengths)
            return 0;
        f->room = count;
    }
    if (slides > f->slides_room) {
        void *grown = realloc(f->slid_at, slides * sizeof *f->slid_at);
        if (!grown)
            return 0;
        f->slid_at = grown;
        f->slides_room = slides;
    }
    return 1;
}

// Forgets the symbols: they were taken.
static void taken(searcher *e)
{
    e->found.count = e->found.slides = 0;
    e->found.origin = e->origin;
}

static void note(searcher *e, unsigned distance, unsigned length)
{
    e->found.distance_of[e->found.count] = (uint16_t)distance;
    e->found.length_of[e->found.count++] = (uint8_t)length;
}

static void step_fast(searcher *e)
{
    unsigned found = insert_here(e), length;

    if (within(e, found))
        e->match_length = search(e, found);
    length = e->match_length;
    if (length >= LEAST) {
        note(e, e->at - e->match_at, length - LEAST);
        e->ahead -= length;
        if (length <= e->set.lazy && (e->set.ancestor || e->ahead >= LEAST)) {
            while (--length)
                e->at++, insert(e, e->at);
            e->at++;
        } else {
            e->at += length;
        }
        e->match_length = 0;
    } else {
        note(e, 0, e->window[e->at]);
        e->ahead--;
        e->at++;
    }
}

// Enters all strings before `at` that were not yet.
static void enter_before(searcher *e)
{
    if (e->entered >= e->at)
        return;
    unsigned end = e->at + e->ahead - (LEAST - 1); // zlib enters no string that reaches beyond the input
    if (e->set.ancestor || end > e->at)
        end = e->at;
    for (; e->entered < end; e->entered++)
        insert(e, e->entered);
    e->entered = e->at;
}

static unsigned find(searcher *e)
{
    unsigned found;
    if (e->ahead >= AHEAD)
        return find_deep(e);
    enter_before(e);
    if (e->entered > e->at) {
        found = e->previous[e->at & (WINDOW - 1)];
    } else {
        found = insert_here(e);
        e->entered++;
    }
    return e->before_length < e->set.lazy && within(e, found) ? search(e, found) : 0;
}

static void step_lazy(searcher *e)
{
    e->before_length = e->match_length;
    e->before_at = e->match_at;
    e->match_length = find(e);
    if (e->match_length < LEAST || (e->match_length == LEAST && e->at - e->match_at > TOO_FAR))
        e->match_length = LEAST - 1;
    if (e->before_length >= LEAST && e->match_length <= e->before_length) {
        note(e, e->at - 1 - e->before_at, e->before_length - LEAST);
        e->ahead -= e->before_length - 1;
        e->at += e->before_length - 1;
        e->pending = 0;
        e->match_length = LEAST - 1;
        return;
    }
    if (e->pending)
        note(e, 0, e->window[e->at - 1]);
    e->pending = 1;
    e->at++;
    e->ahead--;
}

// Returns whether the input decides a further symbol.
static int ready(searcher *e, const input *in)
{
    while (e->ahead < AHEAD && !e->ended)
        if (!refill(e, in))
            return 0;
    if (!e->ahead)
        return 0;
    if (!e->set.ancestor && e->at >= WINDOW + FARTHEST)
        slide(e); // the ancestor slides only to read on
    return 1;
}

static uint64_t place(const searcher *e)
{
    return e->origin + e->at;
}

static unsigned lesser(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

// Searches up to a place in the input, or as far as it goes.
static void search_up_to(searcher *e, const input *in, uint64_t end)
{
    while (place(e) < end && ready(e, in)) {
        if (e->set.level <= 3) {
            step_fast(e);
            continue;
        }
        // Up to here there is nothing to refill and nothing to slide.
        unsigned stop = e->ahead > AHEAD ? lesser(e->at + e->ahead - AHEAD, WINDOW + FARTHEST) : 0;
        if (end - e->origin < stop)
            stop = (unsigned)(end - e->origin);
        do
            step_lazy(e);
        while (e->at < stop);
    }
}

// Begins in the midst of the input, at a multiple of WINDOW with one before it, where the real window would lie so as well.
static void begin_at(searcher *e, const input *in, uint64_t begin)
{
    const uint8_t *before = in->bytes + (begin - WINDOW - in->begin);
    memcpy(e->window, before, WINDOW);
    memcpy(e->window + WINDOW, before, WINDOW);
    memset(e->deep->head, 0, sizeof e->deep->head);
    memset(e->deep->head4, 0, sizeof e->deep->head4);
    memset(e->deep->head8, 0, sizeof e->deep->head8);
    e->origin = begin - WINDOW;
    e->at = WINDOW;
    e->entered = e->ahead = 0;
    e->match_length = LEAST - 1;
    e->pending = e->ended = 0;
    taken(e);
}

// The first steps of such a search, each with the moment before it.
static void begin_search(searcher *e, const input *in, beginnings *seen)
{
    for (seen->count = 0; seen->count < MOMENTS && ready(e, in); step_lazy(e))
        seen->at[seen->count++] =
            (moment){place(e), e->origin + e->match_at, e->match_length, e->pending, e->found.count};
}

// Goes on until the other search stood at the same place with the same match. Returns the number of symbols that it had
// found before, or -1 if the two do not meet.
static long meet(searcher *e, const input *in, const beginnings *other)
{
    size_t n = 0;
    for (; ready(e, in); step_lazy(e)) {
        while (n < other->count && other->at[n].at < place(e))
            n++;
        if (n == other->count)
            return -1;
        const moment *then = other->at + n;
        if (then->at == place(e) && then->pending == e->pending && then->match_length == e->match_length &&
            (e->match_length < LEAST || then->match_at == e->origin + e->match_at))
            return (long)then->count;
    }
    return -1;
}

#endif
