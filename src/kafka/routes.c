#include "kafka/kafka_int.h"

const struct kafka_route kafka__routes[] = {
#define API(key, name, first, last, handler, flags) {key, first, last, handler, flags},
#include "kafka/api_keys.def"
#undef API
};
const size_t kafka__n_routes = SL_ARRAY_LEN(kafka__routes);

sl_err kafka_door_start(const struct kafka_door_cfg *cfg, struct broker *broker,
                        struct loop *const *loops, size_t n_loops, struct sl_fault *fault,
                        struct kafka_door **ret)
{
    return kafka__door_start(cfg, kafka__routes, kafka__n_routes, broker, loops, n_loops, fault,
                             ret);
}
