// SPDX-License-Identifier: Apache-2.0
// A mock OpenAI engine that costs as little as an engine can: one epoll thread behind several ports.
//
//   mock --ports N [--gap-us US] [--chunks N] [--render]
//
// It binds N loopback ports of the kernel's choosing and prints them as one JSON line.
// A POST answers a chat completion; with "stream": true it answers `chunks` server-sent events,
// `gap-us` apart, each carrying its stream's id, its number in the stream and the sender's
// CLOCK_MONOTONIC, so that the client sees one-way delay, loss, reordering and mixed-up streams.
// GET /ctl?gap=US&n=N changes the streams. --render answers vllm-router's token-id requests.
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PORTS = 64, MAX_EVENTS = 512, FIRST_BUFFER = 16384, NOT_QUEUED = -1 };

typedef struct {
    int fd;
    int port_index;
    char *in;
    size_t in_len, in_cap;
    char *out; // what the socket did not take at once
    size_t out_len;
    bool continued; // 100 Continue was sent for the body now arriving
    bool streaming;
    uint64_t stream_id;
    int chunks_sent;
    uint64_t due_ns; // when the next chunk goes out
    int heap_at;
} connection;

static int poller;
static int listeners[MAX_PORTS];
static uint64_t posts[MAX_PORTS];
static uint64_t renders;
static uint64_t streams;
static long gap_us;
static int chunks = 50;
static bool answer_render;
static char completion[2048];
static size_t completion_len;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// --- streams waiting for their next chunk: a binary heap by due time ---

static connection **heap;
static int heap_len, heap_cap;

static void heap_place(int at, connection *c) {
    heap[at] = c;
    c->heap_at = at;
}

static void heap_swap(int a, int b) {
    connection *kept = heap[a];
    heap_place(a, heap[b]);
    heap_place(b, kept);
}

