/* One function for each row of methods.def. Each gets a call that has begun and ends it. */
#ifndef SLUICE_GRPC_HANDLERS_H
#define SLUICE_GRPC_HANDLERS_H

struct grpc_call;

void grpc_handle_publish(struct grpc_call *c);
void grpc_handle_batch_publish(struct grpc_call *c);
void grpc_handle_list_topics(struct grpc_call *c);
void grpc_handle_create_topic(struct grpc_call *c);
void grpc_handle_delete_topic(struct grpc_call *c);
void grpc_handle_subscribe(struct grpc_call *c);
void grpc_handle_health_check(struct grpc_call *c);
void grpc_handle_health_watch(struct grpc_call *c);
void grpc_handle_reflection(struct grpc_call *c);

/* streamhouse.StreamHouse and streamhouse.producer.ProducerService */
void grpc_producer_heartbeat(struct grpc_call *c);
void grpc_producer_init_producer(struct grpc_call *c);
void grpc_producer_produce(struct grpc_call *c);
void grpc_streamhouse_commit_offset(struct grpc_call *c);
void grpc_streamhouse_consume(struct grpc_call *c);
void grpc_streamhouse_create_topic(struct grpc_call *c);
void grpc_streamhouse_delete_topic(struct grpc_call *c);
void grpc_streamhouse_get_offset(struct grpc_call *c);
void grpc_streamhouse_get_topic(struct grpc_call *c);
void grpc_streamhouse_heartbeat(struct grpc_call *c);
void grpc_streamhouse_init_producer(struct grpc_call *c);
void grpc_streamhouse_list_topics(struct grpc_call *c);
void grpc_streamhouse_produce(struct grpc_call *c);
void grpc_streamhouse_produce_batch(struct grpc_call *c);
void grpc_streamhouse_transaction(struct grpc_call *c);

#endif
