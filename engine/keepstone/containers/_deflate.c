// SPDX-License-Identifier: Apache-2.0
//
// Deflate as zlib does it, and as its ancestor does it in GNU gzip and in Info-ZIP zip: the bits of oracle.py, fast.
//
// All look for matches alike: hash chains over a window of 32 KiB, lazy evaluation above level 3. They differ in how many
// symbols a block holds and whether it may end early, and in what happens at the very end of the input, where gzip
// compares bytes that are no longer input. So the window is kept exactly as gzip keeps it.
//
// Searching is nearly all of the work. A long input is searched in several parts at once, each by a thread; what they
// find is put together where the searches meet, and then written block by block.

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_search.h"

enum { ZLIB, GZIP, INFO_ZIP, FLUSHED }; // the encoder's number in a recipe

#define MOST_THREADS 8
#define EARLY ((size_t)256 << 10) // of this much each piece is searched as it comes: a wrong encoder is soon found out
#define PART ((size_t)512 << 10)  // the least that is worth a thread

// What one thread searches.
typedef struct {
    searcher *search;
    beginnings *seen;
    const input *in;
    uint64_t begin, end;
    PyThread_type_lock done; // held until the thread has ended
} part;

typedef struct {
    settings set;
    int flushes, threads, ended, failed;
    unsigned symbols; // of a block
    part parts[MOST_THREADS]; // the first is the caller's, and its search the one that goes on
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
    if (p->done)
        PyThread_free_lock(p->done);
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
    begin_at(p->search, p->in, p->begin);
    begin_search(p->search, p->in, p->seen);
    search_up_to(p->search, p->in, p->end);
    PyThread_release_lock(p->done);
}

// Starts the thread of a part. Returns 0 if there is no memory or no thread for it.
static int launch(encoder *e, part *p)
{
    if (!p->search && !(p->search = start_search(&e->set)))
        return 0;
    if (!p->seen && !(p->seen = malloc(sizeof *p->seen)))
        return 0;
    if (!p->done && !(p->done = PyThread_allocate_lock()))
        return 0;
    if (!expect(p->search, (size_t)(p->in->end - p->begin)))
        return 0;
    PyThread_acquire_lock(p->done, WAIT_LOCK);
    if (PyThread_start_new_thread(search_part, p) != (unsigned long)-1)
        return 1;
    PyThread_release_lock(p->done);
    return 0;
}

// Divides the input from a place on and starts a thread for each part but the first. Returns the number of parts.
static int divide(encoder *e, const input *in, uint64_t from)
{
    size_t left = (size_t)(in->end - from), count = left / PART;
    if (e->set.level < 4 || from < EARLY || count < 2 || e->threads < 2)
        return 1;
    if (count > (size_t)e->threads)
        count = (size_t)e->threads;
    // The caller writes what it found while the others are still searching, so its part is a fifth smaller.
    size_t share = left * 5 / (5 * count - 1);
    for (int n = 1; n < (int)count; n++) {
        part *p = e->parts + n;
        size_t after = share * (count - (size_t)n - 1);
        p->in = in;
        p->begin = (in->end - after - share) / WINDOW * WINDOW;
        p->end = after ? (in->end - after) / WINDOW * WINDOW : in->end;
        if (!launch(e, p))
            return n;
    }
    return (int)count;
}

// Searches all input that is held, and takes what is found.
static void search_held(encoder *e, int final)
{
    input in = {e->held, e->held_at, e->held_at + e->held_length, final};
    part *first = e->parts;
    uint64_t from = place(first->search);

    if (!expect(first->search, (size_t)(in.end - from))) {
        e->failed = 1;
        return;
    }
    int count = divide(e, &in, from);
    search_up_to(first->search, &in, count > 1 ? first[1].begin : in.end);
    take(e, first->search, 0);
    for (int n = 1; n < count; n++) {
        PyThread_acquire_lock(e->parts[n].done, WAIT_LOCK);
        PyThread_release_lock(e->parts[n].done);
    }
    for (int n = 1; n < count; n++) {
        part *p = e->parts + n;
        long known = meet(first->search, &in, p->seen);
        if (known < 0) {
            search_up_to(first->search, &in, p->end);
            continue;
        }
        take(e, first->search, 0);
        take(e, p->search, (size_t)known);
        searcher *met = first->search;
        first->search = p->search;
        p->search = met;
    }
    search_up_to(first->search, &in, in.end);
    take(e, first->search, 0);
}

enum { GO_ON, CUT, FINISH }; // what comes after the input: more of it, another section, nothing

// Drops input that nobody needs any more: neither the window nor a block that may be stored reaches so far back.
static void drop(encoder *e)
{
    uint64_t needed = e->at > 3 * WINDOW ? e->at - 3 * WINDOW : 0;
    size_t gone = (size_t)(needed - e->held_at);
    if (needed <= e->held_at)
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
        uint64_t from = place(e->parts->search);
        size_t batch = e->threads > 1 && e->set.level > 3 && from >= EARLY ? (size_t)e->threads * 2 * PART : 0;
        if ((then != GO_ON && !left) || e->held_at + e->held_length - from >= batch) {
            search_held(e, then != GO_ON && !left);
            if (e->failed)
                return;
            drop(e);
        }
    } while (left);
    if (then == GO_ON)
        return;
    searcher *s = e->parts->search;
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
    if (!(e->parts->search = start_search(&e->set))) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void encoder_dealloc(Encoder *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    if (self->e) {
        for (int n = 0; n < MOST_THREADS; n++)
            end_part(self->e->parts + n);
        free(self->e->held);
        free(self->e->out.bytes);
        free(self->e);
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
