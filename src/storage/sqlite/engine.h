/* The SQLite engine: one row per record in DIR/sluice.db (docs/formats/sluice-db.md).
 *
 * For the router (../router.c) only: topics are made and deleted by the local engine too, which
 * keeps topic.meta and the rows of meta.db. Same contract as every engine; LOG_BUFFERED is as
 * LOG_DURABLE. Transactional batches are refused with SL_ETXN_STATE. */
#ifndef SLUICE_STORAGE_SQLITE_ENGINE_H
#define SLUICE_STORAGE_SQLITE_ENGINE_H

#include "storage/log_engine.h"

/* Blocking, after the local engine has recovered (meta.db is right then). Makes no file while there
 * is no topic of this engine. SL_EFORMAT, SL_ECORRUPT, SL_EIO. */
sl_err sqlog_open(const struct log_cfg *cfg, const struct log_env *env, struct sl_fault *fault,
                  struct log_engine **ret) SL_CHECKED;
/* Before the rows of a topic in meta.db go: its appends and reads end with SL_ETOPIC. false: the
 * drop failed, they may go on. */
void sqlog_topic_block(struct log_engine *base, const struct uuid *topic_id, bool blocked);
bool sqlog_topic_is_known(struct log_engine *base, const struct uuid *topic_id);

#endif
