/* Work handed to the loop by other threads: gyre_loop_post.
 *
 * Four threads post 10,000 callbacks each. The callbacks run on the loop's thread, none is lost, and those of one
 * thread come in the order in which it posted them; so what they touch needs no lock. The queue of waiting posts is
 * bounded: GYRE_EFULL says that the post was not taken, and the thread decides what then. These try again.
 *
 *   build: cc -std=c99 04_post_from_threads.c -lgyre -lpthread -o 04_post_from_threads
 *   run:   ./04_post_from_threads
 */
#define _POSIX_C_SOURCE 200809L

#include <gyre.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, POSTS = 10000, QUEUE_CAPACITY = 1024 };

struct message {
    struct producer *producer;
    int number;
};

struct producer {
    pthread_t thread;
    gyre_loop loop;
    unsigned long times_full;        /* written by the producer, read after the join */
    struct message messages[POSTS];  /* a message belongs to the loop's thread once it is posted */
    int next;                        /* loop's thread only, as all that follows */
    int out_of_order;
};

static struct producer producers[THREADS];
static pthread_t loop_thread;
static int arrived, wrong_thread;

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s (%s)\n", what, gyre_status_message(status), gyre_status_name(status));
        exit(EXIT_FAILURE);
    }
}

static void check_pthread(int error, const char *what)
{
    if (error != 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(error));
        exit(EXIT_FAILURE);
    }
}

static void on_message(gyre_loop loop, void *user_data)
{
    struct message *message = user_data;
    struct producer *producer = message->producer;

    if (message->number != producer->next)
        producer->out_of_order++;
    producer->next = message->number + 1;
    if (!pthread_equal(pthread_self(), loop_thread))
        wrong_thread++;
    if (++arrived == THREADS * POSTS)
        check(gyre_loop_stop(loop), "gyre_loop_stop");
}

static void *produce(void *argument)
{
    struct producer *producer = argument;
    int number, status;

    for (number = 0; number < POSTS; number++) {
        struct message *message = &producer->messages[number];

        message->producer = producer;
        message->number = number;
        while ((status = gyre_loop_post(producer->loop, on_message, message)) == GYRE_EFULL) {
            producer->times_full++;
            sched_yield();
        }
        check(status, "gyre_loop_post");
    }
    return NULL;
}

int main(void)
{
    gyre_loop_options options;
    gyre_loop loop;
    unsigned long times_full = 0;
    int i, failed = 0;

    memset(&options, 0, sizeof options); /* zero is the default of every option */
    options.size = sizeof options;
    options.post_capacity = QUEUE_CAPACITY;
    check(gyre_loop_open(&options, &loop), "gyre_loop_open");
    loop_thread = pthread_self();

    /* The loop may find its queue empty while the threads still run: it is to wait for them all the same. */
    check(gyre_loop_set_keepalive(loop, 1), "gyre_loop_set_keepalive");
    for (i = 0; i < THREADS; i++) {
        producers[i].loop = loop;
        check_pthread(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), "pthread_create");
    }
    check(gyre_loop_run(loop, GYRE_RUN_DEFAULT), "gyre_loop_run");

    for (i = 0; i < THREADS; i++) {
        check_pthread(pthread_join(producers[i].thread, NULL), "pthread_join");
        printf("thread %d: %d posts arrived, %d out of order\n", i, producers[i].next, producers[i].out_of_order);
        times_full += producers[i].times_full;
        failed |= producers[i].next != POSTS || producers[i].out_of_order != 0;
    }
    check(gyre_loop_close(loop), "gyre_loop_close");
    printf("%d of %d arrived; the queue was found full %lu times\n", arrived, THREADS * POSTS, times_full);
    return failed || wrong_thread || arrived != THREADS * POSTS ? EXIT_FAILURE : EXIT_SUCCESS;
}
