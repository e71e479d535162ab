"""The server that wasmline replaces, for comparison: Twisted, with the commands `lastlog`, `comphash` and `exit`.

usage: seed_server.py ADDRESS PORT MOST_CLIENTS LOG

It has no sandbox. Like the host in the bench it keeps no record of lines. A connection runs one line at a time, so replies keep
the order of the lines.
"""

import hashlib
import sys

from twisted.internet import protocol, reactor, threads
from twisted.protocols import basic

BACKLOG = 4096
PIECE = 128 * 1024


class Tail(protocol.ProcessProtocol):
    """Passes on what `tail` prints, without the headings between files."""

    def __init__(self, client):
        self.client = client
        self.output = b""

    def outReceived(self, data):
        self.output += data

    def processEnded(self, _reason):
        lines = [line for line in self.output.split(b"\n") if line and not line.startswith(b"==")]
        self.client.reply([b"Begin lastlog", *lines, b"End lastlog"])


class Seed(basic.LineReceiver):
    delimiter = b"\n"

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.factory.clients += 1
        if self.factory.clients > self.factory.most:
            self.sendLine(b"Too many connections. bye !")
            self.transport.loseConnection()

    def connectionLost(self, reason=protocol.connectionDone):
        self.factory.clients -= 1

    def lineReceived(self, line):
        words = line.split()
        if not words:
            return
        if words[0] == b"lastlog":
            self.pauseProducing()
            tail = ["tail", "-n", "10", self.factory.log]
            reactor.spawnProcess(Tail(self), "/usr/bin/tail", tail)
        elif words[0] == b"comphash":
            self.comphash(words[1:])
        elif words[0] == b"exit":
            self.transport.loseConnection()
        else:
            self.sendLine(b"Command not found.")

    def comphash(self, arguments):
        if len(arguments) != 1:
            self.sendLine(b"Please provide a path.")
            return
        self.pauseProducing()
        done = threads.deferToThread(sha1, arguments[0])
        done.addCallbacks(
            lambda digest: self.reply([b"File hash is : " + digest.encode()]),
            lambda failure: self.reply([b"An error occured : " + failure.getErrorMessage().encode()]),
        )

    def reply(self, lines):
        for line in lines:
            self.sendLine(line)
        self.resumeProducing()


def sha1(path):
    digest = hashlib.sha1()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def main():
    address, port, most, log = sys.argv[1:]
    factory = protocol.ServerFactory.forProtocol(Seed)
    factory.clients, factory.most, factory.log = 0, int(most), log
    reactor.listenTCP(int(port), factory, backlog=BACKLOG, interface=address)
    reactor.run()


main()
