// SPDX-License-Identifier: Apache-2.0
// A load generator: one epoll thread, keep-alive connections, closed or open loop.
//
//   lg --port P --bodies FILE --connections N --seconds S [--warmup S] [--rate PER_S]
//      [--requests N] [--chunks N] [--path PATH] [--distinct-from N] [--stagger S]
//
// FILE holds records of a little-endian u32 length and a JSON body. Without --rate every connection
// sends its next request when the last has ended (closed loop); with it requests start on schedule
// and their latency counts from the schedule, so a slow server cannot hide its queue (open loop).
// --requests ends the run after so many, --chunks says how many events a whole stream has.
// --stagger spreads the connections' first requests over S seconds: paced streams that all start at
// once stay in step for ever, and a gateway then meets bursts that no real fleet sends.
// --distinct-from N replaces the 16 '#' of each body by a counter from N: no prompt comes twice.
//
// Prints {"measuring":true} when the warm-up ends, {"measured":true} when the window closes (the
// reader takes the server's CPU clock at both), then one line of results. Times in microseconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EVENTS = 512, FIRST_BUFFER = 65536, ROOM = 16384, MARK_LEN = 16 };
static const char MARK[] = "################";

typedef struct {
    char *bytes; // head and body
    size_t len;
    size_t mark; // where the counter goes, 0 if nowhere
} request;

typedef enum { READING_HEAD, READING_SIZED, READING_CHUNKED, READING_TO_END } stage;

typedef struct {
    int fd;
    bool busy;
    uint64_t started_ns, first_byte_ns;
    const char *out;
    size_t out_len;
    char *own; // this connection's copy of a distinct request
    char *in;  // received and not yet decoded
    size_t in_len, in_cap;
    stage stage;
    int status;
    size_t left; // bytes of the sized body, or of the current chunk and its end
    char *text;  // decoded stream, from the first unfinished event
    size_t text_len, text_cap;
    uint64_t stream_id;
    int events;
    bool ended, broken; // [DONE] was seen; an event was missing, late or another stream's
} connection;

typedef struct {
    uint64_t *values;
    size_t len, cap;
} samples;

static int poller;
static struct sockaddr_in server;
static request *requests;
static size_t request_count;
static uint64_t started, finished;
static bool measuring;
static samples totals, first_bytes, chunk_delays;
static uint64_t done, reset, refused, dropped, received_bytes, events_seen;
static uint64_t streams_whole, streams_broken;

static int port, connections = 1, expected_chunks;
static double seconds = 2, warmup = 0.5, rate, stagger;
static uint64_t request_limit, distinct_from;
static bool distinct;
static const char *bodies_file, *path = "/v1/chat/completions";

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void note(samples *s, uint64_t value) {
    if (s->len == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 65536;
        s->values = realloc(s->values, s->cap * sizeof *s->values);
    }
    s->values[s->len++] = value;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print_quantiles(const char *name, samples *s) {
    qsort(s->values, s->len, sizeof *s->values, by_value);
    double p50 = 0, p99 = 0;
    if (s->len) {
        p50 = (double)s->values[(size_t)(0.50 * (double)(s->len - 1))] / 1000;
        p99 = (double)s->values[(size_t)(0.99 * (double)(s->len - 1))] / 1000;
    }
    printf(",\"%s_p50_us\":%.1f,\"%s_p99_us\":%.1f", name, p50, name, p99);
}

// --- the requests ---

static void load_bodies(void) {
    FILE *file = fopen(bodies_file, "rb");
    if (!file) {
        perror(bodies_file);
        exit(2);
    }
    uint32_t len;
    for (size_t cap = 0; fread(&len, sizeof len, 1, file) == 1; request_count++) {
        if (request_count == cap) {
            cap = cap ? cap * 2 : 256;
            requests = realloc(requests, cap * sizeof *requests);
        }
        char *bytes = malloc(512 + len);
        int head = snprintf(bytes, 512,
                            "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nuser-agent: lg/1\r\naccept: */*\r\n"
                            "content-type: application/json\r\ncontent-length: %u\r\n\r\n",
                            path, port, len);
        if (fread(bytes + head, 1, len, file) != len) {
            fprintf(stderr, "lg: %s ends within a record\n", bodies_file);
            exit(2);
        }
        char *mark = memmem(bytes + head, len, MARK, MARK_LEN);
        requests[request_count] = (request){bytes, (size_t)head + len, mark ? (size_t)(mark - bytes) : 0};
    }
    fclose(file);
    if (!request_count) {
        fprintf(stderr, "lg: %s holds no body\n", bodies_file);
        exit(2);
    }
}

// --- one connection ---

static void watch(connection *c, uint32_t events, int operation) {
    struct epoll_event e = {.events = EPOLLIN | events, .data.ptr = c};
    epoll_ctl(poller, operation, c->fd, &e);
}

static void dial(connection *c) {
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server)) {
        perror("lg: connect");
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->busy = false;
    c->in_len = c->out_len = 0;
    watch(c, 0, EPOLL_CTL_ADD);
}

