/* Names of files in the data directory (STORAGE.md b). Any thread. */
#ifndef SLUICE_STORAGE_PATHS_INT_H
#define SLUICE_STORAGE_PATHS_INT_H

#include "base/uuid.h"
#include "vfs/vfs.h"

enum { PATH_BYTES = 1024 };

void paths__join(char ret[PATH_BYTES], const char *dir, const char *name);
void paths__topic_dir(char ret[PATH_BYTES], const char *data_dir, const struct uuid *topic);
void paths__part_dir(char ret[PATH_BYTES], const char *data_dir, const struct uuid *topic,
                     int32_t index);
void paths__deleted_topic_dir(char ret[PATH_BYTES], const char *data_dir, const struct uuid *topic);
void paths__concat(char ret[PATH_BYTES], const char *stem, const char *ext);
/* Unlinks a topic's folder: partitions and their files. Blocking. */
sl_err paths__remove_tree(struct vfs *v, const char *dir) SL_CHECKED;
/* ext: ".log", ".idx", ".tix". */
void paths__segment(char ret[PATH_BYTES], const char *data_dir, const struct uuid *topic,
                    int32_t index, int64_t base_offset, const char *ext);
/* True for "<20 digits>.log". */
bool paths__parse_segment(const char *name, int64_t *ret_base);

void paths__journal_dir(char ret[PATH_BYTES], const char *data_dir);
void paths__journal_file(char ret[PATH_BYTES], const char *journal_dir, uint32_t number);
void paths__journal_damaged(char ret[PATH_BYTES], const char *journal_dir, uint32_t number);
bool paths__parse_journal(const char *name, uint32_t *ret_number);

#endif
