#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Both ends of connections that a program between them passes on: an echo server, and clients that compare what comes back byte by byte.

relay.py PROXY ORIGIN CLIENTS BYTES PIECE [tls CERTIFICATE KEY | socks]: the clients connect to port PROXY, the program between them to port ORIGIN.
A client sends BYTES in turns of at most PIECE, of random lengths and seeded, and reads them back; then it shuts down its side, and must be told the end after the last byte, no sooner.
"""

import random
import socket
import ssl
import struct
import sys
import threading

LIMIT = 120


def read_exactly(connection, n):
    data = b""
    while len(data) < n:
        piece = connection.recv(n - len(data))
        if not piece:
            raise EOFError(f"an end after {len(data)} of {n} bytes")
        data += piece
    return data


def socks_greeting(connection):
    """SOCKS 5 without a password: the answer is that the connection stands. It ends here, whatever was asked for."""
    _, methods = read_exactly(connection, 2)
    read_exactly(connection, methods)
    connection.sendall(b"\x05\x00")
    _, command, _, kind = read_exactly(connection, 4)
    if command != 1 or kind != 1:
        raise ValueError(f"no CONNECT to an IPv4 address: {command}, {kind}")
    read_exactly(connection, 6)
    connection.sendall(struct.pack("!BBBBIH", 5, 0, 0, 1, 0, 0))


def serve(connection, context, socks):
    connection.settimeout(LIMIT)
    if context:
        connection = context.wrap_socket(connection, server_side=True)
    with connection:
        if socks:
            socks_greeting(connection)
        while data := connection.recv(65536):
            connection.sendall(data)
        if not context:
            connection.shutdown(socket.SHUT_WR)


def accept(listener, context, socks):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, context, socks), daemon=True).start()


def talk(port, seed, size, piece, tls):
    numbers = random.Random(seed)
    connection = socket.create_connection(("127.0.0.1", port), LIMIT)
    connection.settimeout(LIMIT)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    with connection:
        left = size
        while left > 0:
            data = numbers.randbytes(min(left, numbers.choice((1, 100, 5000, piece))))
            left -= len(data)
            # With a thread, since an echo that nobody reads stops the sender; TLS's objects are not for two threads, and what goes by them fits the buffers.
            if tls:
                connection.sendall(data)
            else:
                sender = threading.Thread(target=connection.sendall, args=(data,))
                sender.start()
            if read_exactly(connection, len(data)) != data:
                raise ValueError("other bytes")
            if not tls:
                sender.join()
        if not tls:
            connection.shutdown(socket.SHUT_WR)
            if connection.recv(1):
                raise ValueError("more than was sent")


def client(results, number, *arguments):
    try:
        talk(*arguments)
        results[number] = "right"
    except (OSError, ValueError, EOFError) as reason:
        results[number] = f"{type(reason).__name__}: {reason}"


def main():
    proxy, origin, clients, size, piece = (int(word) for word in sys.argv[1:6])
    kind = sys.argv[6] if len(sys.argv) > 6 else "plain"
    context = None
    if kind == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[7:9])
    listener = socket.create_server(("127.0.0.1", origin), backlog=clients)
    threading.Thread(target=accept, args=(listener, context, kind == "socks"), daemon=True).start()
    results = ["no end"] * clients
    threads = [threading.Thread(target=client, args=(results, i, proxy, i, size, piece, kind == "tls")) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, result in enumerate(results):
        if result != "right":
            print(f"client {number}: {result}")
    print(f"{results.count('right')} of {clients} clients right")
    sys.exit(results.count("right") != clients)


main()
