// SPDX-License-Identifier: Apache-2.0
//
// The intrinsics of x86, or what a test has in their place.

#ifdef EMULATE
#include EMULATE
#else
#include <immintrin.h>
#endif