static void send_rest(connection *c, bool was_waiting) {
    while (c->out_len) {
        ssize_t sent = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EAGAIN && !was_waiting)
                watch(c, EPOLLOUT, EPOLL_CTL_MOD);
            else if (errno != EAGAIN)
                c->out_len = 0; // the read side will see the broken connection
            return;
        }
        c->out += sent;
        c->out_len -= (size_t)sent;
    }
    if (was_waiting)
        watch(c, 0, EPOLL_CTL_MOD);
}

static const char *distinct_copy(connection *c, const request *r, uint64_t number) {
    char digits[MARK_LEN + 1];
    snprintf(digits, sizeof digits, "%016lx", number);
    c->own = realloc(c->own, r->len);
    memcpy(c->own, r->bytes, r->len);
    memcpy(c->own + r->mark, digits, MARK_LEN);
    return c->own;
}

static void start(connection *c, uint64_t at_ns) {
    const request *r = &requests[started % request_count];
    c->out = distinct && r->mark ? distinct_copy(c, r, distinct_from + started) : r->bytes;
    c->out_len = r->len;
    started++;
    c->started_ns = at_ns;
    c->first_byte_ns = 0;
    c->busy = true;
    c->stage = READING_HEAD;
    c->in_len = c->text_len = 0;
    c->events = 0;
    c->stream_id = 0;
    c->ended = c->broken = false;
    send_rest(c, false);
}

static bool more_to_start(void) { return !request_limit || started < request_limit; }

static void finish(connection *c, uint64_t at_ns) {
    c->busy = false;
    finished++;
    if (!measuring)
        return;
    if (c->status != 200) {
        refused++;
        return;
    }
    done++;
    note(&totals, at_ns - c->started_ns);
    note(&first_bytes, c->first_byte_ns - c->started_ns);
    if (!c->events && !expected_chunks)
        return;
    bool whole = c->ended && !c->broken && (!expected_chunks || c->events == expected_chunks);
    *(whole ? &streams_whole : &streams_broken) += 1;
}

// --- decoding an answer ---

static uint64_t number_after(const char *text, const char *key, int base) {
    const char *found = strstr(text, key);
    return found ? strtoull(found + strlen(key), NULL, base) : UINT64_MAX;
}

static void take_event(connection *c, const char *event, uint64_t at_ns) {
    if (!strncmp(event, "data: [DONE]", 12)) {
        c->ended = true;
        return;
    }
    uint64_t id = number_after(event, "\"chatcmpl-", 16);
    if (!c->events)
        c->stream_id = id;
    if (id != c->stream_id || number_after(event, "\"seq\":", 10) != (uint64_t)c->events || c->ended)
        c->broken = true;
    c->events++;
    if (!measuring)
        return;
    events_seen++;
    uint64_t sent_ns = number_after(event, "\"ts\":", 10);
    if (at_ns > sent_ns)
        note(&chunk_delays, at_ns - sent_ns);
}

static void take_text(connection *c, const char *text, size_t len, uint64_t at_ns) {
    while (c->text_cap < c->text_len + len + 1) {
        c->text_cap = c->text_cap ? c->text_cap * 2 : 4096;
        c->text = realloc(c->text, c->text_cap);
    }
    memcpy(c->text + c->text_len, text, len);
    c->text_len += len;
    size_t at = 0;
    for (char *end; (end = memmem(c->text + at, c->text_len - at, "\n\n", 2)); at = (size_t)(end - c->text) + 2) {
        *end = 0;
        take_event(c, c->text + at, at_ns);
    }
    memmove(c->text, c->text + at, c->text_len - at);
    c->text_len -= at;
}

