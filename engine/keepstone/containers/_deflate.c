// SPDX-License-Identifier: Apache-2.0
//
// Deflate as zlib does it, and as its ancestor does it in GNU gzip and in Info-ZIP zip: the bits of oracle.py, fast.
//
// All look for matches alike: hash chains over a window of 32 KiB, lazy evaluation above level 3. They differ in how many
// symbols a block holds and whether it may end early, and in what happens at the very end of the input, where gzip
// compares bytes that are no longer input. So the window is kept exactly as gzip keeps it.
//
// Searching is nearly all of the work. A long input is searched in parts, each by a thread; while they are at work the
// caller puts together what others found, where the searches meet, and writes it block by block.

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>

#include "_search.h"

enum { ZLIB, GZIP, INFO_ZIP, FLUSHED }; // the encoder's number in a recipe

#define MOST_THREADS 8
#define MOST_PARTS (MOST_THREADS + 1) // one more than threads are wanted, so that none waits while the caller writes
#define EARLY ((size_t)256 << 10) // of this much each piece is searched as it comes: a wrong encoder is soon found out
#define PART ((size_t)512 << 10)
#define SHORTEST (4 * WINDOW) // that is worth a thread, where the input ends
#define LOOK (2 * WINDOW)     // a search reads at most this far ahead

// What one thread searches, in a copy of its own: the caller's input grows and moves meanwhile.
typedef struct {
    searcher *search;
    beginnings *seen;
    uint8_t *bytes;
    input in;
    uint64_t begin, end;
    const atomic_int *given_up;
    PyThread_type_lock done; // held until the thread has ended
} part;

typedef struct {
    settings set;
    int flushes, threads, ended, failed;
    unsigned symbols; // of a block
    searcher *search; // the one from the beginning: what it finds counts
    part parts[MOST_PARTS];
    int oldest, running; // of the parts: those at work, or not yet put together
    uint64_t given_out;  // all input before this is a part's, or the caller's own
    atomic_int given_up;
    // input that is still needed
    uint8_t *held;
    size_t held_length, held_room;
    uint64_t held_at;
    // the block
    uint64_t block_at, at;
    block block;
    output out;
} encoder;

static void end_search(searcher *s)
{
    free(s->head);
    free(s->deep);
    free(s->found.distance_of);
    free(s->found.length_of);
    free(s->found.slid_at);
    free(s);
}

// Returns a search at the beginning of the input, or NULL.
static searcher *start_search(const settings *set)
{
    searcher *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->set = *set;
    s->before_length = LEAST - 1;
    if (set->level > 3) {
        s->match_length = LEAST - 1;
        s->deep = calloc(1, sizeof *s->deep);
    } else {
        s->head = calloc((size_t)1 << set->hash_bits, sizeof *s->head);
    }
    if (s->deep || s->head)
        return s;
    end_search(s);
    return NULL;
}

static void end_part(part *p)
{
    if (p->search)
        end_search(p->search);
    free(p->seen);
    free(p->bytes);
    if (p->done)
        PyThread_free_lock(p->done);
}

static void wait_for(part *p)
{
    PyThread_acquire_lock(p->done, WAIT_LOCK);
    PyThread_release_lock(p->done);
}

// Waits for its threads, which soon give up.
static void end_encoder(encoder *e)
{
    e->given_up = 1;
    for (; e->running; e->running--, e->oldest = (e->oldest + 1) % MOST_PARTS)
        wait_for(e->parts + e->oldest);
    for (int n = 0; n < MOST_PARTS; n++)
        end_part(e->parts + n);
    if (e->search)
        end_search(e->search);
    free(e->held);
    free(e->out.bytes);
    free(e);
}

