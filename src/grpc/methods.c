#include "grpc/grpc_int.h"
#include "grpc/handlers.h"
#include "proto/health.pb-c.h"
#include "proto/producer.pb-c.h"
#include "proto/reflection.pb-c.h"
#include "proto/sluice.pb-c.h"
#include "proto/streamhouse.pb-c.h"

const struct grpc_method grpc__methods[] = {
#define METHOD(s, m, k, in, out, handler)                                                          \
    {s, m, GRPC_##k, &in##__descriptor, &out##__descriptor, handler},
#include "grpc/methods.def"
#undef METHOD
};
const size_t grpc__n_methods = SL_ARRAY_LEN(grpc__methods);
static_assert(SL_ARRAY_LEN(grpc__methods) <= GRPC_METHODS_MAX, "metrics have a place for each");

static bool is_path(struct slice path, const struct grpc_method *m)
{
    size_t n = strlen(m->service);
    if (path.len < n + 2 || path.data[0] != '/' || path.data[n + 1] != '/')
        return false;
    return memcmp(path.data + 1, m->service, n) == 0 &&
           slice_eq_str(slice_sub(path, n + 2, path.len - n - 2), m->name);
}

const struct grpc_method *grpc__method(struct slice path)
{
    for (size_t i = 0; i < grpc__n_methods; i++)
        if (is_path(path, &grpc__methods[i]))
            return &grpc__methods[i];
    return NULL;
}

bool grpc__serves(struct slice service)
{
    if (service.len == 0)
        return true;
    for (size_t i = 0; i < grpc__n_methods; i++)
        if (slice_eq_str(service, grpc__methods[i].service))
            return true;
    return false;
}