// Each decoder consumes from `in` at `*at`; true when the answer is whole.

static bool take_chunks(connection *c, size_t *at, uint64_t at_ns) {
    for (;;) {
        if (c->left) { // within a chunk: its bytes, then CR LF
            size_t have = c->in_len - *at, text = c->left > 2 ? c->left - 2 : 0;
            size_t step = have < c->left ? have : c->left;
            if (text)
                take_text(c, c->in + *at, step < text ? step : text, at_ns);
            *at += step;
            c->left -= step;
            if (c->left)
                return false;
        }
        char *eol = memmem(c->in + *at, c->in_len - *at, "\r\n", 2);
        if (!eol)
            return false;
        size_t size = strtoul(c->in + *at, NULL, 16);
        size_t after = (size_t)(eol - c->in) + 2;
        if (!size) { // the last chunk: no trailers are expected, only the empty line
            if (c->in_len < after + 2)
                return false;
            *at = after + 2;
            return true;
        }
        *at = after;
        c->left = size + 2;
    }
}

static void read_framing(connection *c) {
    const char *sized = strcasestr(c->in, "\r\ncontent-length:");
    c->left = 0;
    c->stage = READING_TO_END;
    if (sized) {
        c->left = strtoul(sized + 17, NULL, 10);
        c->stage = READING_SIZED;
    } else if (strcasestr(c->in, "\r\ntransfer-encoding:"))
        c->stage = READING_CHUNKED;
}

static bool take_head(connection *c, size_t *at) {
    for (;;) {
        char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
        if (!end)
            return false;
        end[2] = 0;
        c->status = atoi(c->in + 9);
        read_framing(c);
        *at = (size_t)(end - c->in) + 4;
        if (c->status != 100)
            return true;
        memmove(c->in, c->in + *at, c->in_len - *at);
        c->in_len -= *at;
        c->stage = READING_HEAD;
        *at = 0;
    }
}

static bool take_body(connection *c, size_t *at, uint64_t at_ns) {
    if (c->stage == READING_CHUNKED)
        return take_chunks(c, at, at_ns);
    size_t have = c->in_len - *at;
    *at = c->in_len;
    if (c->stage == READING_TO_END)
        return false;
    c->left -= have < c->left ? have : c->left;
    return !c->left;
}

static bool take_answer(connection *c, uint64_t at_ns) {
    size_t at = 0;
    if (c->stage == READING_HEAD && !take_head(c, &at))
        return false;
    bool whole = take_body(c, &at, at_ns);
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
    return whole;
}

static void closed_by_server(connection *c) {
    uint64_t at_ns = now_ns();
    if (c->busy && c->stage == READING_TO_END)
        finish(c, at_ns);
    else if (c->busy) {
        finished++;
        reset += measuring;
        streams_broken += measuring && c->events;
    }
    close(c->fd);
    dial(c);
    if (!rate && more_to_start())
        start(c, at_ns);
}

static void readable(connection *c) {
    if (c->in_cap - c->in_len < ROOM) {
        c->in_cap = c->in_cap ? c->in_cap * 2 : FIRST_BUFFER;
        c->in = realloc(c->in, c->in_cap);
    }
    ssize_t got = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        closed_by_server(c);
        return;
    }
    uint64_t at_ns = now_ns();
    if (!c->first_byte_ns)
        c->first_byte_ns = at_ns;
    c->in_len += (size_t)got;
    if (measuring)
        received_bytes += (size_t)got;
    if (c->busy && take_answer(c, at_ns)) {
        finish(c, at_ns);
        if (!rate && more_to_start())
            start(c, now_ns());
    }
}

// --- the run ---

static void start_due(connection *all, uint64_t *next_ns, uint64_t period_ns) {
    static int next_connection;
    for (uint64_t now = now_ns(); *next_ns <= now && more_to_start(); *next_ns += period_ns) {
        int tried = 0;
        for (; tried < connections; tried++) {
            connection *c = &all[(next_connection + tried) % connections];
            if (c->busy)
                continue;
            next_connection = (next_connection + tried + 1) % connections;
            start(c, *next_ns);
            break;
        }
        dropped += tried == connections && measuring;
    }
}

