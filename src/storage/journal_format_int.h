/* Bytes of the journal (docs/formats/journal.md) and the inside of struct journal; journal.c writes
 * them, journal_read.c reads them. */
#ifndef SLUICE_STORAGE_JOURNAL_FORMAT_INT_H
#define SLUICE_STORAGE_JOURNAL_FORMAT_INT_H

#include "storage/journal_int.h"

#include <assert.h>

enum {
    JOURNAL_HEADER_COPY_POS = 2048,
    JOURNAL_FILES_ROOM = 64, /* files_max and those a former setting left */
};

/* File header: magic u32, version u32, uuid 16, seq u64, first_lsn u64, before_end u64, zeros, crc
 * u32 at 60. */
enum {
    JHDR_MAGIC = 0,
    JHDR_VERSION = 4,
    JHDR_UUID = 8,
    JHDR_SEQ = 24,
    JHDR_LSN = 32,
    JHDR_BEFORE_END = 40,
    JHDR_CRC = 60
};

/* Group header: all little-endian; zeros from 32 on. */
enum {
    JGRP_MAGIC = 0,
    JGRP_LEN = 4,
    JGRP_CRC = 8,
    JGRP_LSN = 12,
    JGRP_SYNCED = 20,
    JGRP_COUNT = 28
};

enum {
    JREC_LEN = 0,
    JREC_CRC = 4,
    JREC_LSN = 8,
    JREC_PID = 16,
    JREC_SEG_BASE = 24,
    JREC_SEG_POS = 32,
    JREC_BASE_OFFSET = 40,
    JREC_TYPE = 48,
    JREC_FLAGS = 50,
};
static_assert(JREC_FLAGS + 2 == JOURNAL_RECORD_BYTES, "docs/formats/journal.md");
static_assert(JGRP_COUNT + 4 == 32, "docs/formats/journal.md");
static_assert(JHDR_CRC + 4 == JOURNAL_HEADER_BYTES, "docs/formats/journal.md");

enum journal_file_state { JFILE_FREE, JFILE_CURRENT, JFILE_FULL };

struct journal_file {
    struct vfs_file *file;
    uint32_t number; /* of its name */
    uint32_t seed;
    uint64_t bytes, seq;
    uint64_t before_end; /* LSN at which the file before it ends for good; 0: not known */
    struct uuid uuid;
    enum journal_file_state state;
};

struct journal {
    struct vfs *vfs;
    char *dir;
    struct rng *rng;
    uint64_t file_bytes;
    uint32_t files_max;
    void (*on_full)(void *arg);
    void *on_full_arg;
    /* log-writer thread, before it starts the opener; pos is written under the lock */
    struct journal_file *current;
    uint64_t pos, seq_max, synced_lsn;
    bool unsynced;
    bool header_lost; /* a file was set aside: its sequence is not known */
    /* under the lock */
    struct mutex *mutex;
    struct cond *freed;
    struct journal_file files[JOURNAL_FILES_ROOM];
    size_t n_files;
    uint32_t next_number, files_wanted;
};

uint32_t journal__seed(const struct uuid *uuid);
void journal__write_header(uint8_t *p, uint64_t seq, const struct uuid *uuid, uint64_t before_end);
void journal__write_group(uint8_t *p, uint32_t seed, uint32_t len, uint64_t lsn,
                          uint64_t synced_lsn, uint32_t count);
/* Without LSN and CRC. */
void journal__write_record(uint8_t *p, const struct journal_record *r);
/* Over the header; continue with the payload. */
uint32_t journal__record_crc(uint32_t seed, const uint8_t *head);

#endif
