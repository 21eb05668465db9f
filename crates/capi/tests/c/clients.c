/*
 * Many TLS clients in one thread: clients PORT COUNT AT_ONCE ABRUPT
 *
 * Makes COUNT handshakes, AT_ONCE of them at the same time. Every client whose number is below ABRUPT out of ten closes its
 * socket when it has sent its first message and the server works on it. Prints how many ended in which way, and how many
 * were made per second.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 512 };

static SSL_CTX *ctx;
static SSL *client[MOST];
static struct pollfd wait_for[MOST];
static int is_abrupt[MOST];
static long started, done, closed, failed;
static int port, abrupt;

static int begin(int slot)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        perror("connect");
        exit(2);
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    client[slot] = SSL_new(ctx);
    SSL_set_fd(client[slot], fd);
    wait_for[slot] = (struct pollfd){ fd, POLLOUT, 0 };
    is_abrupt[slot] = started++ % 10 < abrupt;
    return 1;
}

static void end(int slot)
{
    SSL_free(client[slot]);
    close(wait_for[slot].fd);
    client[slot] = NULL;
    wait_for[slot].fd = -1;
}

static void step(int slot)
{
    int ret, error;

    ERR_clear_error();
    ret = SSL_connect(client[slot]);
    if (ret == 1) {
        /* A TLS 1.3 server is done when it has read what this has sent. */
        SSL_shutdown(client[slot]);
        done++;
        end(slot);
        return;
    }
    error = SSL_get_error(client[slot], ret);
    if (error == SSL_ERROR_WANT_READ && is_abrupt[slot]) {
        struct linger reset = { 1, 0 };

        setsockopt(wait_for[slot].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        closed++;
        end(slot);
    } else if (error == SSL_ERROR_WANT_READ) {
        wait_for[slot].events = POLLIN;
    } else if (error == SSL_ERROR_WANT_WRITE) {
        wait_for[slot].events = POLLOUT;
    } else {
        ERR_print_errors_fp(stderr);
        failed++;
        end(slot);
    }
}

int main(int argc, char **argv)
{
    struct timespec from, to;
    long count;
    int at_once, open;

    if (argc != 5)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    port = atoi(argv[1]);
    count = atol(argv[2]);
    at_once = atoi(argv[3]) < MOST ? atoi(argv[3]) : MOST;
    abrupt = atoi(argv[4]);
    ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    clock_gettime(CLOCK_MONOTONIC, &from);
    do {
        open = 0;
        for (int slot = 0; slot < at_once; slot++) {
            if (client[slot] == NULL && started < count)
                begin(slot);
            if (client[slot] != NULL)
                open++;
            else
                wait_for[slot].fd = -1;
        }
        if (open > 0 && poll(wait_for, at_once, 20000) == 0) {
            fprintf(stderr, "the server is silent\n");
            return 1;
        }
        for (int slot = 0; slot < at_once; slot++)
            if (client[slot] != NULL && wait_for[slot].revents != 0)
                step(slot);
    } while (open > 0 || started < count);
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%ld done, %ld closed, %ld failed, %.0f per second\n", done, closed, failed,
           (done + closed) / ((to.tv_sec - from.tv_sec) + (to.tv_nsec - from.tv_nsec) / 1e9));
    return failed != 0;
}
