// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_sizes.h - the sizes of real files, for values of mixed sizes.
 *
 * The regular files below /usr/share of a Debian 12 development machine that hold 1 byte to 1 MiB, 57,240 of them,
 * sorted by size and cut into 128 classes of equally many; a size is the middle one of its class. The largest class, in
 * which sizes spread most, is cut into 32 in the same way. The mean of the draws, 10,364 bytes, is that of the files
 * but for 0.3 %. Half of the values is below 1.4 KB and holds 4 % of the bytes.
 */
#ifndef NOKV_BENCH_SIZES_H
#define NOKV_BENCH_SIZES_H

#include <stdint.h>

enum { SIZES_CLASSES = 128, SIZES_TOP_CLASSES = 32 }; /* powers of two */

/* Bytes; of class SIZES_CLASSES - 1 there is more in sizes_top. */
static const uint32_t sizes_of_class[SIZES_CLASSES - 1] = {
    42,    59,    113,   153,   182,   208,   234,   260,   285,   311,   339,   364,   389,   410,    428,    447,
    466,   484,   499,   519,   536,   552,   568,   584,   602,   620,   638,   659,   677,   698,    720,    742,
    763,   785,   806,   832,   857,   881,   902,   924,   945,   966,   987,   1005,  1023,  1042,   1061,   1078,
    1095,  1112,  1134,  1153,  1174,  1194,  1216,  1235,  1257,  1280,  1308,  1332,  1357,  1385,   1414,   1440,
    1466,  1495,  1521,  1549,  1575,  1604,  1633,  1663,  1696,  1736,  1781,  1828,  1881,  1939,   2004,   2071,
    2140,  2212,  2287,  2369,  2459,  2560,  2654,  2756,  2854,  2952,  3054,  3177,  3309,  3438,   3596,   3775,
    3896,  4129,  4397,  4704,  5004,  5393,  5781,  6259,  6753,  7326,  7985,  8709,  9332,  10252,  11176,  12299,
    13602, 15131, 16849, 18840, 21001, 23239, 26109, 29102, 33731, 40532, 50139, 63242, 81992, 108898, 155219,
};

static const uint32_t sizes_top[SIZES_TOP_CLASSES] = {
    209226, 213209, 217560, 222328, 230219, 234993, 240261, 246913, 251159, 256161, 263288,
    268591, 279999, 289190, 302291, 313047, 330619, 341923, 353864, 367649, 380946, 410266,
    435517, 442556, 487475, 516580, 597210, 621617, 669831, 759720, 861689, 986224,
};

#endif
