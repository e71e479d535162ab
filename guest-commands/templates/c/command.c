/* `{{name}} [NAME]` greets somebody. The setting `greeting` says how. */

#include <stdlib.h>
#include <string.h>

#include "bindings/command.h"

/* Writes bytes to the client. False when the command has closed the connection. */
static bool reply(const void *bytes, size_t len) {
    wasmline_command_connection_error_t error;
    command_list_u8_t piece = {(uint8_t *)bytes, len};
    return wasmline_command_connection_write(&piece, &error);
}

/* Runs once for each line, in a fresh instance, on the words that followed the command's name. After `false`, the
 * text in `err` ends the reply, after `error: failed: `. */
bool exports_command_run(command_list_string_t *args, command_string_t *err) {
    if (args->len > 1) {
        command_string_dup(err, "usage: {{name}} [NAME]");
        return false;
    }
    command_string_t whom;
    if (args->len == 1) {
        whom = args->ptr[0];
    } else {
        wasmline_command_connection_peer(&whom);
    }

    command_string_t key;
    command_option_string_t greeting;
    wasi_config_store_error_t error;
    command_string_set(&key, "greeting");
    if (wasi_config_store_get(&key, &greeting, &error) && greeting.is_some) {
        reply(greeting.val.ptr, greeting.val.len);
    } else {
        reply("Hello", 5);
    }
    return reply(", ", 2) && reply(whom.ptr, whom.len) && reply("!\n", 2);
}
