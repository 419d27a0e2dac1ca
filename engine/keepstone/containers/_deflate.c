// SPDX-License-Identifier: Apache-2.0
//
// Deflate as zlib does it, and as its ancestor does it in GNU gzip and in Info-ZIP zip: the bits of oracle.py, fast.
//
// All look for matches alike: hash chains over a window of 32 KiB, lazy evaluation above level 3. They differ in how many
// symbols a block holds and whether it may end early, and in what happens at the very end of the input, where gzip
// compares bytes that are no longer input. So the window is kept exactly as gzip keeps it.

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_chains.h"

enum { ZLIB, GZIP, INFO_ZIP, FLUSHED }; // the encoder's number in a recipe

// Notes a literal (distance 0) or a match; returns whether the block ends with it.
static int note(encoder *e, unsigned distance, unsigned length)
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
    if (e->ancestor && e->level > 2 && !(b->count & 0xFFF)) {
        // Is it better to stop here? The ancestor asks every 4096 symbols.
        unsigned long written = b->count * 8ul, read = (unsigned long)((long)e->at - e->block_at);
        for (int code = 0; code < DISTANCES; code++)
            written += b->distances.freq[code] * (5ul + distance_extra[code]);
        if (b->matches < b->count / 2 && written >> 3 < read / 2)
            return 1;
    }
    return b->count == e->symbols - 1;
}

static void flush_block(encoder *e, int last)
{
    const uint8_t *plain = e->block_at >= 0 ? e->window + e->block_at : NULL;
    end_block(&e->block, plain, (size_t)((long)e->at - e->block_at), last, &e->out);
    e->block_at = (long)e->at;
}

static void step_fast(encoder *e)
{
    unsigned found = insert_here(e), length;
    int full;

    if (within(e, found))
        e->match_length = search(e, found);
    length = e->match_length;
    if (length >= LEAST) {
        full = note(e, e->at - e->match_at, length - LEAST);
        e->ahead -= length;
        if (length <= e->lazy && (e->ancestor || e->ahead >= LEAST)) {
            while (--length)
                e->at++, insert(e, e->at);
            e->at++;
        } else {
            e->at += length;
        }
        e->match_length = 0;
    } else {
        full = note(e, 0, e->window[e->at]);
        e->ahead--;
        e->at++;
    }
    if (full)
        flush_block(e, 0);
}

// Enters all strings before `at` that were not yet.
static void enter_before(encoder *e)
{
    if (e->entered >= e->at)
        return;
    unsigned end = e->at + e->ahead - (LEAST - 1); // zlib enters no string that reaches beyond the input
    if (e->ancestor || end > e->at)
        end = e->at;
    for (; e->entered < end; e->entered++)
        insert(e, e->entered);
    e->entered = e->at;
}

static unsigned find(encoder *e)
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
    return e->before_length < e->lazy && within(e, found) ? search(e, found) : 0;
}

static void step_lazy(encoder *e)
{
    e->before_length = e->match_length;
    e->before_at = e->match_at;
    e->match_length = find(e);
    if (e->match_length < LEAST || (e->match_length == LEAST && e->at - e->match_at > TOO_FAR))
        e->match_length = LEAST - 1;
    if (e->before_length >= LEAST && e->match_length <= e->before_length) {
        int full = note(e, e->at - 1 - e->before_at, e->before_length - LEAST);
        e->ahead -= e->before_length - 1;
        e->at += e->before_length - 1;
        e->pending = 0;
        e->match_length = LEAST - 1;
        if (full)
            flush_block(e, 0);
        return;
    }
    if (e->pending && note(e, 0, e->window[e->at - 1]))
        flush_block(e, 0);
    e->pending = 1;
    e->at++;
    e->ahead--;
}

enum { GO_ON, CUT, FINISH }; // what comes after the input: more of it, another section, nothing

// Encodes as much as the input decides. Needs no GIL.
static void run(encoder *e, const uint8_t *data, size_t left, int then)
{
    for (;;) {
        while (e->ahead < AHEAD && !e->ended)
            if (!refill(e, &data, &left, then != GO_ON))
                return;
        if (!e->ahead)
            break;
        if (!e->ancestor && e->at >= WINDOW + FARTHEST)
            slide(e); // the ancestor slides only to read on
        if (e->level > 3)
            step_lazy(e);
        else
            step_fast(e);
    }
    if (e->pending)
        note(e, 0, e->window[e->at - 1]);
    e->pending = 0;
    if (then == CUT || e->flushes) {
        // An empty block, stored: what follows begins with a whole byte.
        if (e->block.count)
            flush_block(e, 0);
        put_empty_block(&e->out);
    }
    if (then == FINISH)
        flush_block(e, 1);
}

// Python -----------------------------------------------------------------------------------------------------

typedef struct {
    PyObject_HEAD
    encoder *e;
    int busy; // only changed with the GIL held: one thread at a time
} Encoder;

static PyObject *encoder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    int number, level, memory, ancestor;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "iii:Encoder", &number, &level, &memory))
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
    unsigned hash_bits = ancestor ? 15 : (unsigned)memory + 7;
    if (e) {
        e->waiting = malloc(2 * WINDOW);
        if (level > 3)
            e->deep = calloc(1, sizeof *e->deep);
        else
            e->head = calloc((size_t)1 << hash_bits, sizeof *e->head);
    }
    if (!e || !e->waiting || (!e->deep && !e->head)) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    e->level = level, e->ancestor = ancestor, e->clamps = number != GZIP, e->flushes = number == FLUSHED;
    e->good = levels[level][0], e->lazy = levels[level][1], e->nice = levels[level][2], e->chain = levels[level][3];
    e->hash_bits = hash_bits;
    e->hash_shift = (hash_bits + LEAST - 1) / LEAST;
    e->symbols = ancestor ? MOST_SYMBOLS : 1u << (memory + 6);
    e->before_length = LEAST - 1;
    e->match_length = level > 3 ? LEAST - 1 : 0;
    begin_block(&e->block);
    return (PyObject *)self;
}

static void encoder_dealloc(Encoder *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    if (self->e) {
        free(self->e->head);
        free(self->e->waiting);
        free(self->e->deep);
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
    if (e->out.failed)
        PyErr_NoMemory();
    else
        result = PyBytes_FromStringAndSize((const char *)e->out.bytes, (Py_ssize_t)e->out.length);
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
    {Py_tp_doc, "Encoder(number, level, memory): raw deflate with a window of 32 KiB."},
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