// Adds a literal (distance 0) or a match to the block; returns whether the block ends with it.
static int add(encoder *e, unsigned distance, unsigned length)
{
    block *b = &e->block;
    b->distance_of[b->count] = (uint16_t)distance;
    b->length_of[b->count++] = (uint8_t)length;
    if (distance) {
        b->matches++;
        b->literals.freq[length_code[length] + 257]++;
        b->distances.freq[distance_code(distance - 1)]++;
    } else {
        b->literals.freq[length]++;
    }
    if (e->set.ancestor && e->set.level > 2 && !(b->count & 0xFFF)) {
        // Is it better to stop here? The ancestor asks every 4096 symbols.
        unsigned long written = b->count * 8ul, read = (unsigned long)(e->at + (e->set.level > 3) - e->block_at);
        for (int code = 0; code < DISTANCES; code++)
            written += b->distances.freq[code] * (5ul + distance_extra[code]);
        if (b->matches < b->count / 2 && written >> 3 < read / 2)
            return 1;
    }
    return b->count == e->symbols - 1;
}

// Ends the block. `origin` is where the window began then: what lies before it cannot be stored as it is.
static void flush_block(encoder *e, uint64_t origin, int last)
{
    const uint8_t *plain = e->block_at >= origin ? e->held + (e->block_at - e->held_at) : NULL;
    end_block(&e->block, plain, (size_t)(e->at - e->block_at), last, &e->out);
    e->block_at = e->at;
}

// Takes what a search found, but for its first symbols.
static void take(encoder *e, searcher *s, size_t from)
{
    const symbols *f = &s->found;
    uint64_t origin = f->origin;
    size_t slide = 0;
    for (size_t n = from; n < f->count; n++) {
        unsigned distance = f->distance_of[n], length = f->length_of[n];
        for (; slide < f->slides && f->slid_at[slide] <= n; slide++)
            origin += WINDOW;
        int full = add(e, distance, length);
        e->at += distance ? length + LEAST : 1;
        if (full)
            flush_block(e, origin, 0);
    }
    taken(s);
}

static void search_part(void *argument)
{
    part *p = argument;
    begin_at(p->search, &p->in, p->begin);
    begin_search(p->search, &p->in, p->seen);
    for (uint64_t to = p->begin; to < p->end && !*p->given_up;) {
        to = p->end - to > WINDOW ? to + WINDOW : p->end;
        search_up_to(p->search, &p->in, to);
    }
    PyThread_release_lock(p->done);
}

// Starts a thread for a part of the input. Returns 0 if there is no memory or no thread for it.
static int launch(encoder *e, const input *in, uint64_t begin, uint64_t end)
{
    part *p = e->parts + (e->oldest + e->running) % MOST_PARTS;
    uint64_t from = begin - WINDOW, to = in->end - end > LOOK ? end + LOOK : in->end;
    if (!p->search && !(p->search = start_search(&e->set)))
        return 0;
    if (!p->seen && !(p->seen = malloc(sizeof *p->seen)))
        return 0;
    if (!p->bytes && !(p->bytes = malloc(WINDOW + PART + LOOK)))
        return 0;
    if (!p->done && !(p->done = PyThread_allocate_lock()))
        return 0;
    taken(p->search);
    if (!expect(p->search, (size_t)(to - begin)))
        return 0;
    memcpy(p->bytes, in->bytes + (from - in->begin), (size_t)(to - from));
    p->in = (input){p->bytes, from, to, in->final && to == in->end};
    p->begin = begin;
    p->end = end;
    p->given_up = &e->given_up;
    PyThread_acquire_lock(p->done, WAIT_LOCK);
    if (PyThread_start_new_thread(search_part, p) != (unsigned long)-1) {
        e->running++;
        return 1;
    }
    PyThread_release_lock(p->done);
    return 0;
}

// Searches up to a place in the input, and takes what is found.
static void search_here(encoder *e, const input *in, uint64_t end)
{
    uint64_t from = place(e->search);
    if (e->failed || from >= end)
        return;
    if (!expect(e->search, (size_t)(end - from) + MOST)) {
        e->failed = 1;
        return;
    }
    search_up_to(e->search, in, end);
    take(e, e->search, 0);
}

