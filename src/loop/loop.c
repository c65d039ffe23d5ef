#include "loop/loop.h"

#include "base/alloc.h"
#include "loop/loop_int.h"

/* A task that defers itself each time must not keep the loop from its sockets. */
enum { DEFER_ROUNDS_MAX = 16 };

/* ---- task lists ---------------------------------------------------------------------------- */

static void task_list_init(struct task_list *q)
{
    q->first = NULL;
    q->end = &q->first;
}

static void task_list_push(struct task_list *q, struct task *t)
{
    t->next = NULL;
    *q->end = t;
    q->end = &t->next;
}

/* A task may be queued again, or freed, as soon as it runs. */
static void run_tasks(struct task *t)
{
    while (t) {
        struct task *next = t->next;
        t->run(t);
        t = next;
    }
}

/* ---- mailbox ------------------------------------------------------------------------------- */

void loop_post(struct loop *l, struct task *t)
{
    struct task *head = atomic_load_explicit(&l->inbox, memory_order_relaxed);
    do
        t->next = head;
    while (!atomic_compare_exchange_weak_explicit(&l->inbox, &head, t, memory_order_release,
                                                  memory_order_relaxed));
    if (head) /* who made it non-empty wakes the loop for all of us */
        return;
    int failed =
        loop_is_current(l) ? uv_idle_start(&l->again, l->again.idle_cb) : uv_async_send(&l->wake);
    SL_ASSERT(!failed);
}

static struct task *reversed(struct task *t)
{
    struct task *result = NULL;
    while (t) {
        struct task *next = t->next;
        t->next = result;
        result = t;
        t = next;
    }
    return result;
}

static bool run_inbox(struct loop *l)
{
    struct task *newest = atomic_exchange_explicit(&l->inbox, NULL, memory_order_acquire);
    run_tasks(reversed(newest));
    return newest != NULL;
}

static void on_wake(uv_async_t *handle)
{
    (void)run_inbox(handle->data);
}

static void on_again(uv_idle_t *handle)
{
    (void)uv_idle_stop(handle); /* never fails; tasks that post start it again */
    (void)run_inbox(handle->data);
}

/* ---- end of the turn ------------------------------------------------------------------------ */

void loop_defer(struct loop *l, struct task *t)
{
    SL_ASSERT(loop_is_current(l));
    task_list_push(&l->deferred, t);
}

void loop__flush(struct loop *l, struct flush *f)
{
    if (!list_linked(&f->node))
        list_push_back(&l->flushes, &f->node);
}

static void run_flushes(struct loop *l)
{
    struct list *node;
    while ((node = list_pop_front(&l->flushes))) {
        struct flush *f = SL_CONTAINER_OF(node, struct flush, node);
        f->run(f);
    }
}

static void finish_turn(struct loop *l)
{
    for (int round = 0; round < DEFER_ROUNDS_MAX; round++) {
        struct task *t = l->deferred.first;
        task_list_init(&l->deferred);
        run_tasks(t);
        if (!l->deferred.first)
            run_flushes(l); /* may call on_drained, which may defer */
        if (!l->deferred.first)
            return;
    }
    run_flushes(l);
    int failed = uv_idle_start(&l->again, l->again.idle_cb);
    SL_ASSERT(!failed);
}

/* ---- time ---------------------------------------------------------------------------------- */

int64_t loop_now_ns(const struct loop *const_l)
{
    struct loop *l = (struct loop *)const_l; /* a cache: logically const */
    uint64_t uv_ms = uv_now(&l->uv);
    if (!l->now_known || l->now_uv_ms != uv_ms) {
        l->now_ns = clock_monotonic_ns(l->clock);
        l->now_uv_ms = uv_ms;
        l->now_known = true;
    }
    return l->now_ns;
}

int64_t loop_now_ms(const struct loop *l)
{
    return loop_now_ns(l) / 1000000;
}

const struct clock *loop_clock(const struct loop *l)
{
    return l->clock;
}

static void on_next_timer(uv_timer_t *handle)
{
    struct loop *l = handle->data;
    l->armed_ms = INT64_MAX;
    int64_t now_ms = loop_now_ms(l);
    uint64_t order_end = l->timers.next_order; /* one that starts itself again waits a turn */
    struct heap_node *node;
    while ((node = heap_first(&l->timers)) && node->key <= now_ms && node->order < order_end) {
        heap_remove(&l->timers, node);
        struct timer *t = SL_CONTAINER_OF(node, struct timer, node);
        t->fire(t);
    }
}

