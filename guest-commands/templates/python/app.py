"""`{{name}} [NAME]` greets somebody. The setting `greeting` says how."""

import wit_world
from componentize_py_types import Err
from wit_world.imports import connection, store


class WitWorld(wit_world.WitWorld):
    """What the host calls. The name is the one that componentize-py looks for."""

    def run(self, args: list[str]) -> None:
        """Runs once for each line, in a fresh instance, on the words that followed the command's name.

        The text of a raised `Err` ends the reply, after `error: failed: `.
        """
        if len(args) > 1:
            raise Err("usage: {{name}} [NAME]")
        whom = args[0] if args else connection.peer()
        greeting = store.get("greeting") or "Hello"
        connection.write(f"{greeting}, {whom}!\n".encode())
