#include "kafka_codec/codec.h"

#include "kafka_codec/messages.h"

int16_t kafka_request_header_version(const struct kafka_api *api, int16_t version)
{
    return version >= api->request->first_flexible ? 2 : 1;
}

int16_t kafka_response_header_version(const struct kafka_api *api, int16_t version)
{
    /* A client that asks for versions cannot know how flexible the broker is. */
    if (api->key == KAFKA_API_API_VERSIONS)
        return 0;
    return version >= api->response->first_flexible ? 1 : 0;
}
