"""`csvstat FILE` summarises the columns of a CSV file: how many values, and their range and mean, or how they differ.

The first row holds the names. The file is printed by `cat`, which the operator has approved for it.
"""

import csv
import statistics
from collections.abc import Iterable, Iterator

import wit_world
from componentize_py_types import Err
from wit_world.imports import connection, process

CAT = "/usr/bin/cat"
CHUNK = 65536


class WitWorld(wit_world.WitWorld):
    """What the host calls. The name is the one that componentize-py looks for."""

    def run(self, args: list[str]) -> None:
        if len(args) != 1:
            raise Err("usage: csvstat FILE")
        rows = csv.reader(lines(args[0]))
        names = next(rows, None)
        if not names:
            raise Err("the file is empty")
        columns: list[list[str]] = [[] for _ in names]
        count = 0
        for row in rows:
            count += 1
            for column, cell in zip(columns, row):
                if cell.strip():
                    column.append(cell.strip())
        reply(f"{count} rows, {len(names)} columns")
        width = max(len(name) for name in names)
        for name, column in zip(names, columns):
            reply(f"{name:<{width}}  {summary(column)}")


def summary(column: list[str]) -> str:
    """What there is to say of one column."""
    if not column:
        return "empty"
    try:
        numbers = [float(cell) for cell in column]
    except ValueError:
        return f"{len(column)} texts, {len(set(column))} different"
    low, high, mean = min(numbers), max(numbers), statistics.fmean(numbers)
    return f"{len(numbers)} numbers, from {low:g} to {high:g}, mean {mean:g}, median {statistics.median(numbers):g}"


def lines(path: str) -> Iterator[str]:
    """The lines of the file, each with its end, as the `csv` module wants them."""
    return text(chunks(path))


def chunks(path: str) -> Iterator[bytes]:
    try:
        with process.spawn(CAT, [path]) as child:
            while chunk := child.read(CHUNK):
                yield chunk
            if child.wait() != process.Status_Exited(0):
                raise Err("the file cannot be read")
    except Err as error:
        raise Err(reason(error.value)) from None


def text(pieces: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace") + "\n"
    if rest:
        yield rest.decode("utf-8", "replace")


def reason(error: object) -> str:
    """The text of an error of the interface `process`, or of one of our own."""
    match error:
        case process.Error_Denied(why):
            return f"denied: {why}"
        case process.Error_NotFound(what):
            return f"not found: {what}"
        case str():
            return error
        case _:
            return "the file cannot be read"


def reply(line: str) -> None:
    connection.write(f"{line}\n".encode())