/* Timers come and go all the time; libuv's own is set once, before each poll. */
static void arm_next_timer(struct loop *l)
{
    const struct heap_node *first = heap_first(&l->timers);
    int64_t due_ms = first ? first->key : INT64_MAX;
    if (due_ms == l->armed_ms)
        return;
    l->armed_ms = due_ms;
    int failed = 0;
    if (first)
        failed = uv_timer_start(&l->next_timer, on_next_timer,
                                (uint64_t)SL_MAX(due_ms - loop_now_ms(l), (int64_t)0), 0);
    else
        failed = uv_timer_stop(&l->next_timer);
    SL_ASSERT(!failed);
}

static void on_prepare(uv_prepare_t *handle)
{
    struct loop *l = handle->data;
    finish_turn(l); /* of timers and pending callbacks, which run before the poll */
    arm_next_timer(l);
    l->now_known = false;
}

static void on_check(uv_check_t *handle)
{
    struct loop *l = handle->data;
    finish_turn(l);
    l->now_known = false;
}

void timer_init(struct timer *t, struct loop *l, void (*fire)(struct timer *t))
{
    *t = (struct timer){.loop = l, .fire = fire};
}

void timer_start(struct timer *t, int64_t delay_ms)
{
    SL_ASSERT(loop_is_current(t->loop));
    heap_remove(&t->loop->timers, &t->node);
    int64_t due_ms;
    if (__builtin_add_overflow(loop_now_ms(t->loop), SL_MAX(delay_ms, (int64_t)0), &due_ms))
        due_ms = INT64_MAX - 1;
    heap_push(&t->loop->timers, &t->node, due_ms);
}

void timer_stop(struct timer *t)
{
    if (!timer_running(t))
        return;
    SL_ASSERT(loop_is_current(t->loop));
    heap_remove(&t->loop->timers, &t->node);
}

/* ---- life ---------------------------------------------------------------------------------- */

/* All but `wake` and `again` let the loop end: they serve others. */
static int init_handles(struct loop *l)
{
    int failed = uv_async_init(&l->uv, &l->wake, on_wake);
    if (failed)
        return failed;
    (void)uv_idle_init(&l->uv, &l->again); /* these four never fail */
    (void)uv_prepare_init(&l->uv, &l->prepare);
    (void)uv_check_init(&l->uv, &l->check);
    (void)uv_timer_init(&l->uv, &l->next_timer);
    l->wake.data = l->again.data = l->prepare.data = l->check.data = l->next_timer.data = l;
    l->again.idle_cb = on_again;
    uv_unref((uv_handle_t *)&l->prepare);
    uv_unref((uv_handle_t *)&l->check);
    uv_unref((uv_handle_t *)&l->next_timer);
    (void)uv_prepare_start(&l->prepare, on_prepare);
    (void)uv_check_start(&l->check, on_check);
    return 0;
}

sl_err loop_new(const struct clock *clock, struct loop **ret)
{
    struct loop *l = sl_new(struct loop);
    int failed = uv_loop_init(&l->uv);
    if (failed) {
        sl_free(l);
        return sl_err_from_errno(-failed);
    }
    failed = init_handles(l);
    if (failed) {
        (void)uv_loop_close(&l->uv); /* nothing was opened on it */
        sl_free(l);
        return sl_err_from_errno(-failed);
    }
    l->clock = clock;
    l->armed_ms = INT64_MAX;
    atomic_init(&l->owner, pthread_self());
    atomic_init(&l->inbox, NULL);
    task_list_init(&l->deferred);
    list_init(&l->flushes);
    heap_init(&l->timers);
    *ret = l;
    return SL_OK;
}

bool loop_is_current(const struct loop *l)
{
    return pthread_equal(atomic_load_explicit(&l->owner, memory_order_relaxed), pthread_self());
}

void loop_run(struct loop *l)
{
    atomic_store(&l->owner, pthread_self());
    do {
        (void)uv_run(&l->uv, UV_RUN_DEFAULT); /* non-zero only after uv_stop */
        finish_turn(l);
    } while (run_inbox(l) || l->deferred.first || uv_loop_alive(&l->uv));
}

void loop_stop(struct loop *l)
{
    SL_ASSERT(loop_is_current(l));
    uv_unref((uv_handle_t *)&l->wake);
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    atomic_store(&l->owner, pthread_self());
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_close((uv_handle_t *)&l->again, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->check, NULL);
    uv_close((uv_handle_t *)&l->next_timer, NULL);
    (void)uv_run(&l->uv, UV_RUN_DEFAULT);
    int failed = uv_loop_close(&l->uv);
    SL_ASSERT(!failed);
    heap_fini(&l->timers);
    sl_free(l);
}