// Puts what the oldest part found behind what was found before it.
static void put_together(encoder *e, const input *in)
{
    part *p = e->parts + e->oldest;
    search_here(e, in, p->begin);
    wait_for(p);
    e->oldest = (e->oldest + 1) % MOST_PARTS;
    e->running--;
    if (e->failed || !expect(e->search, (size_t)(p->in.end + MOST - p->begin))) {
        e->failed = 1;
        return;
    }
    long known = meet(e->search, in, p->seen);
    take(e, e->search, 0);
    if (known < 0) {
        search_here(e, in, p->end);
        return;
    }
    take(e, p->search, (size_t)known);
    searcher *met = e->search;
    e->search = p->search;
    p->search = met;
}

// Starts threads for as much of the input as there is.
static void give_out(encoder *e, const input *in)
{
    int own = in->final && !e->running; // where all is at an end, the caller would have nothing to do but to wait
    if (e->given_out < EARLY)
        e->given_out = EARLY;
    while (in->end > e->given_out) {
        uint64_t left = in->end - e->given_out, size = PART;
        if (!in->final) {
            if (left < PART + LOOK)
                return;
        } else {
            if (left < SHORTEST * (own ? 2 : 1))
                return;
            size = left / (uint64_t)e->threads / WINDOW * WINDOW;
            size = size < SHORTEST ? SHORTEST : size > PART ? PART : size;
            if (left - size < SHORTEST)
                size = left < PART ? left : PART;
        }
        if (!own) {
            if (e->running > e->threads)
                put_together(e, in);
            if (e->failed || !launch(e, in, e->given_out, e->given_out + size)) {
                e->threads = 1;
                return;
            }
        }
        own = 0;
        e->given_out += size;
    }
}

// Searches what is held, as far as it is for this thread to do, and takes what was found.
static void search_held(encoder *e, int final)
{
    input in = {e->held, e->held_at, e->held_at + e->held_length, final};
    int several = e->threads > 1 && e->set.level > 3;
    if (several)
        give_out(e, &in);
    if (several && e->threads > 1 && !final) {
        search_here(e, &in, in.end < EARLY ? in.end : EARLY);
        return;
    }
    while (e->running)
        put_together(e, &in);
    search_here(e, &in, in.end);
}

enum { GO_ON, CUT, FINISH }; // what comes after the input: more of it, another section, nothing

// Drops input that nobody needs any more: neither the window nor a block that may be stored reaches so far back.
static void drop(encoder *e)
{
    uint64_t needed = e->at > 3 * WINDOW ? e->at - 3 * WINDOW : 0;
    size_t gone = (size_t)(needed - e->held_at);
    if (needed <= e->held_at || gone < e->held_length / 2)
        return;
    memmove(e->held, e->held + gone, e->held_length -= gone);
    e->held_at = needed;
}

// Encodes as much as the input decides. Needs no GIL.
static void run(encoder *e, const uint8_t *data, size_t left, int then)
{
    do {
        size_t more = left < PART ? left : PART, wanted = e->held_length + more;
        if (wanted > e->held_room) {
            uint8_t *grown = realloc(e->held, wanted += PART);
            if (!grown) {
                e->failed = 1;
                return;
            }
            e->held = grown;
            e->held_room = wanted;
        }
        memcpy(e->held + e->held_length, data, more);
        e->held_length += more;
        data += more;
        left -= more;
        search_held(e, then != GO_ON && !left);
        if (e->failed)
            return;
        drop(e);
    } while (left);
    if (then == GO_ON)
        return;
    searcher *s = e->search;
    if (s->pending) {
        add(e, 0, s->window[s->at - 1]);
        e->at++;
    }
    e->ended = 1;
    if (then == CUT || e->flushes) {
        // An empty block, stored: what follows begins with a whole byte.
        if (e->block.count)
            flush_block(e, s->origin, 0);
        put_empty_block(&e->out);
    }
    if (then == FINISH)
        flush_block(e, s->origin, 1);
}

// Python -----------------------------------------------------------------------------------------------------

typedef struct {
    PyObject_HEAD
    encoder *e;
    int busy; // only changed with the GIL held: one caller at a time
} Encoder;

