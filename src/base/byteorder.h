/* Fixed-width integers at any address, big-endian (wire) and little-endian (our files). */
#ifndef SLUICE_BASE_BYTEORDER_H
#define SLUICE_BASE_BYTEORDER_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define SL_DEFINE_ENDIAN(bits)                                                                     \
    static inline uint##bits##_t get_be##bits(const void *p)                                       \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof v);                                                                   \
        return be##bits##toh(v);                                                                   \
    }                                                                                              \
    static inline uint##bits##_t get_le##bits(const void *p)                                       \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof v);                                                                   \
        return le##bits##toh(v);                                                                   \
    }                                                                                              \
    static inline void put_be##bits(void *p, uint##bits##_t v)                                     \
    {                                                                                              \
        v = htobe##bits(v);                                                                        \
        memcpy(p, &v, sizeof v);                                                                   \
    }                                                                                              \
    static inline void put_le##bits(void *p, uint##bits##_t v)                                     \
    {                                                                                              \
        v = htole##bits(v);                                                                        \
        memcpy(p, &v, sizeof v);                                                                   \
    }                                                                                              \
    struct sl_swallow_semicolon_

SL_DEFINE_ENDIAN(16);
SL_DEFINE_ENDIAN(32);
SL_DEFINE_ENDIAN(64);

#endif