static void heap_up(int at) {
    while (at > 0 && heap[(at - 1) / 2]->due_ns > heap[at]->due_ns) {
        heap_swap(at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

static void heap_down(int at) {
    for (;;) {
        int first = at;
        for (int child = 2 * at + 1; child <= 2 * at + 2; child++)
            if (child < heap_len && heap[child]->due_ns < heap[first]->due_ns)
                first = child;
        if (first == at)
            return;
        heap_swap(at, first);
        at = first;
    }
}

static void heap_push(connection *c) {
    if (heap_len == heap_cap) {
        heap_cap = heap_cap ? heap_cap * 2 : 1024;
        heap = realloc(heap, (size_t)heap_cap * sizeof *heap);
    }
    heap_place(heap_len++, c);
    heap_up(heap_len - 1);
}

static void heap_remove(connection *c) {
    int at = c->heap_at;
    if (at == NOT_QUEUED)
        return;
    c->heap_at = NOT_QUEUED;
    if (at == --heap_len)
        return;
    heap_place(at, heap[heap_len]);
    heap_up(at);
    heap_down(at);
}

// --- bytes out ---

static void watch(connection *c, uint32_t events, int operation) {
    struct epoll_event e = {.events = events | EPOLLIN | EPOLLRDHUP, .data.ptr = c};
    epoll_ctl(poller, operation, c->fd, &e);
}

static void send_bytes(connection *c, const char *bytes, size_t len) {
    if (!c->out_len) {
        ssize_t sent = send(c->fd, bytes, len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return; // the read side will see the broken connection
        if (sent > 0) {
            bytes += sent;
            len -= (size_t)sent;
        }
        if (!len)
            return;
    }
    c->out = realloc(c->out, c->out_len + len);
    memcpy(c->out + c->out_len, bytes, len);
    c->out_len += len;
    watch(c, EPOLLOUT, EPOLL_CTL_MOD);
}

static void send_rest(connection *c) {
    while (c->out_len) {
        ssize_t sent = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        memmove(c->out, c->out + sent, c->out_len - (size_t)sent);
        c->out_len -= (size_t)sent;
    }
    watch(c, 0, EPOLL_CTL_MOD);
}

static void send_text(connection *c, const char *status, const char *type, const char *body) {
    char head[256];
    int len = snprintf(head, sizeof head,
                       "HTTP/1.1 %s\r\nserver: mock\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n",
                       status, type, strlen(body));
    send_bytes(c, head, (size_t)len);
    send_bytes(c, body, strlen(body));
}

// --- answers ---

static void send_chunk(connection *c) {
    char event[512], framed[700];
    int len = snprintf(event, sizeof event,
                       "data: {\"id\":\"chatcmpl-%016lx\",\"object\":\"chat.completion.chunk\","
                       "\"created\":1700000000,\"model\":\"mock-model\",\"ts\":%lu,\"seq\":%d,"
                       "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" tok%04d xxxxxxx\"},"
                       "\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                       c->stream_id, now_ns(), c->chunks_sent, c->chunks_sent);
    int at = sprintf(framed, "%x\r\n%s\r\n", (unsigned)len, event);
    c->chunks_sent++;
    if (c->chunks_sent >= chunks) {
        at += sprintf(framed + at, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        c->streaming = false;
    }
    send_bytes(c, framed, (size_t)at);
}

static void start_stream(connection *c) {
    static const char head[] = "HTTP/1.1 200 OK\r\nserver: mock\r\n"
                               "content-type: text/event-stream; charset=utf-8\r\n"
                               "transfer-encoding: chunked\r\n\r\n";
    c->streaming = true;
    c->stream_id = ++streams;
    c->chunks_sent = 0;
    send_bytes(c, head, sizeof head - 1);
    do
        send_chunk(c);
    while (c->streaming && !gap_us);
    if (c->streaming) {
        c->due_ns = now_ns() + (uint64_t)gap_us * 1000u;
        heap_push(c);
    }
}

static void send_control(connection *c, const char *head) {
    const char *gap = strstr(head, "gap="), *n = strstr(head, "n=");
    if (gap)
        gap_us = atol(gap + 4);
    if (n)
        chunks = atoi(n + 2);
    char body[256];
    snprintf(body, sizeof body, "{\"gap\":%ld,\"n\":%d,\"renders\":%lu,\"posts\":[%lu,%lu,%lu,%lu]}", gap_us,
             chunks, renders, posts[0], posts[1], posts[2], posts[3]);
    send_text(c, "200 OK", "application/json", body);
}

// What routers ask an engine before they trust it, by the start of the request line.
static const struct {
    const char *line, *type, *body;
} facts[] = {
    {"GET /metrics", "text/plain; version=0.0.4",
     "# TYPE vllm:num_requests_running gauge\n"
     "vllm:num_requests_running{model_name=\"mock-model\"} 0\n"
     "# TYPE vllm:num_requests_waiting gauge\n"
     "vllm:num_requests_waiting{model_name=\"mock-model\"} 0\n"
     "# TYPE vllm:kv_cache_usage_perc gauge\n"
     "vllm:kv_cache_usage_perc{model_name=\"mock-model\"} 0.1\n"},
    {"GET /v1/models", "application/json",
     "{\"object\":\"list\",\"data\":[{\"id\":\"mock-model\",\"object\":\"model\",\"created\":1700000000,"
     "\"owned_by\":\"vllm\",\"root\":\"mock-model\",\"max_model_len\":131072}]}"},
    {"GET /get_model_info", "application/json",
     "{\"model_path\":\"mock-model\",\"tokenizer_path\":\"mock-model\",\"is_generation\":true,"
     "\"preferred_sampling_params\":null,\"served_model_name\":\"mock-model\"}"},
    {"GET /model_info", "application/json",
     "{\"model_path\":\"mock-model\",\"tokenizer_path\":\"mock-model\",\"is_generation\":true,"
     "\"preferred_sampling_params\":null,\"served_model_name\":\"mock-model\"}"},
    {"GET /get_server_info", "application/json",
     "{\"model_path\":\"mock-model\",\"served_model_name\":\"mock-model\",\"dp_size\":1,\"tp_size\":1,"
     "\"disaggregation_mode\":\"null\",\"version\":\"0.5.0\",\"max_total_num_tokens\":100000,"
     "\"internal_states\":[{}]}"},
    {"GET /server_info", "application/json",
     "{\"model_path\":\"mock-model\",\"served_model_name\":\"mock-model\",\"dp_size\":1,\"tp_size\":1,"
     "\"disaggregation_mode\":\"null\",\"version\":\"0.5.0\",\"max_total_num_tokens\":100000,"
     "\"internal_states\":[{}]}"},
    {"GET /get_load", "application/json",
     "[{\"dp_rank\":0,\"num_reqs\":0,\"num_waiting_reqs\":0,\"num_tokens\":0}]"},
    {"GET /v1/loads", "application/json",
     "[{\"dp_rank\":0,\"num_reqs\":0,\"num_waiting_reqs\":0,\"num_tokens\":0}]"},
    {"GET /version", "application/json", "{\"version\":\"0.11.0\"}"},
};

static void send_fact(connection *c, const char *head) {
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (!strncmp(head, facts[i].line, strlen(facts[i].line))) {
            send_text(c, "200 OK", facts[i].type, facts[i].body);
            return;
        }
    send_text(c, "200 OK", "application/json", "{\"status\":\"ok\"}");
}

static void send_render(connection *c) {
    static char body[8192];
    renders++;
    if (!answer_render) {
        send_text(c, "404 Not Found", "application/json", "{\"detail\":\"Not Found\"}");
        return;
    }
    int len = sprintf(body, "{\"prompt_token_ids\":[1000");
    for (int i = 1; i < 256; i++)
        len += sprintf(body + len, ",%d", 1000 + i);
    sprintf(body + len, "],\"tokens\":[1,2,3],\"count\":256,\"max_model_len\":131072}");
    send_text(c, "200 OK", "application/json", body);
}

// The stream flag is looked for near both ends of the body: 200 KB need not be scanned.
static bool wants_stream(const char *body, size_t len) {
    enum { EDGE = 4096 };
    const char *found = memmem(body, len < EDGE ? len : EDGE, "\"stream\":", 9);
    if (!found && len > EDGE)
        found = memmem(body + len - EDGE, EDGE, "\"stream\":", 9);
    if (!found)
        return false;
    for (found += 9; *found == ' '; found++)
        ;
    return *found == 't';
}

static void answer(connection *c, const char *head, const char *body, size_t len) {
    if (!strncmp(head, "GET /ctl", 8))
        send_control(c, head);
    else if (head[0] == 'G' || head[0] == 'H')
        send_fact(c, head);
    else if (strstr(head, "/render ") || !strncmp(head, "POST /tokenize", 14))
        send_render(c);
    else {
        posts[c->port_index]++;
        if (wants_stream(body, len))
            start_stream(c);
        else
            send_bytes(c, completion, completion_len);
    }
}

// --- bytes in ---

// The length of a whole chunked body with its framing, or 0 while it is still arriving.
static size_t chunked_len(const char *body, size_t len) {
    size_t at = 0;
    for (;;) {
        const char *eol = memmem(body + at, len - at, "\r\n", 2);
        if (!eol)
            return 0;
        size_t size = strtoul(body + at, NULL, 16);
        at = (size_t)(eol - body) + 2 + size + 2;
        if (at > len)
            return 0;
        if (!size)
            return at;
    }
}

// Answers the request at the start of `in`; returns its length, or 0 while it is incomplete.
static size_t take_request(connection *c, char *in, size_t len) {
    char *end = memmem(in, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head_len = (size_t)(end - in) + 4, body_len = 0;
    end[2] = 0; // ends the head as a string; restored below while the body is incomplete
    const char *sized = strcasestr(in, "\r\ncontent-length:");
    bool chunked = !sized && strcasestr(in, "\r\ntransfer-encoding:");
    bool expects = strcasestr(in, "\r\nexpect: 100");
    if (sized)
        body_len = strtoul(sized + 17, NULL, 10);
    else if (chunked)
        body_len = chunked_len(in + head_len, len - head_len);
    if (len < head_len + body_len || (chunked && !body_len)) {
        end[2] = '\r';
        if (expects && !c->continued) {
            c->continued = true;
            send_bytes(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        }
        return 0;
    }
    c->continued = false;
    answer(c, in, in + head_len, body_len);
    return head_len + body_len;
}

static void take_requests(connection *c) {
    size_t at = 0, taken;
    while (!c->streaming && (taken = take_request(c, c->in + at, c->in_len - at)))
        at += taken;
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

static bool read_all(connection *c) {
    for (;;) {
        if (c->in_len == c->in_cap) {
            c->in_cap *= 2;
            c->in = realloc(c->in, c->in_cap);
        }
        ssize_t got = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
        if (got < 0)
            return errno == EAGAIN;
        if (got == 0)
            return false;
        c->in_len += (size_t)got;
        if (c->in_len < c->in_cap)
            return true;
    }
}

static void close_connection(connection *c) {
    heap_remove(c);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void accept_all(int port_index) {
    for (int fd; (fd = accept4(listeners[port_index], NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        connection *c = calloc(1, sizeof *c);
        *c = (connection){.fd = fd, .port_index = port_index, .in_cap = FIRST_BUFFER, .heap_at = NOT_QUEUED};
        c->in = malloc(c->in_cap);
        watch(c, 0, EPOLL_CTL_ADD);
    }
}

// --- start and loop ---

enum { LISTENER_TAG = 1 }; // pointers are even: an odd value is a listener's index

static void listen_on_any(int index) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, len) || listen(fd, 4096)) {
        perror("mock: listen");
        exit(1);
    }
    getsockname(fd, (struct sockaddr *)&address, &len);
    listeners[index] = fd;
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = ((uint64_t)index << 1) | LISTENER_TAG};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    printf("%s%d", index ? "," : "{\"ports\":[", ntohs(address.sin_port));
}

static void prepare_completion(void) {
    char body[1024];
    int len = snprintf(body, sizeof body,
                       "{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion\","
                       "\"created\":1700000000,\"model\":\"mock-model\",\"choices\":[{\"index\":0,"
                       "\"message\":{\"role\":\"assistant\",\"content\":\"%0270d\"},\"logprobs\":null,"
                       "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":128,"
                       "\"completion_tokens\":50,\"total_tokens\":178}}",
                       0);
    completion_len = (size_t)snprintf(completion, sizeof completion,
                                      "HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: application/json\r\n"
                                      "content-length: %d\r\n\r\n%s",
                                      len, body);
}

static int wait_events(struct epoll_event *events) {
    if (!heap_len)
        return epoll_wait(poller, events, MAX_EVENTS, -1);
    int64_t left = (int64_t)(heap[0]->due_ns - now_ns());
    struct timespec t = {0};
    if (left > 0)
        t = (struct timespec){left / 1000000000, left % 1000000000};
    return epoll_pwait2(poller, events, MAX_EVENTS, &t, NULL);
}

static void send_due_chunks(void) {
    uint64_t now = now_ns();
    while (heap_len && heap[0]->due_ns <= now) {
        connection *c = heap[0];
        heap_remove(c);
        send_chunk(c);
        if (c->streaming) {
            c->due_ns += (uint64_t)gap_us * 1000u;
            heap_push(c);
        } else
            take_requests(c);
    }
}

static void serve(void) {
    struct epoll_event events[MAX_EVENTS];
    for (;;) {
        int n = wait_events(events);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 & LISTENER_TAG) {
                accept_all((int)(events[i].data.u64 >> 1));
                continue;
            }
            connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                send_rest(c);
            if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)))
                continue;
            if (read_all(c))
                take_requests(c);
            else
                close_connection(c);
        }
        send_due_chunks();
    }
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"ports", required_argument, NULL, 'p'},
                                            {"gap-us", required_argument, NULL, 'g'},
                                            {"chunks", required_argument, NULL, 'c'},
                                            {"render", no_argument, NULL, 'r'},
                                            {0}};
    int ports = 4;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'p')
            ports = atoi(optarg);
        else if (o == 'g')
            gap_us = atol(optarg);
        else if (o == 'c')
            chunks = atoi(optarg);
        else if (o == 'r')
            answer_render = true;
        else
            return 2;
    }
    if (ports < 1 || ports > MAX_PORTS || chunks < 1 || gap_us < 0) {
        fprintf(stderr, "mock: --ports takes 1 to %d, --chunks at least 1, --gap-us at least 0\n", MAX_PORTS);
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); // never outlive the benchmark
    prepare_completion();
    poller = epoll_create1(0);
    for (int i = 0; i < ports; i++)
        listen_on_any(i);
    printf("]}\n");
    fflush(stdout);
    serve();
}