static PyObject *encoder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    int number, level, memory, ancestor, threads = 1;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "iii|i:Encoder", &number, &level, &memory, &threads))
        return NULL;
    ancestor = number == GZIP || number == INFO_ZIP;
    if (number < ZLIB || number > FLUSHED || level < 1 || level > 9 || (!ancestor && (memory < 7 || memory > 9))) {
        PyErr_SetString(PyExc_ValueError, "an encoder has no such settings");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Encoder *self = (Encoder *)allocate(type, 0);
    if (!self)
        return NULL;
    encoder *e = self->e = calloc(1, sizeof *e);
    if (!e) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    unsigned hash_bits = ancestor ? 15 : (unsigned)memory + 7;
    e->set = (settings){
        .level = level, .ancestor = ancestor, .clamps = number != GZIP,
        .good = levels[level][0], .lazy = levels[level][1], .nice = levels[level][2], .chain = levels[level][3],
        .hash_bits = hash_bits, .hash_shift = (hash_bits + LEAST - 1) / LEAST,
    };
    e->flushes = number == FLUSHED;
    e->threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    e->symbols = ancestor ? MOST_SYMBOLS : 1u << (memory + 6);
    begin_block(&e->block);
    if (!(e->search = start_search(&e->set))) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void encoder_dealloc(Encoder *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    if (self->e) {
        end_encoder(self->e);
    }
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

// Borrows `data` for the call; releases the GIL while it encodes.
static PyObject *encode(Encoder *self, const uint8_t *data, size_t length, int then)
{
    encoder *e = self->e;
    PyObject *result = NULL;
    if (self->busy || e->ended) {
        PyErr_SetString(PyExc_RuntimeError, "this encoder is in use, or has ended");
        return NULL;
    }
    self->busy = 1;
    Py_BEGIN_ALLOW_THREADS
    run(e, data, length, then);
    Py_END_ALLOW_THREADS
    self->busy = 0;
    if (e->out.failed || e->failed) {
        e->ended = 1;
        PyErr_NoMemory();
    } else {
        result = PyBytes_FromStringAndSize((const char *)e->out.bytes, (Py_ssize_t)e->out.length);
    }
    e->out.length = 0;
    return result;
}

static PyObject *encoder_compress(Encoder *self, PyObject *args)
{
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "y*:compress", &data))
        return NULL;
    PyObject *result = encode(self, data.buf, (size_t)data.len, GO_ON);
    PyBuffer_Release(&data);
    return result;
}

static PyObject *encoder_flush(Encoder *self, PyObject *args)
{
    (void)args;
    return encode(self, (const uint8_t *)"", 0, FINISH);
}

static PyObject *encoder_cut(Encoder *self, PyObject *args)
{
    (void)args;
    return encode(self, (const uint8_t *)"", 0, CUT);
}

static PyMethodDef encoder_methods[] = {
    {"compress", (PyCFunction)encoder_compress, METH_VARARGS, "Return what these bytes decide."},
    {"flush", (PyCFunction)encoder_flush, METH_NOARGS, "Return the rest."},
    {"cut", (PyCFunction)encoder_cut, METH_NOARGS, "Return the rest, as the end of a section that others follow."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot encoder_slots[] = {
    {Py_tp_new, encoder_new},
    {Py_tp_dealloc, encoder_dealloc},
    {Py_tp_methods, encoder_methods},
    {Py_tp_doc, "Encoder(number, level, memory, threads=1): raw deflate with a window of 32 KiB."},
    {0, NULL},
};

static PyType_Spec encoder_spec = {"_deflate.Encoder", sizeof(Encoder), 0, Py_TPFLAGS_DEFAULT, encoder_slots};

static int prepare(PyObject *module)
{
    fill_tables();
    PyObject *type = PyType_FromSpec(&encoder_spec);
    int failed = !type || PyModule_AddObjectRef(module, "Encoder", type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, prepare}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_deflate",
    .m_doc = "Deflate encoders whose output is part of the format.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__deflate(void)
{
    return PyModuleDef_Init(&definition);
}