// The first requests of a closed loop; returns when the next of them is due.
static uint64_t start_first(connection *all, uint64_t begin_ns) {
    static int begun;
    for (; begun < connections && more_to_start(); begun++) {
        uint64_t due = begin_ns + (uint64_t)(stagger * 1e9 * begun / connections);
        if (due > now_ns())
            return due;
        start(&all[begun], now_ns());
    }
    return UINT64_MAX;
}

static int wait_events(struct epoll_event *events, uint64_t until_ns) {
    uint64_t now = now_ns(), left = until_ns > now ? until_ns - now : 0;
    if (left > 100000000u)
        left = 100000000u;
    struct timespec t = {0, (long)left};
    return epoll_pwait2(poller, events, MAX_EVENTS, &t, NULL);
}

static void announce(const char *what) {
    printf("{\"%s\":true}\n", what);
    fflush(stdout);
}

static double run(connection *all) {
    struct epoll_event events[MAX_EVENTS];
    uint64_t begin = now_ns(), measure_from = begin + (uint64_t)(warmup * 1e9);
    uint64_t end = measure_from + (uint64_t)(seconds * 1e9), next = begin;
    uint64_t period = rate ? (uint64_t)(1e9 / rate) : 0;
    for (;;) {
        uint64_t now = now_ns();
        if (!measuring && now >= measure_from) {
            measuring = true;
            measure_from = now;
            announce("measuring");
        }
        if (now >= end || (request_limit && finished >= request_limit))
            break;
        uint64_t wake = measuring ? end : measure_from;
        if (rate)
            start_due(all, &next, period);
        else
            next = start_first(all, begin);
        int n = wait_events(events, more_to_start() && next < wake ? next : wake);
        for (int i = 0; i < n; i++) {
            connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                send_rest(c, true);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                readable(c);
        }
    }
    announce("measured");
    return (double)(now_ns() - measure_from) / 1e9;
}

static void report(connection *all, double measured_s) {
    uint64_t unfinished = 0;
    for (int i = 0; i < connections; i++)
        unfinished += all[i].busy;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                   (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"done\":%lu,\"seconds\":%.4f,\"per_s\":%.1f,\"reset\":%lu,\"not_200\":%lu,\"dropped\":%lu,"
           "\"unfinished\":%lu,\"bytes\":%lu,\"events\":%lu,\"streams_whole\":%lu,\"streams_broken\":%lu,"
           "\"generator_cpu_s\":%.3f",
           done, measured_s, (double)done / measured_s, reset, refused, dropped, unfinished, received_bytes,
           events_seen, streams_whole, streams_broken, cpu_s);
    print_quantiles("total", &totals);
    print_quantiles("first_byte", &first_bytes);
    print_quantiles("chunk_delay", &chunk_delays);
    printf("}\n");
}

static bool read_option(int o) {
    switch (o) {
    case 'p': port = atoi(optarg); return true;
    case 'b': bodies_file = optarg; return true;
    case 'c': connections = atoi(optarg); return true;
    case 's': seconds = atof(optarg); return true;
    case 'w': warmup = atof(optarg); return true;
    case 'r': rate = atof(optarg); return true;
    case 'n': request_limit = strtoull(optarg, NULL, 10); return true;
    case 'k': expected_chunks = atoi(optarg); return true;
    case 'u': path = optarg; return true;
    case 'g': stagger = atof(optarg); return true;
    case 'd': distinct = true; distinct_from = strtoull(optarg, NULL, 10); return true;
    default: return false;
    }
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},     {"bodies", required_argument, NULL, 'b'},
        {"connections", required_argument, NULL, 'c'}, {"seconds", required_argument, NULL, 's'},
        {"warmup", required_argument, NULL, 'w'},   {"rate", required_argument, NULL, 'r'},
        {"requests", required_argument, NULL, 'n'}, {"chunks", required_argument, NULL, 'k'},
        {"path", required_argument, NULL, 'u'},     {"distinct-from", required_argument, NULL, 'd'},
        {"stagger", required_argument, NULL, 'g'},
        {0}};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (!read_option(o))
            return 2;
    if (!port || !bodies_file || connections < 1) {
        fprintf(stderr, "lg: --port, --bodies and --connections are needed\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); // never outlive the benchmark
    signal(SIGPIPE, SIG_IGN);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    load_bodies();
    poller = epoll_create1(0);
    connection *all = calloc((size_t)connections, sizeof *all);
    for (int i = 0; i < connections; i++)
        dial(&all[i]);
    report(all, run(all));
}
