/* The two-stage chunker, scalar kernel. One job: find the cuts of a buffer.
 *
 * The specification is docs/format.md ("The chunker"); oracle.py is the same in plain Python, and the tests hold both
 * to equal cuts. The scan allocates nothing and runs without the GIL; the caller's buffer is borrowed, never copied.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

enum { WINDOW = 64, FILTER = 8 };

typedef struct {
    uint8_t table[256]; /* the secret linear map, applied to each byte */
    uint64_t k0, k1;    /* SipHash key */
    uint8_t t, u, mask;
    size_t minimum, maximum, normal;
    uint64_t strict, loose;
} params;

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIPROUND                                                                                       \
    do {                                                                                               \
        v0 += v1; v1 = ROTL(v1, 13) ^ v0; v0 = ROTL(v0, 32);                                           \
        v2 += v3; v3 = ROTL(v3, 16) ^ v2;                                                              \
        v0 += v3; v3 = ROTL(v3, 21) ^ v0;                                                              \
        v2 += v1; v1 = ROTL(v1, 17) ^ v2; v2 = ROTL(v2, 32);                                           \
    } while (0)

static inline uint64_t load64(const uint8_t *p) {
    uint64_t x;
    memcpy(&x, p, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

/* SipHash-1-3 of the 64 bytes at p (Aumasson and Bernstein, INDOCRYPT 2012). */
static uint64_t decision(const params *s, const uint8_t *p) {
    uint64_t v0 = s->k0 ^ 0x736f6d6570736575u, v1 = s->k1 ^ 0x646f72616e646f6du;
    uint64_t v2 = s->k0 ^ 0x6c7967656e657261u, v3 = s->k1 ^ 0x7465646279746573u;
    for (int i = 0; i < WINDOW; i += 8) {
        uint64_t m = load64(p + i);
        v3 ^= m;
        SIPROUND;
        v0 ^= m;
    }
    const uint64_t last = (uint64_t)WINDOW << 56;
    v3 ^= last;
    SIPROUND;
    v0 ^= last;
    v2 ^= 0xff;
    SIPROUND;
    SIPROUND;
    SIPROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

/* G(i) from the 8 bytes that end at p[0]. Only called where the first condition held: one position in 256. */
static inline uint8_t filter_at(const params *s, const uint8_t *p) {
    uint8_t g = 0;
    for (int i = FILTER - 1; i >= 0; i--)
        g = (uint8_t)(g << 1) ^ s->table[p[-i]];
    return g;
}

/* Return the first i in [from, to) with G(i) = t, or `to`. `*g` is G(from - 1) on entry and G(i) on return.
 *
 * The register is wider than 8 bits and never masked: bits above the eighth only move up, so the low byte is exact. */
static inline size_t next_match(const params *s, const uint8_t *data, size_t from, size_t to, uint32_t *g) {
    uint32_t r = *g;
    const uint8_t t = s->t, *table = s->table;
    size_t i = from;
    for (; i + 4 <= to; i += 4) {
        uint32_t a = (r << 1) ^ table[data[i]], b = (a << 1) ^ table[data[i + 1]];
        uint32_t c = (b << 1) ^ table[data[i + 2]], d = (c << 1) ^ table[data[i + 3]];
        if (((uint8_t)a == t) | ((uint8_t)b == t) | ((uint8_t)c == t) | ((uint8_t)d == t)) {
            if ((uint8_t)a == t) { *g = a; return i; }
            if ((uint8_t)b == t) { *g = b; return i + 1; }
            if ((uint8_t)c == t) { *g = c; return i + 2; }
            *g = d;
            return i + 3;
        }
        r = d;
    }
    for (; i < to; i++) {
        r = (r << 1) ^ table[data[i]];
        if ((uint8_t)r == t)
            break;
    }
    *g = r;
    return i;
}

/* Return the end of the chunk that begins at `start`, or 0 if the buffer does not decide it.
 *
 * Bytes before `start` are never read: the first position that may be cut is `minimum` bytes in, and both windows
 * (64 and 16 bytes) fit into the smallest minimum (1024 bytes). */
static size_t next_cut(const params *s, const uint8_t *data, size_t size, size_t start, int final) {
    const size_t left = size - start;
    const size_t limit = left < s->maximum ? size : start + s->maximum;
    uint64_t least = UINT64_MAX;
    size_t least_end = 0;
    if (left >= s->minimum) {
        size_t i = start + s->minimum - 1;
        uint32_t g = filter_at(s, data + i - 1);
        while ((i = next_match(s, data, i, limit, &g)) < limit) {
            if ((filter_at(s, data + i - FILTER) & s->mask) == (s->u & s->mask)) {
                const uint64_t h = decision(s, data + i + 1 - WINDOW);
                if (h < (i + 1 - start <= s->normal ? s->strict : s->loose))
                    return i + 1;
                if (least_end == 0 || h < least) {
                    least = h;
                    least_end = i + 1;
                }
            }
            i++;
        }
    }
    if (left >= s->maximum)
        return least_end ? least_end : limit;
    return final ? size : 0;
}

/* Fill `ends` with up to `room` cuts from `*start` on; return how many, and leave `*start` at the last one. */
static size_t scan(const params *s, const uint8_t *data, size_t size, int final, size_t *start, size_t *ends,
                   size_t room) {
    size_t count = 0;
    while (count < room && *start < size) {
        const size_t end = next_cut(s, data, size, *start, final);
        if (!end)
            break;
        ends[count++] = end;
        *start = end;
    }
    return count;
}

/* Append cuts to a list. Return 0, or -1 with an exception set. */
static int append_all(PyObject *list, const size_t *ends, size_t count) {
    for (size_t i = 0; i < count; i++) {
        PyObject *end = PyLong_FromSize_t(ends[i]);
        if (!end || PyList_Append(list, end) < 0) {
            Py_XDECREF(end);
            return -1;
        }
        Py_DECREF(end);
    }
    return 0;
}

/* cuts(buffer, final, table, sip_key, t, u, mask, minimum, maximum, normal, strict, loose) -> list of ends.
 *
 * Borrows the buffer for the call and holds its view, so the owner cannot resize it; the GIL is released while
 * scanning. A writer in another thread would change what is cut, not where memory is read. */
static PyObject *cuts(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *object;
    int final;
    const char *table, *key;
    Py_ssize_t table_size, key_size, minimum, maximum, normal;
    unsigned char t, u, mask;
    unsigned long long strict, loose;
    if (!PyArg_ParseTuple(args, "Opy#y#bbbnnnKK:cuts", &object, &final, &table, &table_size, &key, &key_size, &t, &u,
                          &mask, &minimum, &maximum, &normal, &strict, &loose))
        return NULL;
    if (table_size != 256 || key_size != 16 || minimum < 128 || maximum < minimum) {
        PyErr_SetString(PyExc_ValueError, "chunker parameters out of range");
        return NULL;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    params s = {.t = t, .u = u, .mask = mask, .minimum = (size_t)minimum, .maximum = (size_t)maximum,
                .normal = (size_t)normal, .strict = strict, .loose = loose};
    memcpy(s.table, table, 256);
    s.k0 = load64((const uint8_t *)key);
    s.k1 = load64((const uint8_t *)key + 8);

    PyObject *list = PyList_New(0);
    size_t start = 0, ends[256], count = 256;
    while (list && count == 256) {
        Py_BEGIN_ALLOW_THREADS
        count = scan(&s, view.buf, (size_t)view.len, final, &start, ends, 256);
        Py_END_ALLOW_THREADS
        if (append_all(list, ends, count) < 0)
            Py_CLEAR(list);
    }
    PyBuffer_Release(&view);
    return list;
}

static PyMethodDef methods[] = {
    {"cuts", cuts, METH_VARARGS, "Return the end of every chunk that the buffer decides."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_cdc", "The scalar kernel of the two-stage chunker.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__cdc(void) { return PyModuleDef_Init(&module); }
