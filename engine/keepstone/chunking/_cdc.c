// SPDX-License-Identifier: Apache-2.0
//
// The compiled chunker for Python: it takes arguments apart, lets the scan run without the GIL, and lists the ends.
// The scan is in kernels/scan.c; a kernel is named by its place in kernels/table.c.

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "kernels/scan.h"

// Returns a new list of the first `count` ends, or NULL with an exception set. Needs the GIL.
static PyObject *list_of(const size_t *ends, size_t count)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *end = PyLong_FromSize_t(ends[i]);
        if (!end || PyList_SetItem(list, (Py_ssize_t)i, end) < 0) // the list takes over `end`
            Py_CLEAR(list);
    }
    return list;
}

// Returns the kernel at a place of the table, or NULL with ValueError set if it can not run here. Needs the GIL.
static const kernel *kernel_at(int place, int aes)
{
    for (const kernel *k = kernels; k->name && place >= 0; k++)
        if (place-- == 0 && k->aes == aes && (!k->works || k->works()))
            return k;
    PyErr_SetString(PyExc_ValueError, "there is no such kernel of the chunker here");
    return NULL;
}

// Returns the list of ends of one scan, or NULL with an exception set. Needs the GIL, and releases it for the scan. The
// array of ends is allocated before.
static PyObject *ends_of(const kernel *k, const Py_buffer *data, int final, const rules *r)
{
    PyObject *result = NULL;
    size_t *ends = PyMem_Malloc(((size_t)data->len / r->minimum + 1) * sizeof *ends);
    if (ends) {
        size_t count;
        Py_BEGIN_ALLOW_THREADS
        count = scan(k, data->buf, (size_t)data->len, final, r, ends);
        Py_END_ALLOW_THREADS
        result = list_of(ends, count);
    } else {
        PyErr_NoMemory();
    }
    PyMem_Free(ends);
    return result;
}

// Sets ValueError. Returns NULL. Needs the GIL.
static PyObject *refuse(const char *why)
{
    PyErr_SetString(PyExc_ValueError, why);
    return NULL;
}

#define WRONG_LENGTH "a secret of the chunker has the wrong length"

// two_stage(kernel, data, final, mask_bits, minimum, normal, maximum, strict, loose, sip_key, table, t, u) -> list of
// end offsets. Borrows the buffers for the call and copies none, so their owner can not resize them. A negative length
// becomes a huge one, which is refused.
static PyObject *two_stage(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer data, sip_key, table;
    rules r;
    int place, final;
    Py_ssize_t minimum, normal, maximum;
    unsigned long long strict, loose;
    unsigned char t, u;
    PyObject *result = NULL;

    if (!PyArg_ParseTuple(args, "iy*pInnnKKy*y*bb:two_stage", &place, &data, &final, &r.mask_bits, &minimum, &normal,
                          &maximum, &strict, &loose, &sip_key, &table, &t, &u))
        return NULL;
    r.minimum = (size_t)minimum, r.normal = (size_t)normal, r.maximum = (size_t)maximum;
    r.strict = strict, r.loose = loose;
    if (sip_key.len != 16 || table.len != 256) {
        refuse(WRONG_LENGTH);
    } else {
        const kernel *k = kernel_at(place, 0);
        const char *wrong = prepare_two_stage(&r, sip_key.buf, table.buf, t, u);
        if (k)
            result = wrong ? refuse(wrong) : ends_of(k, &data, final, &r);
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&sip_key);
    PyBuffer_Release(&table);
    return result;
}

// aes(kernel, data, final, mask_bits, minimum, normal, maximum, strict, loose, key) -> list of end offsets. As above.
static PyObject *aes(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer data, key;
    rules r;
    int place, final;
    Py_ssize_t minimum, normal, maximum;
    unsigned long long strict, loose;
    PyObject *result = NULL;

    if (!PyArg_ParseTuple(args, "iy*pInnnKKy*:aes", &place, &data, &final, &r.mask_bits, &minimum, &normal, &maximum,
                          &strict, &loose, &key))
        return NULL;
    r.minimum = (size_t)minimum, r.normal = (size_t)normal, r.maximum = (size_t)maximum;
    r.strict = strict, r.loose = loose;
    if (key.len != 16) {
        refuse(WRONG_LENGTH);
    } else {
        const kernel *k = kernel_at(place, 1);
        const char *wrong = prepare_aes(&r, key.buf);
        if (k)
            result = wrong ? refuse(wrong) : ends_of(k, &data, final, &r);
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&key);
    return result;
}

// available() -> list of (place, algorithm, name) of the kernels that work here, the faster first. Needs the GIL.
static PyObject *available(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    PyObject *list = PyList_New(0);
    for (const kernel *k = kernels; list && k->name; k++) {
        if (k->works && !k->works())
            continue;
        PyObject *row = Py_BuildValue("iss", (int)(k - kernels), k->aes ? "aes" : "two-stage", k->name);
        if (!row || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

// Returns the bytes of a buffer, copied while other threads run. It is what `bytes` does, but a megabyte takes long
// enough to keep every thread that hashes, compresses or seals waiting for the interpreter.
static PyObject *copied(PyObject *self, PyObject *data)
{
    Py_buffer view;

    (void)self;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *copy = PyBytes_FromStringAndSize(NULL, view.len);
    if (copy != NULL) {
        char *target = PyBytes_AsString(copy); // nobody else has seen it yet
        Py_BEGIN_ALLOW_THREADS
        memcpy(target, view.buf, (size_t)view.len);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&view);
    return copy;
}

static PyMethodDef methods[] = {
    {"two_stage", two_stage, METH_VARARGS, "Return the ends of all chunks that the data decides, by two-stage."},
    {"aes", aes, METH_VARARGS, "Return the ends of all chunks that the data decides, by aes."},
    {"copied", copied, METH_O, "Return the bytes of a buffer, copied while other threads run."},
    {"available", available, METH_NOARGS, "Return place, algorithm and name of the kernels that work here."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_cdc",
    .m_doc = "The compiled kernels of the chunker.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__cdc(void)
{
    return PyModuleDef_Init(&definition);
}
