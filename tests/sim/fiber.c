#include "sim/fiber.h"

#include "base/alloc.h"

#include <sys/mman.h>
#include <ucontext.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Only what is touched becomes memory; SQLite under sanitizers needs most of it. */
enum { STACK_BYTES = 1 << 20, GUARD_BYTES = 4096, POOL_MAX = 64 };

struct fiber {
    ucontext_t context;
    uint8_t *stack; /* NULL: the caller's own */
    void (*fn)(void *arg);
    void *arg;
    const void *stack_bottom; /* what the sanitizer calls it */
    size_t stack_bytes;
    void *fake_stack;
    void *tsan;
};

/* Stacks of fibers that are gone: worlds come by the thousand. */
static uint8_t *pool[POOL_MAX];
static size_t pool_count;

static uint8_t *stack_new(void)
{
    if (pool_count > 0)
        return pool[--pool_count];
    uint8_t *p = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    SL_ASSERT(p != MAP_FAILED);
    int failed = mprotect(p, GUARD_BYTES, PROT_NONE);
    SL_ASSERT(!failed);
    return p + GUARD_BYTES;
}

static void stack_free(uint8_t *stack)
{
#ifdef WITH_ASAN
    ASAN_UNPOISON_MEMORY_REGION(stack, STACK_BYTES); /* frames that were abandoned */
#endif
    if (pool_count < POOL_MAX)
        pool[pool_count++] = stack;
    else
        (void)munmap(stack - GUARD_BYTES, GUARD_BYTES + STACK_BYTES);
}

static struct fiber *entering, *leaving;

/* The first thing on the other side of a switch. */
static void after_switch(struct fiber *self)
{
#ifdef WITH_ASAN
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(self->fake_stack, &bottom, &bytes);
    if (!leaving->stack) { /* learned when it is left for the first time */
        leaving->stack_bottom = bottom;
        leaving->stack_bytes = bytes;
    }
#endif
}

static void fiber_main(void)
{
    struct fiber *self = entering;
    after_switch(self);
    self->fn(self->arg);
    SL_UNREACHABLE();
}

struct fiber *fiber_new(void (*fn)(void *arg), void *arg)
{
    struct fiber *f = sl_new(struct fiber);
    f->fn = fn;
    f->arg = arg;
    f->stack = stack_new();
    f->stack_bottom = f->stack;
    f->stack_bytes = STACK_BYTES;
    int failed = getcontext(&f->context);
    SL_ASSERT(!failed);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = NULL;
    makecontext(&f->context, fiber_main, 0);
#ifdef WITH_TSAN
    f->tsan = __tsan_create_fiber(0);
#endif
    return f;
}

struct fiber *fiber_of_caller(void)
{
    struct fiber *f = sl_new(struct fiber);
#ifdef WITH_TSAN
    f->tsan = __tsan_get_current_fiber();
#endif
    return f;
}

void fiber_switch(struct fiber *from, struct fiber *to, bool ends)
{
    leaving = from;
    entering = to;
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(ends ? NULL : &from->fake_stack, to->stack_bottom,
                                   to->stack_bytes);
#endif
#ifdef WITH_TSAN
    __tsan_switch_to_fiber(to->tsan, 0); /* switches order what both sides do */
#endif
    int failed = swapcontext(&from->context, &to->context);
    SL_ASSERT(!failed);
    after_switch(from);
}

void fiber_free(struct fiber *f)
{
    if (!f)
        return;
#ifdef WITH_TSAN
    if (f->stack)
        __tsan_destroy_fiber(f->tsan);
#endif
    if (f->stack)
        stack_free(f->stack);
    sl_free(f);
}
